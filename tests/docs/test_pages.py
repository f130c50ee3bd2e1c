"""Pages of `docs/`: how each begins, how wide its lines are, and that every link leads somewhere."""

import re
from collections import Counter

import pytest

from tests.support.paths import ROOT

_GENERATED = "benchmarks/RESULTS.md"
_WITHOUT_HEAD = ("README.md", "CHANGELOG.md", _GENERATED)
_MADE = re.compile(r"<!-- tables: .*?<!-- end of tables -->", re.DOTALL)  # by a program, out of the code
_ONE_LINE = ("|", "    ", "- `")  # tables, code, and api.md's line for each name, which a test compares
_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md"))
}


def anchors(page: str) -> set[str]:
    """Return the fragments by which a page's headings can be linked, as GitHub makes them."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} (.+)$", _BLOCK.sub("", page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


@pytest.mark.parametrize("name", sorted(set(PAGES) - set(_WITHOUT_HEAD)))
def test_a_page_begins_with_for_whom_what_they_can_do_afterwards_and_what_they_need(name: str) -> None:
    head = [part.replace("\n", " ") for part in PAGES[name].split("\n\n")[:2]]
    assert re.fullmatch(r"# .+", head[0])
    assert re.fullmatch(r"- For whom: .+ - Afterwards .+ - You need .+", head[1]), head[1]


@pytest.mark.parametrize("name", sorted(set(PAGES) - {_GENERATED}))
def test_lines_outside_tables_and_blocks_have_140_characters_at_most(name: str) -> None:
    lines = _MADE.sub("", _BLOCK.sub("", PAGES[name])).splitlines()
    assert [line for line in lines if len(line) > 140 and not line.startswith(_ONE_LINE)] == []


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_link_leads_to_a_file_and_to_a_heading_in_it(name: str) -> None:
    here = (ROOT / name).parent
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", PAGES[name])):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        path = (here / file).resolve() if file else ROOT / name
        if not path.exists() or (fragment and fragment not in anchors(path.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []
