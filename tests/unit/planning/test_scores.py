"""The rows of a score file in scratch plan what they plan in memory, and votes come out of bytes as they went in."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.dataset.database import open_database
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning import database
from aesthetics_ops.planning.model import SCORES
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.planning.scores import Scores
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, read_labels

LISTING = pa.table(
    {"key": [f"{n}.jpg" for n in range(1, 9)], "size": pa.array([10] * 8), "etag": [f"of {n}" for n in range(8)]}
)
AVA = "".join(f"{n} {n} {n} 0 0 0 0 {votes} 0 0 0 1 0 0 1\n" for n, votes in ((1, 2), (2, 255), (3, 256), (9, 70_000)))
VOTES = "id,c1,c2,c3\n1,1,2,3\n2,0,0,0\n3,,1,1\n4,0,0,65536\n5,1,0,1\n5,0,1,0\n6,2,2,2\n6,2,2,2\n7,-1,0,2\n99,1,1,1\n"
SHARES = "id,c1,c2\n1,0.25,0.75\n2,1,3\n3,0,0\n"
PLAIN = "id,filename,score,sharp\n1,1.jpg,3,0.1\n2,2.jpg,4,7\n2,2.jpg,5,7\n3,3.jpg,6,x\n4,4.jpg,2,1e-3\n"

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ava": (AVA, {}),
    "votes": (VOTES, {"vote_columns": ["c1..c3"]}),
    "shares": (SHARES, {"vote_columns": ["c1..c2"]}),
    "plain": (PLAIN, {}),
    "extra": (PLAIN, {"extra_scores": ["sharp"], "keep_columns": ["filename"]}),
    "minmax": (PLAIN, {"label_scale": "minmax"}),
}


def read(case: str) -> tuple[Labels, BuildSettings]:
    text, changes = CASES[case]
    urls = {"photos": "memory://p/photos/", "labels": "memory://p/scores.csv", "dataset": "memory://p/dataset/"}
    of = BuildSettings.model_validate(urls | changes)
    return read_labels(text.encode(), source=of.labels, settings=of), of


@pytest.mark.parametrize("case", CASES)
def test_a_plan_is_the_same_with_its_input_in_scratch(case: str, tmp_path: Path) -> None:
    labels, of = read(case)
    held = plan_photos(LISTING, labels, of, converter=Converter(1, "c0dec"), parent=None)
    pq.write_table(LISTING, tmp_path / "listing.parquet")
    scores = Scores.of(labels, tmp_path)
    (folder := tmp_path / "plan").mkdir()
    spilled = plan_photos(
        tmp_path / "listing.parquet", scores, of, converter=Converter(1, "c0dec"), parent=None, scratch=folder
    )
    assert spilled.photos.equals(held.photos)
    assert spilled.shards == held.shards
    assert spilled.unmatched.equals(held.unmatched)
    assert (spilled.kept is None) == (held.kept is None)
    assert spilled.kept is None or held.kept is None or spilled.kept.equals(held.kept)
    assert (spilled.label_range, spilled.matched_by) == (held.label_range, held.matched_by)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("in_scratch", [False, True])
def test_a_plan_takes_of_each_row_what_the_file_says(case: str, in_scratch: bool, tmp_path: Path) -> None:
    labels, _ = read(case)
    scores = Scores.of(labels, tmp_path if in_scratch else None)
    with open_database(None) as db:
        scores.attach(db, "written_rows")
        query = f"SELECT place, {', '.join(SCORES)} FROM written_rows ORDER BY place DESC"  # noqa: S608 - constants
        found = scores.columns(db.sql(query).to_arrow_table())
    table = labels.table.take(list(range(labels.table.num_rows))[::-1])
    for name in ("distribution", "votes"):
        assert found[name].to_pylist() == table[name].to_pylist()
    for name in ("label_std", "extra_scores"):
        assert found[name].to_pylist() == table[name].cast(found[name].type, safe=False).to_pylist()


def test_rows_that_disagree_in_their_votes_alone_are_found_in_scratch_too(tmp_path: Path) -> None:
    labels, of = read("votes")
    planned = plan_photos(LISTING, Scores.of(labels, tmp_path), of, converter=Converter(1, "c0dec"), parent=None)
    details = dict(zip(planned.photos["key"].to_pylist(), planned.photos["detail"].to_pylist(), strict=True))
    assert details["5.jpg"] == "2 label rows disagree: row 6 has 2.0, row 7 has 2.0"
    assert details["6.jpg"] is None


def test_names_in_two_columns_that_disagree_are_refused_with_the_row(tmp_path: Path) -> None:
    text = "id,filename,score\n1,2.jpg,3\n2,1.jpg,4\n"
    labels = read_labels(text.encode(), source="memory://p/scores.csv", settings=(of := read("plain")[1]))
    with pytest.raises(PlanError, match=r"2 rows name different ones: row 2 has '2.jpg' and '1'"):
        plan_photos(LISTING, Scores.of(labels, tmp_path), of, converter=Converter(1, "c0dec"), parent=None)


def test_a_long_listing_goes_to_scratch_and_a_short_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rows = tmp_path / "listing.parquet", LISTING.num_rows
    monkeypatch.setattr(database, "FEW_ROWS", rows)
    assert database.lay_down(LISTING, path) is LISTING
    assert not path.exists()
    monkeypatch.setattr(database, "FEW_ROWS", rows - 1)
    assert database.lay_down(LISTING, path) == path
    assert pq.read_table(path).equals(LISTING)
