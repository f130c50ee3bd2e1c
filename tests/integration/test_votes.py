"""A build from a file of votes for other ratings than AVA's: the records, the manifest and the card say which."""

import io
import json
from pathlib import Path

import pytest

from aesthetics_ops import build_dataset
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.tfrecord import read_framed, read_records
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from aesthetics_ops.versions.diff import diff_versions
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import PHOTOS, Source, build_once, photo
from tests.support.paths import ROOT


def test_records_hold_the_shares_and_the_manifest_the_ratings(tmp_path: Path) -> None:
    scores = tmp_path / "koniq.csv"
    scores.write_text(
        "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore\n"
        "902203.jpg,0,1,4,5,0,10,3.4,0.69,61.2\n903084.jpg,9,1,0,0,0,10,1.1,0.31,5.5\n904435.jpg,0,0,0,0,0,0,0,0,0\n"
    )
    dataset = f"file://{tmp_path}/dataset/"
    settings = BuildSettings(photos=f"file://{ROOT}/samples/photos/", labels=f"file://{scores}", dataset=dataset)
    manifest = build_dataset(settings.model_copy(update={"max_reject_fraction": 1.0})).manifest
    store = open_store(dataset)
    found: dict[str, object] = {}
    for split in manifest.splits.values():
        for shard in split.shards:
            for record in read_records(io.BytesIO(store.get(shard.path).data)):
                example = decode_example(record)
                found[example.id] = (example.label, example.distribution)
    assert found == {
        "902203.jpg": (pytest.approx(3.4), pytest.approx((0, 0.1, 0.4, 0.5, 0))),
        "903084.jpg": (pytest.approx(1.1), pytest.approx((0.9, 0.1, 0, 0, 0))),
    }
    assert manifest.source.ratings == (1, 2, 3, 4, 5)
    assert manifest.features["image/distribution"] == {"dtype": "float32", "shape": [5]}
    assert manifest.source.label_columns == {"id": "image_name", "votes": "c1 to c5"}
    card = store.get(f"versions/{manifest.version}/README.md").data
    assert b"shares of the votes for ratings 1 to 5;" in bytes(card)


PERSONS = (PHOTOS[0], PHOTOS[1], PHOTOS[2])


def votes_source(tmp_path: Path, text: str) -> Source:
    source = Source(f"file://{tmp_path}/", {})
    for name in PERSONS:
        source.add(name, photo(name))
    source.store.put("scores.csv", text.encode())
    return source


COUNTS = "id,c1,c2,c3,quality,who\n{},1,2,1,0.5,ann\n{},0,0,3,0.25,bob\n{},7,0,0,1,\n".format(*PERSONS)
VOTED = {"vote_columns": "c1..c3", "extra_scores": "quality", "keep_columns": "who"}


def test_votes_and_scores_stand_in_records_table_and_manifest_and_verify_compares_them(tmp_path: Path) -> None:
    source = votes_source(tmp_path, COUNTS)
    night = build_once(source.settings(**VOTED))
    rows = {row["id"]: row for row in night.table("records")}
    assert {name: (row["votes"], row["label/quality"], row["who"]) for name, row in rows.items()} == {
        PERSONS[0]: ([1, 2, 1], 0.5, "ann"), PERSONS[1]: ([0, 0, 3], 0.25, "bob"), PERSONS[2]: ([7, 0, 0], 1.0, None),
    }  # fmt: skip
    for row in rows.values():
        record = night.dataset.get_range(row["shard"], row["offset"], row["length"])
        example = decode_example(read_framed(bytes(record)))
        assert list(example.votes or ()) == row["votes"]
        assert (example.label_std, example.extra_scores) == (row["label_std"], {"quality": row["label/quality"]})
        assert list(example.distribution or ()) == row["distribution"]
    manifest = night.manifest
    assert manifest.features["image/votes"] == {"dtype": "int64", "shape": [3]}
    assert manifest.features["image/label/quality"] == {"dtype": "float32", "shape": [1]}
    assert manifest.votes is not None
    assert (manifest.votes.counts, manifest.votes.fewest, manifest.votes.most) == ((8, 2, 4), 3, 7)
    assert manifest.extra_scores["quality"].max == 1
    verify_version(night.dataset)
    croissant = json.loads(bytes(night.dataset.get(f"versions/{manifest.version}/croissant.json").data))
    fields = {field["name"]: field for field in croissant["recordSet"][1]["field"]}
    assert fields["votes"]["dataType"] == "sc:Integer"
    assert fields["who"]["dataType"] == "sc:Text"
    report = bytes(night.dataset.get(f"versions/{manifest.version}/report.html").data).decode()
    assert "Votes by rating" in report
    assert "quality" in report


def test_another_kept_value_converts_nothing_and_makes_a_new_version(tmp_path: Path) -> None:
    source = votes_source(tmp_path, COUNTS)
    first = build_once(source.settings(**VOTED))
    source.store.put("scores.csv", COUNTS.replace("bob", "eve").encode())
    second = build_once(source.settings(**VOTED))
    assert (second.published.is_new, second.built, second.photos_read) == (True, 0, 0)
    assert second.manifest.fingerprint == first.manifest.fingerprint
    third = build_once(source.settings(**VOTED))
    assert not third.published.is_new
    found = diff_versions(first.dataset, first.manifest.version, second.manifest.version)
    assert {kind: change.count for kind, change in found.changes.by_kind.items() if change.count} == {"annotated": 1}
    without = build_once(source.settings(**VOTED | {"keep_columns": ""}))
    assert (without.published.is_new, without.built) == (True, 0)
    assert diff_versions(first.dataset, second.manifest.version, without.manifest.version).columns == (("who",), ())
    verify_version(without.dataset)


def test_another_vote_or_extra_score_makes_only_its_shard_anew(tmp_path: Path) -> None:
    source = votes_source(tmp_path, COUNTS)
    first = build_once(source.settings(**VOTED))
    source.store.put("scores.csv", COUNTS.replace("0,0,3,0.25", "0,0,6,0.25").encode())  # the same shares and mean
    second = build_once(source.settings(**VOTED))
    assert (second.published.is_new, second.built) == (True, 1)
    found = diff_versions(first.dataset, first.manifest.version, second.manifest.version)
    assert found.changes.relabelled.examples == (PERSONS[1],)


def test_rows_that_differ_in_an_extra_score_only_disagree(tmp_path: Path) -> None:
    source = votes_source(tmp_path, COUNTS + f"{PERSONS[0]},1,2,1,0.75,ann\n{PERSONS[1]},0,0,6,0.25,bob\n")
    night = build_once(source.settings(**VOTED, max_reject_fraction=1.0))
    details = {row["id"]: row["detail"] for row in night.table("rejects")}
    assert "2 label rows disagree: row 2 has 2.0 [0.5], row 5 has 2.0 [0.75]" in details[PERSONS[0]]
    assert "disagree" in details[PERSONS[1]]
