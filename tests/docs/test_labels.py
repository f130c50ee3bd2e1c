"""docs/labels.md names every column, folder, setting and gate that has to do with scores."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.errors import GateError
from aesthetics_ops.planning import naming
from aesthetics_ops.publishing.gates import GATES
from aesthetics_ops.readers.dataset import open_dataset
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.sources.labels import columns, ids, read_labels
from aesthetics_ops.sources.labels.layout import Layout
from aesthetics_ops.sources.labels.layouts import LAYOUTS
from tests.support.paths import ROOT
from tests.support.sheets import xlsx

PAGE = (ROOT / "docs" / "labels.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))
SCORES = [
    name
    for name, field in BuildSettings.model_fields.items()
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["section"] == "Scores"
]


@pytest.mark.parametrize(
    "names",
    [ids._FIRST_NAMES, ids._MORE_NAMES, columns._SCORE_COLUMNS, columns._MORE_SCORE_COLUMNS],
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


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """What the page's `s3://bucket/` stands for: three photos, and the two files that it shows."""
    (tmp_path / "photos").mkdir()
    photos = sorted((ROOT / "samples" / "photos").glob("*.jpg"))
    for name, photo in zip(("953417", "953777", "953958"), photos, strict=False):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(photo.read_bytes())
    (votes,) = blocks("json")
    (tmp_path / "votes.json").write_text(votes)
    (shown,) = re.findall(r"^\| photo \|.*\n\|---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    lines = [line.strip("|").split("|") for line in shown.strip().splitlines()]
    (header,) = re.findall(r"^\| (photo \|.*) \|$", PAGE, re.MULTILINE)
    cells = [
        [float(text) if re.fullmatch(r"[\d.]+", text) else text for text in map(str.strip, line)] for line in lines
    ]
    sheet = [[name.strip() for name in header.split("|")], *cells]
    (tmp_path / "survey.xlsx").write_bytes(xlsx({"Cover": [["A survey of photos"]], "Answers": sheet}))
    return tmp_path


def run_block(text: str, bucket: Path, *, status: int = 0) -> None:
    words = shlex.split(text.replace("\\\n", " ").replace("s3://bucket/", f"{bucket.as_uri()}/"))
    assert words[0] == "aesthetics-ops"
    assert main(words[1:]) == status


def test_the_pages_commands_and_files_are_all_that_are_run_here() -> None:
    assert re.findall(r"^```(\w+)$", PAGE, re.MULTILINE) == ["json", "sh", "text", "sh"]


def test_nimas_votes_are_shown_as_the_page_says(bucket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (expected,) = blocks("text")
    run_block(blocks("sh")[0], bucket, status=GateError.exit_code)
    shown = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert shown == expected.splitlines()


def test_the_sheet_of_ones_own_becomes_a_dataset_with_its_columns(
    bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_block(blocks("sh")[1], bucket)
    capsys.readouterr()
    records = open_dataset((bucket / "datasets" / "survey").as_uri()).records().sort_by("id")
    assert records.select(["id", "label", "label/sharpness", "photographer"]).to_pylist() == [
        {"id": "953417.jpg", "label": 3.5, "label/sharpness": 4.0, "photographer": "Ada"},
        {"id": "953777", "label": 2.0, "label/sharpness": 2.5, "photographer": "Ben"},
    ]


def test_every_setting_with_a_value_is_written_as_the_file_of_settings_has_it() -> None:
    places = {"photos": "s3://b/p/", "labels": "s3://b/l.csv", "dataset": "s3://b/d/"}
    shown = [text for text in NAMED if re.match(rf"({'|'.join(BuildSettings.model_fields)}) = ", text)]
    assert len(shown) >= 8
    for text in shown:
        values = tomllib.loads(text)
        if "vote_values" in values:
            values["vote_columns"] = "bad, fair, good"
        assert parse_settings(places | values, where="the page").digest
