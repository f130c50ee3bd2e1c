"""docs/labels.md names every column, folder, setting and gate that has to do with scores."""

import re

import pytest

from aesthetics_ops.planning import naming
from aesthetics_ops.publishing.gates import GATES
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import columns, read_labels
from aesthetics_ops.sources.labels.layout import Layout
from aesthetics_ops.sources.labels.layouts import LAYOUTS
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "labels.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))
SCORES = [
    name
    for name, field in BuildSettings.model_fields.items()
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["section"] == "Scores"
]


@pytest.mark.parametrize(
    "names",
    [columns._ID_COLUMNS, columns._MORE_ID_COLUMNS, columns._SCORE_COLUMNS, columns._MORE_SCORE_COLUMNS],
    ids=["id", "more ids", "score", "more scores"],
)
def test_the_columns_stand_there_in_their_order(names: tuple[str, ...]) -> None:
    assert ", ".join(f"`{name}`" for name in names) in PAGE


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_known_kind_stands_there_with_its_columns_and_range(layout: Layout) -> None:
    (row,) = re.finditer(rf"^\| {re.escape(layout.name)}( \(.*?\))? \|.*", PAGE, re.MULTILINE)
    assert {*layout.id, *layout.needs} <= {*re.findall(r"`([^`]+)`", row[0])}
    ratings = layout.ratings or tuple(layout.votes.values())
    assert row[0].endswith(f"| {min(ratings):g} to {max(ratings):g} |" if ratings else "| |")


@pytest.mark.parametrize("folder", naming._PREVIEW_FOLDERS)
def test_every_preview_folder_is_named_and_found(folder: str) -> None:
    assert folder in NAMED
    assert any(sign in folder for sign in naming._PREVIEW_SIGNS)


@pytest.mark.parametrize("setting", SCORES)
def test_every_setting_about_scores_is_named(setting: str) -> None:
    assert setting in NAMED


def test_the_gates_about_scores_are_named_with_their_default() -> None:
    assert {"minmax_range", "max_unmatched_fraction"} <= NAMED & {gate.name for gate in GATES}
    assert BuildSettings.model_fields["max_unmatched_fraction"].default == 1


def test_the_page_says_for_whom_it_is_what_it_gives_and_what_it_needs() -> None:
    assert re.match(r"# .*\n\n- For whom: .*\n- Afterwards .*\n- You need ", PAGE)


def test_the_files_that_the_readme_shows_are_read_as_it_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| [^|`]* \| `([^`]*)` \| `([^`]*)` \| ([\d.]+)(.*) \|$", readme, re.MULTILINE)
    assert len(shown) == 3
    places = {"photos": "memory://p/", "labels": "memory://l/x", "dataset": "memory://d/"}
    for header, row, score, votes in shown:
        labels = read_labels(f"{header}\n{row}\n".encode(), source="x", settings=BuildSettings(**places))
        assert labels.table["score"].to_pylist() == [float(score)]
        assert ("shares" in votes) == labels.has_distribution
