"""Any record of a split, in any order, from files and from a store: the right one, or an error that names it."""

import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.tables import RECORDS, write_parquet
from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.readers.fetching import ranges, shards
from aesthetics_ops.readers.fetching.index import INDEX_COLUMNS, Index, index_of
from aesthetics_ops.readers.fetching.split import Keeping, SplitReader
from aesthetics_ops.readers.opened import PublishedVersion, open_published
from aesthetics_ops.readers.pixels import Pixels, decode
from aesthetics_ops.readers.records import Records
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.stores import CountingStore

PIXELS = Pixels(24)
PHOTOS = synthetic_photos(100)
TRAIN = [photo for photo in PHOTOS if photo.split == "train"]


def published(store: Store) -> PublishedVersion:
    SyntheticDataset(store).publish(PHOTOS)
    return open_published(store, None)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published")
    published(open_store(f"{path.as_uri()}/"))
    return path


@pytest.fixture
def local(on_disk: Path, tmp_path: Path) -> Records:
    return open_dataset(shutil.copytree(on_disk, tmp_path / "dataset")).open_split("train")


@pytest.fixture
def asked() -> CountingStore:
    return CountingStore(open_store("memory://records/"))


@pytest.fixture
def remote(asked: CountingStore) -> Records:
    version = published(asked)
    asked.requests.clear()
    return Records(SplitReader(version, "train", Keeping()))


@pytest.fixture(params=["local", "remote"])
def records(request: pytest.FixtureRequest) -> Records:
    return request.getfixturevalue(request.param)


def shard_file(records: Records, row: int) -> Path:
    found = records.reader.version.local_shard("train", int(records.shards[row]))
    assert found is not None
    return found


def index_with(records: Records, change: Callable[[pa.Table], pa.Table]) -> Index:
    reader = records.reader
    table = change(reader.version.table().cast(RECORDS.schema))
    return index_of(table.select(INDEX_COLUMNS), "train", reader.entry, "records.parquet")


class TestSequence:
    """The records are those of the split, in reading order."""

    def test_every_record_is_at_its_number(self, records: Records) -> None:
        assert len(records) == len(TRAIN)
        assert [records[row].id for row in range(len(records))] == [photo.id for photo in TRAIN]
        assert [example.id for example in records] == [photo.id for photo in TRAIN]
        assert records.ids.to_pylist() == [photo.id for photo in TRAIN]

    def test_a_record_has_what_was_stored(self, records: Records) -> None:
        example, photo = records[7], TRAIN[7]
        assert (bytes(example.image), example.id) == (photo.jpeg, photo.id)
        assert example.label == pytest.approx(photo.score)
        assert records.labels[7] == np.float32(photo.score)

    @pytest.mark.parametrize(("row", "expected"), [(-1, 79), (-80, 0), (np.int64(3), 3)])
    def test_numbers_count_from_either_end(self, local: Records, row: int, expected: int) -> None:
        assert local[row].id == TRAIN[expected].id

    @pytest.mark.parametrize("row", [80, -81])
    def test_a_number_outside_is_an_index_error(self, local: Records, row: int) -> None:
        with pytest.raises(IndexError, match=f"{row} of 80"):
            local[row]

    def test_slices_masks_and_numbers_choose(self, records: Records) -> None:
        assert [one.id for one in records[10:20:5]] == [TRAIN[10].id, TRAIN[15].id]
        high = records.select(records.labels > 5)
        assert high.ids.to_pylist() == [photo.id for photo in TRAIN if photo.score > 5]
        again = high.select([2, 0, 2])
        expected = [high.ids[2].as_py(), high.ids[0].as_py(), high.ids[2].as_py()]
        assert again.ids.to_pylist() == [one.id for one in again] == expected
        assert len(records.select([])) == 0
        assert list(records.select(np.zeros(80, bool))) == []

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (np.ones(79, bool), "79 entries.*80 records"),
            ([80], "row 80 is none of the 80"),
            ([-1], "row -1 is none"),
            ([1.5], "float64 of shape"),
            ([[1]], r"shape \(1, 1\)"),
            (["p000"], "row numbers"),
        ],
    )
    def test_a_choice_that_is_none_is_refused(self, local: Records, rows: Any, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            local.select(rows)

    def test_filters_choose_and_add_up(self, records: Records) -> None:
        high = records.where("label > 5").where("id < 'p050'")
        expected = [photo.id for photo in TRAIN if photo.score > 5 and photo.id < "p050"]
        assert high.ids.to_pylist() == [one.id for one in high] == expected
        assert high.choice.where == "(label > 5) AND (id < 'p050')"
        assert high.choice.digest is None
        few = "label > (SELECT avg(label) FROM records)"
        assert records.where("label > 5").where(few).ids.to_pylist() == [
            photo.id for photo in TRAIN if photo.score > max(5, float(records.labels.mean()))
        ]
        assert records.select([3, 1, 2]).where("id <> 'p001'").ids.to_pylist() == [TRAIN[3].id, TRAIN[2].id]
        assert high.table(["id", "bytes"]).column_names == ["id", "bytes"]
        assert high.table()["id"].to_pylist() == expected

    def test_equal_choices_have_one_digest(self, local: Records) -> None:
        mask = local.labels > 5
        digest = local.select(mask).choice.digest
        assert digest == local.select(np.flatnonzero(mask)).choice.digest
        assert digest != local.select(~mask).choice.digest
        assert digest == local.select(np.arange(80)).select(mask).choice.digest

    def test_the_index_holds_no_object_per_record(self, local: Records) -> None:
        index = local.reader.index
        arrays = (index.labels, index.shards, index.offsets, index.lengths)
        assert all(array.dtype != object and len(array) == 80 for array in arrays)
        assert sum(array.itemsize for array in arrays) == 20


class TestPixels:
    """Arrays hold what decoding each photo gives."""

    def test_arrays_are_the_photos_in_the_order_asked_for(self, records: Records) -> None:
        rows = [5, 0, 79, 5]
        images, labels = records.arrays(rows, PIXELS)
        assert images.dtype == np.uint8
        assert labels.dtype == np.float32
        for image, label, row in zip(images, labels, rows, strict=True):
            np.testing.assert_array_equal(image, decode(TRAIN[row].jpeg, PIXELS))
            assert label == np.float32(TRAIN[row].score)

    def test_a_given_array_is_filled(self, local: Records) -> None:
        out = np.zeros((2, 24, 24, 3), np.uint8)
        images, _ = local.arrays([1, 2], PIXELS, out=out)
        assert images is out
        np.testing.assert_array_equal(out[1], decode(TRAIN[2].jpeg, PIXELS))

    def test_photos_of_different_sizes_are_no_array(self, local: Records) -> None:
        with pytest.raises(SettingsError, match="different sizes"):
            local.arrays([0], Pixels(24, "short_side"))

    def test_jpegs_come_as_they_are_stored(self, records: Records) -> None:
        assert records.jpegs([3, 1]) == [TRAIN[3].jpeg, TRAIN[1].jpeg]


def flipped(data: bytearray, at: int) -> None:
    data[at] ^= 1


DAMAGE = {"its length": 3, "its length's checksum": 9, "its data": 200, "its checksum": -2}


class TestDamage:
    """Whatever is wrong with the bytes, the record is named."""

    @pytest.mark.parametrize("place", DAMAGE)
    @pytest.mark.parametrize("row", [0, 37, 79])
    def test_a_flipped_bit_names_version_shard_record_and_id(self, records: Records, place: str, row: int) -> None:
        index, source = records.reader.index, records.reader.version
        shard = source.manifest.splits["train"].shards[index.shards[row]]
        store = source.store
        assert store is not None
        data = bytearray(store.get(shard.path).data)
        first, length = int(index.offsets[row]), int(index.lengths[row])
        flipped(data, first + DAMAGE[place] % length)
        store.put(shard.path, bytes(data))
        for use in (lambda: records[row], lambda: records.arrays([row], PIXELS), lambda: records.jpegs([row])):
            with pytest.raises(IntegrityError) as caught:
                use()
            message = str(caught.value)
            assert f"version {source.manifest.version}, {shard.path} (train-0000" in message
            assert f"record {row % 10} at byte {first}, id {TRAIN[row].id!r}" in message
        assert records[(row + 1) % 80].id == TRAIN[(row + 1) % 80].id

    def test_the_checksums_are_said(self, local: Records) -> None:
        path = shard_file(local, 0)
        data = bytearray(path.read_bytes())
        flipped(data, 100)
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match=r"CRC32C: [0-9a-f]{8}, not [0-9a-f]{8}"):
            local[0]

    @pytest.mark.parametrize("left", [0, 5, 700])
    def test_a_file_that_is_cut_before_it_is_opened_is_refused(self, local: Records, left: int) -> None:
        path = shard_file(local, 0)
        path.write_bytes(path.read_bytes()[:left])
        with pytest.raises(IntegrityError, match=rf"{path.name} has {left} bytes, but its manifest states"):
            local[79]

    def test_a_file_that_is_cut_while_it_is_read_is_an_error_not_a_signal(self, local: Records) -> None:
        assert local[9].id == TRAIN[9].id
        path = shard_file(local, 9)
        with path.open("r+b") as file:
            file.truncate(int(local.reader.index.offsets[9]) + 7)
        with pytest.raises(IntegrityError, match=rf"id '{TRAIN[9].id}'.*ends after .* bytes, inside the record"):
            local[9]

    def test_a_missing_file_is_named(self, local: Records) -> None:
        path = shard_file(local, 0)
        path.unlink()
        with pytest.raises(IntegrityError, match=rf"{path.name} cannot be read: No such file"):
            local[0]

    def test_a_missing_object_says_that_the_version_expired_or_is_damaged(self, remote: Records) -> None:
        store, shard = remote.reader.version.store, remote.reader.version.manifest.splits["train"].shards[0]
        assert store is not None
        store.delete([shard.path])
        with pytest.raises(IntegrityError, match=f"{shard.path}.*verify"):
            remote[0]

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("offset", None, "a record has no offset"),
            ("length", None, "a record has no length"),
            ("label", None, "a record has no label"),
            ("shard", None, "a record has no shard"),
            ("label", float("nan"), "the label of record 'p005' is no finite number"),
            ("label", float("inf"), "the label of record 'p005' is no finite number"),
            ("offset", 1, "do not lie one after another"),
            ("length", 0, "do not lie one after another"),
            ("length", 10**9, "do not lie one after another"),
        ],
    )
    def test_a_value_that_cannot_be_is_refused(self, local: Records, column: str, value: Any, message: str) -> None:
        def change(table: pa.Table) -> pa.Table:
            values = table[column].to_pylist()
            values[5] = value
            changed = pa.array(values).cast(table.schema.field(column).type)
            return table.set_column(table.schema.get_field_index(column), column, changed)

        with pytest.raises(IntegrityError, match=rf"records\.parquet is not the table of this manifest: .*{message}"):
            index_with(local, change)

    @pytest.mark.parametrize("column", ["offset", "length", "label"])
    def test_a_column_of_another_kind_is_refused(self, local: Records, column: str) -> None:
        def change(table: pa.Table) -> pa.Table:
            changed = pa.array([b"x"] * table.num_rows)
            return table.set_column(table.schema.get_field_index(column), column, changed)

        with pytest.raises(IntegrityError, match=f"column {column} is binary, and not"):
            index_with(local, change)

    def test_places_that_were_exchanged_are_refused(self, local: Records) -> None:
        def change(table: pa.Table) -> pa.Table:
            order = pa.array([1, 0, *range(2, table.num_rows)])
            for column in ("offset", "length"):
                changed = table[column].combine_chunks().take(order)
                table = table.set_column(table.schema.get_field_index(column), column, changed)
            return table

        with pytest.raises(IntegrityError, match="do not lie one after another"):
            index_with(local, change)

    @pytest.mark.parametrize("change", ["fewer rows", "another order", "another shard", "outside"])
    def test_a_table_of_another_version_is_refused(self, local: Records, change: str) -> None:
        source = local.reader.version
        table = source.table()
        match change:
            case "fewer rows":
                table = table.slice(1)
            case "another order":
                table = table.take([79, *range(1, 79), 0, *range(80, table.num_rows)])
            case "another shard":
                keys = ["shards/00/" + "0" * 64 + ".tfrecord", *table["shard"].to_pylist()[1:]]
                table = table.set_column(table.schema.get_field_index("shard"), "shard", [keys])
            case "outside":
                offsets = [10**9, *table["offset"].to_pylist()[1:]]
                table = table.set_column(table.schema.get_field_index("offset"), "offset", [offsets])
        assert source.store is not None
        source.store.put(version_key(source.manifest.version, VersionFile.RECORDS), write_parquet(table))
        with pytest.raises(IntegrityError, match=r"records\.parquet"):
            local[0]


class TestRanges:
    """A store is asked for neighbours at once, and for nothing that is kept."""

    def test_neighbours_come_in_one_request(self, remote: Records, asked: CountingStore) -> None:
        assert len(remote.labels) == 80
        asked.requests.clear()
        remote.jpegs(range(10))
        assert [request.method for request in asked.requests] == ["get_range"]
        remote.jpegs(range(5, 25))
        assert len(asked.requests) == 1 + 3

    def test_far_ones_come_in_requests_of_their_own(
        self, remote: Records, asked: CountingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for gap in ("_GAP_BYTES", "_WIDE_GAP_BYTES"):
            monkeypatch.setattr(ranges, gap, 100)
        assert len(remote.labels) == 80
        asked.requests.clear()
        assert remote.jpegs([9, 0, 1, 5]) == [TRAIN[row].jpeg for row in (9, 0, 1, 5)]
        assert len(asked.requests) == 3

    def test_a_request_is_bounded(self, remote: Records, asked: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ranges, "_RANGE_BYTES", 4000)
        assert len(remote.labels) == 80
        asked.requests.clear()
        remote.jpegs(range(10))
        assert 3 <= len(asked.requests) <= 10

    @pytest.fixture
    def kept(self, remote: Records, tmp_path: Path) -> Records:
        return Records(SplitReader(remote.reader.version, "train", Keeping(tmp_path / "kept")))

    def test_what_is_kept_is_never_asked_for_again(self, kept: Records, asked: CountingStore, tmp_path: Path) -> None:
        first = kept.jpegs(range(80))
        asked.requests.clear()
        assert kept.jpegs(range(80)) == first == [photo.jpeg for photo in TRAIN]
        another = Records(SplitReader(kept.reader.version, "train", Keeping(tmp_path / "kept")))
        assert another.jpegs([70, 3]) == [first[70], first[3]]
        assert [request.method for request in asked.requests] == ["get"]  # the index of the second reader

    def test_what_another_process_brought_is_found(self, kept: Records, asked: CountingStore, tmp_path: Path) -> None:
        kept.jpegs([0])
        Records(SplitReader(kept.reader.version, "train", Keeping(tmp_path / "kept"))).jpegs([1])
        asked.requests.clear()
        assert kept.jpegs([1]) == [TRAIN[1].jpeg]
        assert asked.requests == []

    def test_kept_bytes_that_are_damaged_are_fetched_again(
        self, kept: Records, asked: CountingStore, tmp_path: Path
    ) -> None:
        kept.jpegs(range(80))
        for path in (tmp_path / "kept").glob("*.records"):
            path.write_bytes(bytes(path.stat().st_size))
        asked.requests.clear()
        assert kept.jpegs(range(80)) == [photo.jpeg for photo in TRAIN]
        assert len(asked.requests) == 80
        assert kept.jpegs(range(80)) == [photo.jpeg for photo in TRAIN]
        assert len(asked.requests) == 80

    def test_a_limit_ends_keeping_and_not_reading(
        self, remote: Records, asked: CountingStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        few = Records(SplitReader(remote.reader.version, "train", Keeping(tmp_path / "few", max_bytes=30_000)))
        for _ in range(2):
            asked.requests.clear()
            assert few.jpegs(range(80)) == [photo.jpeg for photo in TRAIN]
        kept = sum(sum(path.read_bytes()) for path in (tmp_path / "few").glob("*.there"))
        assert 1 <= kept < 40, "records, of which each takes about 2,000 bytes"
        used = sum(path.stat().st_blocks * 512 for path in (tmp_path / "few").iterdir())
        assert used < 100_000


def lengths_in_child(records: Records, rows: list[int], answer: "multiprocessing.Queue[list[int]]") -> None:
    answer.put([len(jpeg) for jpeg in records.jpegs(rows)])


class TestProcesses:
    """Nothing open crosses a fork or a pickle."""

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_a_child_reads_what_its_parent_reads(self, local: Records, method: str) -> None:
        chosen = local.select([5, 70, 3])
        expected = [len(jpeg) for jpeg in chosen.jpegs([0, 1, 2])]
        context: Any = multiprocessing.get_context(method)
        answer = context.Queue()
        child = context.Process(target=lengths_in_child, args=(chosen, [0, 1, 2], answer))
        child.start()
        assert answer.get(timeout=300) == expected
        child.join(60)
        assert child.exitcode == 0

    def test_a_pickle_holds_no_index(self, local: Records) -> None:
        before = len(pickle.dumps(local))
        assert len(local.labels) == 80
        assert len(pickle.dumps(local)) == before
        copy = pickle.loads(pickle.dumps(local.select([4, 2])))  # noqa: S301 - our own
        assert [one.id for one in copy] == [TRAIN[4].id, TRAIN[2].id]

    def test_closing_lets_go_of_files_and_a_later_use_opens_them(self, local: Records) -> None:
        def handles() -> set[str]:
            return {str(path.resolve()) for path in Path("/proc/self/fd").iterdir() if path.exists()}

        with local:
            local.jpegs(range(80))
            assert str(shard_file(local, 0)) in handles()
        assert str(shard_file(local, 0)) not in handles()
        assert local[0].id == TRAIN[0].id
        local.close()

    def test_more_shards_than_files_may_be_open(self, local: Records, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shards, "_most_open", lambda: 2)
        assert local.jpegs(range(80)) == [photo.jpeg for photo in TRAIN]
        local.close()
