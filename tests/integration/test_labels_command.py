"""`aesthetics-ops labels`: how a score file is understood, with and without photos."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.cli import _FORESEEN_GATES, main
from aesthetics_ops.errors import GateError, PlanError
from aesthetics_ops.publishing.gates import GATES
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, photo
from tests.support.sheets import xlsx

KONIQ = (
    "image_name,c1,c2,c3,c4,c5,c_total\n"
    "a.jpg,0,1,4,5,0,10\nb.jpg,9,1,0,0,0,10\nc.jpg,0,0,0,0,0,0\nnone.jpg,1,1,1,1,1,5\n"
)
ALL_ALLOWED = ("--max-reject-fraction", "1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg", "other.jpg", "notes.txt"):
        (tmp_path / "photos" / name).write_text(name)
    (tmp_path / "koniq.csv").write_text(KONIQ)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["labels", *map(str, arguments)])
    return status, *capsys.readouterr()


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    status, out, err = run(capsys, *arguments, "--json")
    assert status == 0, err
    return json.loads(out)


def test_a_file_alone_is_shown_with_its_columns_and_range(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(capsys, place / "koniq.csv")
    assert (found["format"], found["layout"], found["rows"], found["usable"]) == ("csv", "KonIQ-10k", 4, 3)
    assert found["columns"] == {"id": "image_name", "votes": "c1 to c5"}
    assert found["score_range"] == [pytest.approx(1.1), pytest.approx(3.4)]
    assert sum(found["histogram"]) == 3
    assert (found["votes_per_photo"], found["sheets"]) == ([5, 10.0, 10], [])
    assert found["problems"] == ["row 4 ('c.jpg'): no votes"]
    assert found["photos"] is None


def test_photos_are_counted_by_what_becomes_of_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(capsys, place / "koniq.csv", "--photos", place / "photos", *ALL_ALLOWED)["photos"]
    assert (found["listed"], found["scored"], found["unmatched"]) == (5, 2, 1)
    assert (found["refusal"], found["gates"]) == (None, [])
    assert found["matched_by"] == {"key": 3}
    assert found["reasons"] == {"label_invalid": 1, "unlabelled": 1, "not_a_photo": 1}
    assert found["problems"] == ["c.jpg: label_invalid, no votes"]
    assert not (place / "dataset").exists()


def test_people_read_it_in_lines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, place / "koniq.csv", "--photos", place / "photos", "--min-records", "3")
    assert status == GateError.exit_code
    for line in (
        "format      csv, KonIQ-10k",
        "columns     id in 'image_name', votes in 'c1 to c5'",
        "votes for   1, 2, 3, 4, 5",
        "votes       5 to 10 per photo, median 10",
        "rows        4, 3 with a score",
        "scores      1.1 to 3.4, mean 2.5",
        f"         1.1  {'#' * 40}  1",
        "problem     row 4 ('c.jpg'): no votes",
        "matched     3 by key",
        "unmatched   1 rows name no photo",
        "left out    c.jpg: label_invalid, no votes",
        "refused     a build would not be published; max_reject_fraction allows 0.05, measured 0.3333: 1 of 3 labelled photos could "
        "not be used (1 label_invalid; for example ['c.jpg'])",
        "refused     a build would not be published; min_records allows 3, measured 2: 2 records",
    ):
        assert f"{line}\n" in out + "\n", line


def test_photos_that_no_row_names_are_a_refusal_that_is_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "other.csv").write_text("id,score\nx,1\n")
    status, out, _ = run(capsys, place / "other.csv", "--photos", place / "photos")
    assert status == PlanError.exit_code
    assert "rows        1, 1 with a score\n" in out
    assert "photos      5 listed; a build would be refused: no photo under" in out
    status, out, _ = run(capsys, place / "other.csv", "--photos", place / "photos", "--json")
    assert (status, json.loads(out)["usable"]) == (PlanError.exit_code, 1)


def test_settings_about_columns_are_flags(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(capsys, place / "koniq.csv", "--id-column", "image_name", "--score-column", "c3", "--label-max", "3")
    assert (found["usable"], found["ratings"]) == (3, [])
    assert found["problems"] == ["row 2 ('a.jpg'): score 4 is above label_max 3.0"]
    (note,) = found["notes"]
    assert "has whole numbers in 'c3', one of 5 columns that differ in their number: it looks like a count" in note
    assert note.endswith("set vote_columns to c1..c5 if it is")


def test_the_sheet_that_was_read_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[list[Any]] = [["photo", "score"], ["a.jpg", 1], ["b.jpg", 2.5]]
    (place / "own.xlsx").write_bytes(xlsx({"Cover": [["About"]], "Answers": rows, "More": rows}))
    (place / "last.csv").write_text("id,score\nc,1\n")
    assert ask(capsys, place / "own.xlsx")["sheets"] == ["Answers"]
    assert ask(capsys, place / "own.xlsx", "--sheet", "3")["sheets"] == ["More"]
    assert ask(capsys, place / "own.xlsx", place / "last.csv")["sheets"] == ["Answers"]
    assert "sheet       'Answers'\n" in run(capsys, place / "own.xlsx")[1]


def test_votes_per_photo_are_those_of_rows_with_a_score(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = "image_id=user_id=score\n" + "".join(
        f"{photo}=u{n}=7\n" for photo, count in (("a", 2), ("b", 5), ("c", 1200)) for n in range(count)
    )
    (place / "eva.csv").write_text(votes)
    assert ask(capsys, place / "eva.csv")["votes_per_photo"] == [2, 5.0, 1200]
    assert "votes       2 to 1,200 per photo, median 5\n" in run(capsys, place / "eva.csv")[1]
    (place / "plain.csv").write_text("id,score\na,1\n")
    assert ask(capsys, place / "plain.csv")["votes_per_photo"] is None
    (place / "shares.csv").write_text(
        "image_num," + ",".join(f"vote_{n}" for n in range(1, 11)) + "\na" + ",0.1" * 10 + "\n"
    )
    found = ask(capsys, place / "shares.csv")
    assert (found["usable"], found["votes_per_photo"]) == (1, None)


def test_a_file_whose_rows_are_all_bad_is_shown_all_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.csv").write_text("id,score\na,good\nb,\n" * 1)
    status, out, _ = run(capsys, place / "bad.csv", "--json")
    found = json.loads(out)
    assert status == PlanError.exit_code
    assert (found["usable"], found["score_range"], found["histogram"]) == (0, None, [])
    assert found["problems"] == ["row 2 ('a'): score 'good' is not a number", "row 3 ('b'): score is missing"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--score-column", "MOS"), "has no column 'MOS'; its columns are 'image_name', 'c1'"),
        (("--label-format", "xls"), "label_format is 'xls', but the formats are"),
        (("--vote-values", "1,2"), "vote_values has 2 ratings, but vote_columns is empty"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    status, _, err = run(capsys, place / "koniq.csv", *flags)
    assert status in (1, 2)
    assert message in err


def test_several_files_are_one_and_what_they_disagree_about_is_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "first.csv").write_text("id,score\na,1\nb,2\n")
    (place / "last.jsonl").write_text('{"id": "b", "score": 3}\n{"id": "c", "score": 3}\n')
    files = (place / "first.csv", place / "last.jsonl")
    flags = ("--file-splits", "first.csv=train, last.jsonl=test", "--photos", place / "photos", *ALL_ALLOWED)
    found = ask(capsys, *files, *flags)
    assert (found["rows"], found["splits"]) == (4, {"train": 2, "test": 2})
    assert found["columns"]["split"] == "the file's name"
    (note,) = found["notes"]
    assert "disagree about 1 photos" in note
    assert "last.jsonl' have another score for 'b', 2.0 and 3.0; such photos are left out as label_invalid" in note
    assert found["photos"]["reasons"]["label_invalid"] == 1


def test_a_build_takes_several_files_whose_flag_comes_more_than_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, score in (("train.csv", 1), ("test.csv", 2)):
        (place / name).write_text(f"id,score\na,{score}\n")
    flags = ["--photos", str(place / "photos"), "--dataset", str(place / "out"), "--labels", f"{place / 'train.csv'}"]
    assert main(["build", *flags, "--labels", str(place / "none.csv")]) == 1
    assert "none.csv' does not exist; check the labels setting" in capsys.readouterr().err
    assert main(["build", *flags, "--labels", str(place / "train.csv")]) == 2
    assert "train.csv' twice; name each file once" in capsys.readouterr().err
    assert main(["build", *flags, "--labels", str(place / "test.csv")]) == 1
    assert "has 1.0 train, row 4 has 2.0 test" in capsys.readouterr().err


def test_the_column_that_names_the_photos_is_shown_as_a_build_takes_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "two.csv").write_text("id,image_id,score\n0,a,1\n1,b,2\n")
    found = ask(capsys, place / "two.csv", "--photos", place / "photos")
    assert found["columns"] == {"id": "image_id", "score": "score"}
    assert found["notes"] == []
    alone = ask(capsys, place / "two.csv")
    assert alone["notes"] == [
        "'id' and 'image_id' may name the photos; the one that finds most of them is taken: --photos shows which"
    ]


MIB = 1 << 20
SMALL = """
import resource, sys
from aesthetics_ops.cli import main
import aesthetics_ops.publishing.preview, aesthetics_ops.sources.scores
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
status = main(["labels", sys.argv[1]])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, status)
"""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gzip.compress(bytes(600 * MIB)), "unpacked from gzip; unpack it yourself"),
        (lambda: pa.compress(bytes(600 * MIB), "zstd", asbytes=True), "unpacked from zstd; unpack it yourself"),
        (lambda: xlsx({"S": [["id", "score"], ["a", 1]]}, more={"xl/sharedStrings.xml": bytes(600 * MIB)}), "unpacked from Excel"),
        (lambda: xlsx({"S": [["id", "score"], ['<c r="XFD1048576"><v>1</v></c>', 1]]}), "at most 30000000 cells are read"),
        (lambda: b"id,score\n" + b"a" * (60 * MIB), "has more than 1048576 bytes in line 2"),
        (lambda: b"1 " * (30 * MIB), "has more than 4096 bytes in line 1"),
    ],
    ids=["gzip", "zstd", "xlsx", "far cells", "endless line", "endless AVA line"],
)  # fmt: skip
def test_what_is_made_to_fill_the_memory_does_not(tmp_path: Path, make: Callable[[], bytes], message: str) -> None:
    (tmp_path / "scores").write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(tmp_path / "scores")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    taken, status = map(int, done.stdout.split())
    assert status == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert taken < 250


def test_every_gate_that_a_plan_tells_is_a_flag_and_needs_the_photos(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(_FORESEEN_GATES) == {gate.name for gate in GATES if gate.is_foreseen}
    for name in _FORESEEN_GATES:
        flag = "--" + name.replace("_", "-")
        status, _, err = run(capsys, place / "koniq.csv", flag, "1")
        assert (status, err) == (2, f"aesthetics-ops: {flag} 1 is about photos; give --photos, too\n")


SCORES = "id,score\n{0},5\n{1},6\n{2},good\nnone.jpg,1\n"


@pytest.mark.parametrize(
    ("flags", "gates"),
    [
        ((), {"max_reject_fraction"}),
        (("--max-reject-fraction", "0.3"), {"max_reject_fraction"}),
        (("--max-reject-fraction", "0.34"), set()),
        ((*ALL_ALLOWED, "--max-unmatched-fraction", "0.2"), {"max_unmatched_fraction"}),
        ((*ALL_ALLOWED, "--max-unmatched-fraction", "0.25"), set()),
        ((*ALL_ALLOWED, "--min-records", "3"), {"min_records"}),
        ((*ALL_ALLOWED, "--min-records", "2"), set()),
        (("--min-records", "3", "--max-unmatched-fraction", "0"), set(_FORESEEN_GATES)),
        ((*ALL_ALLOWED, "--label-range", "5.5, 9", "--min-records", "2"), {"min_records"}),
        (("--label-range", "9, 10"), set()),
    ],
)
def test_it_is_refused_by_the_gates_that_refuse_a_build_and_with_its_status(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    gates: set[str],
) -> None:
    make_reports_quick(monkeypatch)
    (tmp_path / "photos").mkdir()
    for name in PHOTOS[:3]:
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(photo(name))
    scores, photos = tmp_path / "scores.csv", tmp_path / "photos"
    scores.write_text(SCORES.format(*PHOTOS))
    status, out, _ = run(capsys, scores, "--photos", photos, *flags)
    places = ("--labels", str(scores), "--photos", str(photos), "--dataset", str(tmp_path / "set"))
    assert main(["build", *places, *flags]) == status
    err = capsys.readouterr().err
    assert {name for name in _FORESEEN_GATES if f"{name} allows" in err} == gates
    assert {name for name in _FORESEEN_GATES if f"published; {name} allows" in out} == gates
