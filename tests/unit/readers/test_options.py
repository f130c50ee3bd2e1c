"""What can be asked of every reader: where records come from, which, in which order, as what."""

import itertools
import resource
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Dataset, Pixels
from aesthetics_ops.errors import IntegrityError, NoSuchSplitError, NoSuchVersionError, SettingsError
from aesthetics_ops.readers.fetching import ranges
from aesthetics_ops.readers.opened import open_published
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.stores import CountingStore

PHOTOS = synthetic_photos(600)
TRAIN = [photo for photo in PHOTOS if photo.split == "train"]


def published(name: str, photos: list[Photo] = PHOTOS, per_shard: int = 200) -> CountingStore:
    store = CountingStore(open_store(f"memory://{name}/"))
    SyntheticDataset(store, per_shard=per_shard).publish(photos)
    store.requests.clear()
    return store


@pytest.fixture(scope="module")
def shared() -> CountingStore:
    return published("options")


@pytest.fixture
def store(shared: CountingStore) -> CountingStore:
    shared.requests.clear()
    return shared


@pytest.fixture
def dataset(store: CountingStore) -> Dataset:
    return Dataset(open_published(store, None))


def labels_of(batches: Any) -> list[float]:
    return [float(label) for _, labels in batches for label in labels]


class TestRequests:
    """A store is asked little, and never twice where a directory keeps the answer."""

    @pytest.mark.parametrize(
        "order", [{}, {"shuffle": "block"}, {"shuffle": "block", "seed": 7, "ranks": 2, "rank": 1}]
    )
    @pytest.mark.parametrize("keeps", [False, True])
    def test_the_first_batch_takes_three_requests_at_most_after_manifest_and_index(
        self, dataset: Dataset, store: CountingStore, tmp_path: Path, order: Any, keeps: bool
    ) -> None:
        asked = [request.key for request in store.requests]
        assert [key.rpartition("/")[2] for key in asked] == ["LATEST.json", "manifest.json"]
        store.requests.clear()
        directory = tmp_path / "kept" if keeps else None
        with dataset.numpy("train", batch=64, size=24, directory=directory, ahead=0, **order) as batches:
            next(iter(batches))
            first, *others = store.requests
            assert first.key.endswith("records.parquet")
            assert 1 <= len(others) <= 3
            assert {request.method for request in others} == {"get_range"}

    def test_so_it_does_whatever_the_seed(self) -> None:
        photos = [replace(photo, split="train") for photo in synthetic_photos(648, side_px=300)]
        store = published("seeds", photos, per_shard=190)
        dataset = Dataset(open_published(store, None))
        for seed in range(40):
            with dataset.numpy("train", batch=64, raw=True, ahead=0, shuffle="block", seed=seed) as batches:
                next(iter(batches))
            asked = [request for request in store.requests if request.method == "get_range"]
            store.requests.clear()
            assert 1 <= len(asked) <= 3, seed

    @pytest.mark.parametrize("keeps", [False, True])
    def test_so_it_does_where_photos_are_larger_than_gaps_that_are_always_fetched(
        self, tmp_path: Path, keeps: bool
    ) -> None:
        photos = [replace(photo, split="train") for photo in synthetic_photos(384, side_px=200)]
        assert len(photos[0].jpeg) > ranges._GAP_BYTES // 2
        store = published("larger", photos, per_shard=128)
        dataset = Dataset(open_published(store, None))
        directory = tmp_path / "kept" if keeps else None
        options: Any = {"batch": 64, "size": 24, "directory": directory, "ahead": 0, "shuffle": "block"}
        with dataset.numpy("train", **options) as batches:
            assert len(batches.records.labels) == 384
            store.requests.clear()
            next(iter(batches))
            assert 1 <= len(store.requests) <= 3
            store.requests.clear()
            batches.epoch = 0
            list(itertools.islice(batches, 2))
        if keeps:  # what came between the records of the first batch makes most of the second one
            assert len(store.requests) <= 4

    @pytest.mark.parametrize(("shuffle", "most"), [(False, 2), ("block", 64), (True, 64)])
    def test_a_resume_asks_for_the_next_batch_alone(
        self, dataset: Dataset, store: CountingStore, shuffle: Any, most: int
    ) -> None:
        with dataset.numpy("train", batch=64, size=24, shuffle=shuffle) as batches:
            seen = list(batches)
            batches.epoch = 0
            taken = iter(batches)
            for _ in range(5):
                next(taken)
            state = batches.state_dict()
        store.requests.clear()
        with dataset.numpy("train", batch=64, size=24, shuffle=shuffle, ahead=0) as batches:
            batches.load_state_dict(state)
            assert len(store.requests) <= 1, "the index alone"
            images, _ = next(iter(batches))
        np.testing.assert_array_equal(images, seen[5][0])
        assert len(store.requests) <= 1 + most

    def test_a_directory_fills_itself_and_then_nothing_is_asked(
        self, dataset: Dataset, store: CountingStore, tmp_path: Path
    ) -> None:
        with dataset.numpy("train", batch=64, size=24, shuffle=True, directory=tmp_path) as batches:
            first = labels_of(batches)
            store.requests.clear()
            second = labels_of(batches)
        assert sorted(first) == sorted(second) == sorted(np.float32(photo.score).item() for photo in TRAIN)
        assert first != second
        assert store.requests == []

    def test_a_directory_that_holds_the_version_is_read_instead(
        self, dataset: Dataset, store: CountingStore, tmp_path: Path
    ) -> None:
        dataset.pull(tmp_path, splits=["train"])
        store.requests.clear()
        assert len(labels_of(dataset.numpy("train", size=24, directory=tmp_path))) == len(TRAIN)
        assert store.requests == []
        assert len(labels_of(dataset.numpy("test", size=24, directory=tmp_path))) == 60
        assert store.requests != [], "a split that was not pulled comes from the store"

    def test_a_directory_that_holds_another_version_stays_as_it_is(self, tmp_path: Path) -> None:
        store = open_store("memory://two-versions/")
        nights = SyntheticDataset(store, per_shard=50)
        nights.publish(PHOTOS[:100])
        Dataset(open_published(store, None)).pull(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        nights.publish(PHOTOS[:200])
        newer = Dataset(open_published(store, None))
        assert len(labels_of(newer.numpy("train", size=24, directory=tmp_path))) == 160
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
        newer.pull(tmp_path)
        assert len(labels_of(newer.numpy("train", size=24, directory=tmp_path))) == 160

    def test_requests_of_a_batch_are_made_side_by_side(
        self, dataset: Dataset, store: CountingStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ranges, "_GAP_BYTES", -1)
        batches = dataset.numpy("train", batch=64, size=24, shuffle=True, ahead=1)
        next(iter(batches))
        batches.close()
        ranges_asked = [request for request in store.requests if request.method == "get_range"]
        assert 64 <= len(ranges_asked) <= 128, (
            "one for each record of this batch, and of the one that is made meanwhile"
        )


class TestFaults:
    """What happens to the files and the store meanwhile becomes one clear line."""

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_a_version_that_expired_meanwhile(self, shuffle: bool) -> None:
        store = published(f"expired-{shuffle}", PHOTOS[:100], per_shard=20)
        dataset = Dataset(open_published(store, None))
        records = dataset.open_split("train")
        assert len(records.labels) == 80
        SyntheticDataset(store).publish(PHOTOS[:50])
        for key in store.inner.list("versions/")["key"].to_pylist():
            if key.startswith(f"versions/{dataset.version}/"):
                store.inner.delete([key])
        store.inner.delete([f"published/{dataset.version}.json", *(s.path for s in dataset.splits["train"].shards)])
        with pytest.raises((NoSuchVersionError, IntegrityError), match=dataset.version):
            labels_of(dataset.numpy("train", size=24, shuffle=shuffle))
        with pytest.raises(NoSuchVersionError, match="has expired since it was opened"):
            records.jpegs([0])

    def test_a_directory_that_cannot_be_written_is_named(self, dataset: Dataset, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises((SettingsError, OSError), match="file"):
            labels_of(dataset.numpy("train", size=24, directory=tmp_path / "file"))

    def test_a_disk_that_fills_up_costs_requests_and_no_record(
        self, dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            found = labels_of(dataset.numpy("train", size=24, directory=tmp_path))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert len(found) == len(TRAIN)
        assert "keeps no more records: File too large; they come from the store each time" in caplog.text


class TestOptions:
    """Options say one thing each, and what contradicts is refused."""

    def test_a_batch_is_what_was_asked_for(self, dataset: Dataset) -> None:
        images, labels = next(iter(dataset.numpy("train", batch=5, size=(20, 30))))
        assert (images.shape, labels.shape) == ((5, 20, 30, 3), (5,))
        assert (str(images.dtype), str(labels.dtype)) == ("uint8", "float32")

    def test_photos_that_keep_their_shape_come_as_a_list(self, dataset: Dataset) -> None:
        images, _ = next(iter(dataset.numpy("train", batch=3, pixels=Pixels(16, "short_side"))))
        assert [image.shape for image in images] == [(16, 16, 3)] * 3

    def test_raw_gives_the_stored_jpegs(self, dataset: Dataset) -> None:
        images, labels = next(iter(dataset.numpy("train", batch=3, raw=True)))
        assert images == [photo.jpeg for photo in TRAIN[:3]]
        assert labels.tolist() == pytest.approx([photo.score for photo in TRAIN[:3]])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 24, "pixels": Pixels(24)}, "size and pixels say different things"),
            ({"raw": True, "size": 24}, "size and raw say different things"),
            ({"size": 0}, "size is 0"),
            ({"batch": 0}, "batch is 0"),
            ({"shuffle": "blocks"}, "shuffle is 'blocks'"),
            ({"rank": 2, "ranks": 2}, "rank is 2"),
            ({"threads": 0}, "threads is 0"),
            ({"ahead": -1}, "ahead is -1"),
            ({"where": "lable > 1"}, "lable"),
            ({"weights": [1.0]}, "weights"),
            ({"bach": 3}, "'bach' is no option here.*batch"),
        ],
    )
    def test_what_contradicts_or_is_unknown_is_refused(self, dataset: Dataset, options: Any, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            dataset.numpy("train", **options)

    def test_a_split_that_is_not_there_is_named(self, dataset: Dataset) -> None:
        with pytest.raises(NoSuchSplitError, match="'holdout'"):
            dataset.numpy("holdout")

    def test_a_filter_that_lets_nothing_through_is_an_epoch_without_batches(self, dataset: Dataset) -> None:
        batches = dataset.numpy("train", where="label > 100", size=24, shuffle=True)
        assert len(batches) == 0
        assert list(batches) == list(batches) == []

    def test_sixteen_ranks_of_one_shard_see_every_record_once(self) -> None:
        dataset = Dataset(open_published(published("one-shard", PHOTOS[:125], per_shard=1000), None))
        assert len(dataset.splits["train"].shards) == 1
        options: Any = {"batch": 2, "size": 8, "shuffle": True, "ranks": 16}
        ranks = [dataset.numpy("train", rank=rank, **options) for rank in range(16)]
        assert len({len(batches) for batches in ranks}) == 1
        seen = sorted(label for batches in ranks for label in labels_of(batches))
        everything = sorted(np.float32(photo.score).item() for photo in PHOTOS[:125] if photo.split == "train")
        assert seen == everything

    def test_a_balanced_epoch_levels_the_scores(self, dataset: Dataset) -> None:
        few: Any = {"size": 8, "where": "label < 2 OR id LIKE '%7'"}
        scores = labels_of(dataset.numpy("train", **few))
        ranges = (min(scores), max(scores))
        before = np.histogram(scores, 10, ranges)[0]
        drawn = labels_of(dataset.numpy("train", shuffle=True, balance="label", **few))
        after = np.histogram(drawn, 10, ranges)[0]
        assert before.sum() == after.sum()
        assert before.max() > 4 * before.min()
        assert after.max() <= after.min() + 10, "of a score range each record comes once more or once less"

    def test_a_state_is_a_receipt(self, dataset: Dataset) -> None:
        batches = dataset.numpy("train", size=24, batch=16, shuffle=True, seed=3, where="label > 2")
        iterator = iter(batches)
        next(iterator)
        state = batches.state_dict()
        expected = {
            "dataset": dataset.manifest.dataset,
            "version": dataset.version,
            "manifest_sha256": dataset.source.manifest_sha256,
            "split": "train",
            "where": "label > 2",
            "seed": 3,
            "epoch": 0,
            "position": 16,
        }
        assert {name: state[name] for name in expected} == expected

    def test_threads_and_read_ahead_change_nothing(self, dataset: Dataset) -> None:
        pixels = Pixels(16, "random_crop", flip=True)
        ways: list[Any] = [{"threads": 1, "ahead": 0}, {"threads": 3}, {"threads": 7, "ahead": 5}]
        found = [
            b"".join(
                images.tobytes()
                for images, _ in dataset.numpy("train", batch=50, pixels=pixels, shuffle=True, **options)
            )
            for options in ways
        ]
        assert found[0] == found[1] == found[2]

    def test_nothing_stays_open_or_running_after_close(self, dataset: Dataset) -> None:
        before = set(threading.enumerate())
        with dataset.numpy("train", batch=50, size=16) as batches:
            next(iter(batches))
            new = set(threading.enumerate()) - before
        assert new
        assert [thread.name for thread in new if thread.is_alive()] == []
