"""One night after another: what did not change is not done again, and what was done does not depend on when."""

import json
import logging
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.results import read_shard_result, write_shard_result
from aesthetics_ops.errors import GateError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.stores import CountingStore
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, finish, photo, shard_hashes, start


def shards(night: Night) -> set[str]:
    return {path for _, path, _ in shard_hashes(night.manifest)}


def content(night: Night) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records and rejects without their place, in order of key: what a version holds, however it is cut into shards."""
    records = [
        {k: v for k, v in row.items() if k not in ("shard", "offset", "length")} for row in night.table("records")
    ]
    rejects = [{k: v for k, v in row.items() if k != "shard"} for row in night.table("rejects")]
    return sorted(records, key=lambda row: row["key"]), sorted(rejects, key=lambda row: (row["key"] or "", row["id"]))


def test_a_night_without_news_reads_no_photo_writes_no_version_and_leaves_latest(source: Source) -> None:
    first = build_once(source.settings())
    latest = read_latest(first.dataset)
    build, record = start(source.settings())
    photos = CountingStore(build.photos)
    second = finish(replace(build, photos=photos), record)
    assert photos.read == []
    assert (second.built, len(record.partitions)) == (0, 0)
    assert not second.published.is_new
    assert second.manifest == first.manifest
    assert read_latest(first.dataset) == latest


def test_two_datasets_of_one_input_are_equal_byte_for_byte(source: Source) -> None:
    one = build_once(source.settings())
    two = build_once(source.settings(dataset=f"{source.url}another/"))
    assert shard_hashes(one.manifest) == shard_hashes(two.manifest)
    assert one.manifest.fingerprint == two.manifest.fingerprint
    for _, path, _ in shard_hashes(one.manifest):
        assert one.dataset.get(path).data == two.dataset.get(path).data


@pytest.mark.parametrize("score", [99, -99])
def test_minmax_does_not_count_a_photo_that_conversion_rejects(source: Source, score: int) -> None:
    source.add("broken", photo(PHOTOS[0])[:5000], score)
    settings = source.settings(label_scale="minmax", max_reject_fraction=0.5)
    with pytest.raises(GateError, match=r"minmax_range allows 0, measured 1: .* build again: the next plan knows them"):
        build_once(settings)
    second = build_once(settings)
    labels = [row["label"] for row in second.table("records")]
    assert (min(labels), max(labels)) == (0, 1)
    assert score not in (second.manifest.labels.source_min, second.manifest.labels.source_max)
    # what the first build left is gone, as after an expiry: the parent's rejects say enough
    named = {path.removesuffix(".tfrecord") for path in shards(second)}
    second.dataset.delete(
        key for key in second.dataset.list("shards/")["key"].to_pylist() if key.split(".")[0] not in named
    )
    third = build_once(settings)
    assert not third.published.is_new
    assert third.built == 0
    # its shard's result says that it is a record, as a newer decoder's would: it counts
    (digest,) = {row["shard"] for row in second.table("rejects") if row["key"] == "broken.jpg"}
    result = read_shard_result(second.dataset, Path(digest).stem)
    assert result is not None
    index = result.index.model_copy(update={"key": [*result.index.key, "broken.jpg"]})
    write_shard_result(second.dataset, result.model_copy(update={"index": index, "rejected": ()}))
    assert score in (start(settings)[1].label_range or ())
    write_shard_result(second.dataset, result)
    # the photo is mended: it counts
    source.add("broken", photo(ARRIVING))
    fourth = build_once(settings)
    assert score in (fourth.manifest.labels.source_min, fourth.manifest.labels.source_max)


def test_how_the_work_is_dealt_out_changes_nothing(source: Source) -> None:
    whole = finish(*start(source.settings(), partitions=1))
    parts = finish(*start(source.settings(dataset=f"{source.url}another/", partition_bytes=1), partitions=8))
    assert len(parts.record.partitions) > len(whole.record.partitions) == 1
    assert shard_hashes(parts.manifest) == shard_hashes(whole.manifest)


def test_one_new_photo_is_the_only_one_converted_with_the_neighbours_in_its_shard(source: Source) -> None:
    first = build_once(source.settings())
    source.add(ARRIVING, photo(ARRIVING), 4)
    second = build_once(source.settings())
    assert second.published.is_new
    assert second.built == 1
    assert second.photos_read < len(PHOTOS)
    assert len(shards(second) - shards(first)) == 1
    assert second.manifest.parent == first.manifest.version
    assert second.manifest.reuse.shards_added == 1
    assert second.manifest.records == first.manifest.records + 1


@pytest.mark.parametrize("change", ["removed", "relabelled", "replaced"])
def test_one_changed_photo_rebuilds_its_own_shard_only(source: Source, change: str) -> None:
    first = build_once(source.settings())
    row = next(row for row in first.table("records") if row["id"] == PHOTOS[2])
    if change == "removed":
        source.remove(PHOTOS[2])
    elif change == "relabelled":
        source.score({PHOTOS[2]: 9.25})
    else:
        source.add(PHOTOS[2], photo(ARRIVING))
    second = build_once(source.settings())
    assert second.published.is_new
    assert shards(first) - shards(second) == {row["shard"]}
    assert second.built == len(shards(second) - shards(first)) <= 1


def test_a_setting_that_touches_bytes_rebuilds_every_shard_and_moves_no_photo(source: Source) -> None:
    first = build_once(source.settings())
    second = build_once(source.settings(max_side_px=64))
    assert second.built == len(shards(first))
    assert not shards(first) & shards(second)
    assert all(max(row["width"], row["height"]) <= 64 for row in second.table("records"))
    places = [[(row["id"], row["split"]) for row in night.table("records")] for night in (first, second)]
    assert places[0] == places[1]


def test_a_setting_that_touches_no_byte_rebuilds_nothing(source: Source) -> None:
    build_once(source.settings())
    second = build_once(source.settings(min_records=2, partition_bytes=1))
    assert second.record.planned == 0
    assert not second.published.is_new


def test_a_new_extreme_score_is_announced_before_every_shard_is_rebuilt(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    first = build_once(source.settings(label_scale="minmax"))
    source.add(ARRIVING, photo(ARRIVING), 99)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        build, record = start(source.settings(label_scale="minmax"))
    (said,) = caplog.messages
    assert "1.0..99.0" in said
    assert "before it was 1.0..7.5" in said
    assert "every shard is rebuilt" in said
    second = finish(build, record)
    assert not shards(first) & shards(second)
    assert (second.manifest.labels.source_min, second.manifest.labels.source_max) == (1, 99)
    assert (second.manifest.labels.min, second.manifest.labels.max) == (0, 1)


def test_rejects_of_reused_shards_are_carried_over_and_all_counts_add_up(source: Source) -> None:
    source.add("cut", photo(PHOTOS[3])[:9000], 5)
    source.add("words", b"this is not a photo at all", 5)
    source.add("void", b"", 5)
    source.add("nameless", photo(PHOTOS[4]))
    source.add("sidecar", b"<xmp/>", 5, suffix=".xmp")
    source.add("wrong", photo(PHOTOS[5]), "n/a")
    source.score({"absent": 3})
    settings = source.settings(max_reject_fraction=1)
    first = build_once(settings)
    assert first.manifest.rejects == {
        "label_without_photo": 2, "corrupt": 1, "empty": 1, "label_invalid": 1, "not_a_photo": 1, "not_an_image": 1, "unlabelled": 1,
    }  # fmt: skip
    source.add(ARRIVING, photo(ARRIVING), 4)
    second = build_once(settings)
    assert 1 <= second.built < len(shards(second))
    accounting = second.manifest.accounting
    assert (accounting.listed, accounting.converted, accounting.rejected) == (21, 15, 6)
    assert (accounting.label_rows, accounting.matched, accounting.unmatched) == (21, 19, 2)
    scratch = build_once(source.settings(max_reject_fraction=1, dataset=f"{source.url}scratch/"))
    assert content(second) == content(scratch)
    assert second.manifest.accounting == scratch.manifest.accounting
    assert second.manifest.rejects == scratch.manifest.rejects


def test_a_shard_of_rejects_alone_is_not_read_again_next_night(source: Source) -> None:
    for number in range(8):
        source.add(f"words{number}", b"this is not a photo at all " * 2000 + bytes([number]), 5)
    settings = source.settings(max_reject_fraction=1)
    first = build_once(settings)
    assert first.record.shards > len(shards(first))
    again = build_once(settings)
    assert (again.record.planned, again.published.is_new) == (0, False)
    source.remove(PHOTOS[0])
    third = build_once(settings)
    assert third.photos_read < 8
    assert third.manifest.rejects == {"not_an_image": 8, "label_without_photo": 1}


class TestKilled:
    """A build that dies is finished by the same command; what was finished stays."""

    COUNT = 40

    @pytest.fixture
    def command(self, tmp_path: Path) -> list[str]:
        photos = tmp_path / "photos"
        photos.mkdir()
        names = []
        for number in range(self.COUNT):
            name = f"{number:03}"
            # the comment makes every file another one
            data = photo(PHOTOS[number % len(PHOTOS)])
            (photos / f"{name}.jpg").write_bytes(data[:2] + b"\xff\xfe\x00\x05" + name.encode() + data[2:])
            names.append(name)
        scores = tmp_path / "scores.csv"
        scores.write_text("id,score\n" + "\n".join(f"{name},{int(name) % 10}" for name in names), encoding="utf-8")
        return [
            str(Path(sys.executable).with_name("aesthetics-ops")), "build", "--json", "--shard-bytes", "50000",
            "--photos", photos.as_uri(), "--labels", scores.as_uri(),
        ]  # fmt: skip

    def test_the_same_command_goes_on_where_a_killed_one_stopped(
        self, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        dataset = tmp_path / "dataset"
        victim = subprocess.Popen([*command, "--dataset", dataset.as_uri()], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not (results := list(dataset.glob("shards/*/*.json"))) and time.monotonic() < deadline:
            assert victim.poll() is None
            time.sleep(0.001)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        results = list(dataset.glob("shards/*/*.json"))
        finished = {path: path.stat().st_mtime_ns for path in results} | {
            (shard := path.with_suffix(".tfrecord")): shard.stat().st_mtime_ns for path in results
        }
        assert finished
        assert not (dataset / "LATEST.json").exists()

        # this process has TensorFlow loaded, which a new one would spend seconds on
        assert main([*command[1:], "--dataset", dataset.as_uri()]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert summary["published"]
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        assert len(results) < summary["shards_total"]

        one = read_manifest(open_store(dataset.as_uri()))
        settings = BuildSettings.model_validate(one.settings | {"dataset": (tmp_path / "undisturbed").as_uri()})
        two = build_once(settings).manifest
        assert one.fingerprint == two.fingerprint
        assert shard_hashes(one) == shard_hashes(two)
        assert one.records == self.COUNT
