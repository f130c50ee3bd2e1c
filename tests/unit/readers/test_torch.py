"""PyTorch gets the batches of every other reader: by threads, and by workers that are forked.

Workers that start otherwise, and ranks: tests/integration/test_torch_processes.py.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset
from torchdata.stateful_dataloader import StatefulDataLoader

from aesthetics_ops import Dataset, Pixels, open_dataset
from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.readers.pixels import decode
from aesthetics_ops.readers.torch import TorchBatches, collate
from aesthetics_ops.readers.torch.decode import jpeg_decoder
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset
from tests.support.s3 import S3TestBucket
from tests.support.torch_batches import ORDER, PHOTOS, TRAIN, assert_same, expected, published

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:This process .* is multi-threaded:DeprecationWarning"
    ),  # fork, from Python 3.12 on
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
]

STARTS = [(0, None), (1, "fork"), (2, "fork")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return published(tmp_path_factory.mktemp("torch"), PHOTOS)


def labels_of(batches: Any) -> list[float]:
    return [label for _, labels in batches for label in labels.tolist()]


class TestBatches:
    """Batches by threads."""

    def test_batches_are_those_of_numpy(self, dataset: Dataset) -> None:
        with dataset.torch("train", **ORDER) as batches:
            assert isinstance(batches, TorchBatches)
            assert len(batches) == 10
            assert_same(batches, expected(dataset))
            assert batches.epoch == 1
            assert_same(batches, expected(dataset, 1))

    def test_images_are_channels_last_over_the_memory_they_were_decoded_into(self, dataset: Dataset) -> None:
        images, labels = next(iter(dataset.torch("train", **ORDER)))
        assert (images.dtype, images.shape) == (torch.uint8, (8, 3, 24, 24))
        assert (labels.dtype, labels.shape) == (torch.float32, (8,))
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.storage_offset() == 0
        assert images.untyped_storage().nbytes() == 8 * 24 * 24 * 3

    def test_hwc_keeps_the_shape_of_arrays(self, dataset: Dataset) -> None:
        for (images, _), (arrays, _) in zip(
            dataset.torch("train", layout="hwc", **ORDER), expected(dataset), strict=True
        ):
            assert images.is_contiguous()
            np.testing.assert_array_equal(images.numpy(), arrays)

    def test_jpegs_and_photos_of_different_sizes_come_as_lists(self, dataset: Dataset) -> None:
        jpegs, _ = next(iter(dataset.torch("train", batch=3, raw=True)))
        assert jpegs == [photo.jpeg for photo in TRAIN[:3]]
        images, _ = next(iter(dataset.torch("train", batch=3, pixels=Pixels(20, "short_side"))))
        assert [image.shape for image in images] == [(3, 20, 20)] * 3

    def test_a_state_goes_on_exactly(self, dataset: Dataset) -> None:
        whole = expected(dataset)
        batches = dataset.torch("train", **ORDER)
        for taken, _ in zip(range(4), batches, strict=False):
            state = json.loads(json.dumps(batches.state_dict())) if taken == 3 else None
        again = dataset.torch("train", **ORDER)
        again.load_state_dict(state)
        assert_same(again, whole[4:])

    def test_a_break_that_was_read_ahead_of_begins_the_epoch_again(self, dataset: Dataset) -> None:
        batches = dataset.torch("train", **ORDER, ahead=50)
        for _ in zip(range(3), batches, strict=False):
            assert batches.epoch == 0
        assert_same(batches, expected(dataset))
        assert batches.epoch == 1

    @pytest.mark.skipif(torch.cuda.is_available(), reason="what happens without a GPU")
    def test_pinning_is_left_out_without_a_gpu(self, dataset: Dataset) -> None:
        assert_same(dataset.torch("train", pin_memory=True, **ORDER), expected(dataset))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"layout": "nchw"}, "layout is 'nchw'; it is 'channels_last' or 'hwc'"),
            ({"decode_on": "gpu"}, "decode_on is 'gpu', which is no device"),
            ({"decode_on": "cpu", "raw": True}, "leave raw and cache='uint8' out"),
            ({"decode_on": "cpu", "cache": "uint8"}, "leave raw and cache='uint8' out"),
            ({"num_workers": 2}, "'num_workers' is no option here"),
        ],
    )
    def test_wrong_options_are_refused(self, dataset: Dataset, options: dict[str, Any], words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            dataset.torch("train", **options)


class TestLoader:
    """Batches by worker processes."""

    @pytest.mark.parametrize(("workers", "start"), STARTS)
    def test_batches_do_not_depend_on_workers(self, dataset: Dataset, workers: int, start: str | None) -> None:
        loader = dataset.torch_loader(
            "train", **ORDER, num_workers=workers, multiprocessing_context=start, persistent_workers=workers > 0
        )
        assert len(loader) == 10
        assert_same(loader, expected(dataset))
        assert loader.epoch == 1
        assert_same(loader, expected(dataset, 1))

    def test_any_dataloader_takes_the_parts(self, dataset: Dataset) -> None:
        parts = dataset.torch_parts("train", **ORDER)
        assert_same(DataLoader(**parts, num_workers=2), expected(dataset))

    def test_opencv_starts_no_threads_in_a_worker_forked_from_one_that_has_some(self, dataset: Dataset) -> None:
        before = cv2.getNumThreads()
        try:
            cv2.setNumThreads(4)
            cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (9, 9), 0)  # starts them
            seen: list[Callable[[int], None]] = [_one_thread_only]
            loader = dataset.torch_loader(
                "train", **ORDER, num_workers=2, timeout=300, multiprocessing_context="fork", worker_init_fn=seen[0]
            )
            assert_same(loader, expected(dataset))
        finally:
            cv2.setNumThreads(before)

    def test_a_photo_by_its_number(self, dataset: Dataset) -> None:
        photos = dataset.torch_parts("train", size=32)["dataset"]
        image, label = photos[-1]
        assert len(photos) == 80
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), decode(TRAIN[-1].jpeg, Pixels(32)))
        assert label == np.float32(TRAIN[-1].score)
        with pytest.raises(IndexError, match="row 80 of 80"):
            photos[80]
        some = DataLoader(Subset(photos, [4, 2, 7]), batch_size=2, collate_fn=collate)
        assert [labels.tolist() for _, labels in some] == [
            [np.float32(TRAIN[4].score), np.float32(TRAIN[2].score)],
            [np.float32(TRAIN[7].score)],
        ]

    @pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 3), (3, 1)])
    def test_a_state_goes_on_with_other_workers(self, dataset: Dataset, before: int, after: int) -> None:
        loader = dataset.torch_loader("train", **ORDER, num_workers=before)
        list(loader)
        for taken, _ in enumerate(loader):
            if taken == 5:
                break
        state = json.loads(json.dumps(loader.state_dict()))
        again = dataset.torch_loader("train", **ORDER, num_workers=after)
        again.load_state_dict(state)
        assert len(again) == 4
        assert_same(again, expected(dataset, 1)[6:])
        assert_same(again, expected(dataset, 2))

    def test_a_break_begins_the_epoch_again_however_much_workers_had_read_ahead(self, dataset: Dataset) -> None:
        loader = dataset.torch_loader("train", **ORDER, num_workers=2, prefetch_factor=8, persistent_workers=True)
        for _ in zip(range(2), loader, strict=False):
            pass
        assert loader.epoch == 0
        assert_same(loader, expected(dataset))

    @pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata 0.11 with torch 2.13
    @pytest.mark.parametrize("workers", [0, 2])
    def test_torchdata_s_stateful_loader_goes_on_exactly(self, dataset: Dataset, workers: int) -> None:
        loader = StatefulDataLoader(**dataset.torch_parts("train", **ORDER), num_workers=workers)
        for taken, _ in enumerate(loader):
            if taken == 5:
                break
        state = loader.state_dict()
        again = StatefulDataLoader(**dataset.torch_parts("train", **ORDER), num_workers=workers)
        again.load_state_dict(state)
        assert_same(again, expected(dataset)[6:])
        assert_same(again, expected(dataset, 1))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"threads": 2}, "threads is no option for a DataLoader here: a worker decodes in one thread"),
            ({"batch_size": 2}, "its name is batch here"),
            ({"colour": 2}, "'colour' is no option here"),
        ],
    )
    def test_wrong_options_are_refused(self, dataset: Dataset, options: dict[str, Any], words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            dataset.torch_loader("train", **options)


def _one_thread_only(worker: int) -> None:
    if cv2.getNumThreads() > 1 or torch.get_num_threads() > 1:
        raise AssertionError(f"worker {worker}: {cv2.getNumThreads()} and {torch.get_num_threads()} threads")


class TestShapes:
    """Few records, many workers, none at all."""

    @pytest.mark.parametrize(("batch", "workers"), [(7, 3), (64, 2), (1, 2)])
    def test_sizes_that_do_not_divide(self, dataset: Dataset, batch: int, workers: int) -> None:
        loader = dataset.torch_loader("train", batch=batch, size=8, num_workers=workers)
        assert labels_of(loader) == [np.float32(photo.score) for photo in TRAIN]

    def test_one_shard_and_sixteen_workers(self, tmp_path: Path) -> None:
        dataset = published(tmp_path, TRAIN[:10])
        assert len(dataset.splits["train"].shards) == 1
        loader = dataset.torch_loader("train", batch=2, size=8, num_workers=16, multiprocessing_context="fork")
        assert labels_of(loader) == [np.float32(photo.score) for photo in TRAIN[:10]]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_an_empty_split_and_a_filter_that_leaves_nothing(self, tmp_path: Path, workers: int) -> None:
        dataset = published(tmp_path, TRAIN[:10])
        for split, where in (("validation", None), ("train", "label > 100")):
            assert list(dataset.torch(split, size=8, where=where)) == []
            loader = dataset.torch_loader(split, size=8, where=where, num_workers=workers)
            assert len(loader) == 0
            assert [list(loader) for _ in range(2)] == [[], []]


class TestDamage:
    """An error says which record; a worker that dies is an error."""

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_damaged_record_is_named(self, tmp_path: Path, workers: int) -> None:
        dataset = published(tmp_path, TRAIN[:20])
        records = dataset.open_split("train")
        path = records.reader.version.local_shard("train", int(records.shards[13]))
        data = bytearray(path.read_bytes())
        data[int(records.reader.index.offsets[13]) + 100] ^= 1
        path.write_bytes(data)
        loader = dataset.torch_loader("train", batch=4, size=8, num_workers=workers)
        with pytest.raises(IntegrityError) as caught:
            list(loader)
        shard = dataset.splits["train"].shards[int(records.shards[13])].path
        assert f"version {dataset.version}, {shard} (train-0000" in str(caught.value)
        assert f"id {TRAIN[13].id!r}" in str(caught.value)

    # PyTorch's iterator raises the same error a second time where it is deleted
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_worker_that_is_killed_is_an_error(self, dataset: Dataset) -> None:
        loader = dataset.torch_loader(
            "train", batch=2, size=8, num_workers=2, timeout=300, worker_init_fn=_die, multiprocessing_context="fork"
        )
        with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly"):
            list(loader)


def _die(worker: int) -> None:
    if worker == 1:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["numpy", "torch", "torch_loader"])
def test_an_epoch_is_set_as_it_is_with_a_sampler(dataset: Dataset, kind: str) -> None:
    options: Any = {"batch": 8, "size": 8, "shuffle": True}
    batches = getattr(dataset, kind)("train", **options)
    batches.set_epoch(3)
    assert (batches.epoch, batches.state_dict()["epoch"]) == (3, 3)
    found = [label for _, labels in batches for label in labels.tolist()]
    sampler = dataset.numpy("train", **options).sampler
    sampler.set_epoch(3)
    scores = dataset.open_split("train").labels
    assert found == [label for draws in sampler for label in scores[draws.rows].tolist()]
    assert batches.epoch == 4


class TestRanks:
    """Each trainer process reads its part."""

    def test_who_forgets_to_initialise_is_told(
        self, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "8")
        dataset.torch("train", rank=0, ranks=8)
        assert caplog.messages == []
        dataset.torch("train")
        assert "WORLD_SIZE is 8, but torch.distributed is not initialised" in caplog.text


class TestStore:
    """A split whose records lie in a store."""

    @pytest.fixture
    def remote(self, s3_bucket: S3TestBucket) -> Dataset:
        url = f"{s3_bucket.url}dataset/"
        SyntheticDataset(open_store(url)).publish(PHOTOS[:50])
        return open_dataset(url)

    def test_forked_workers_read_s3(self, remote: Dataset) -> None:
        wanted = list(remote.numpy("train", **ORDER))  # uses the store
        options: dict[str, Any] = ORDER | {"timeout": 300, "multiprocessing_context": "fork"}
        assert_same(remote.torch_loader("train", **options, num_workers=2), wanted)

    def test_unless_asked_no_worker_is_forked(self, remote: Dataset) -> None:
        context = remote.torch_loader("train", num_workers=2).multiprocessing_context
        assert context.get_start_method() == "forkserver"


class TestDevices:
    """The device cuts and resizes; here it is the CPU, with the codec of every other reader instead of nvJPEG."""

    @pytest.fixture
    def large(self, tmp_path: Path) -> Dataset:
        random = np.random.default_rng(1)
        photos = []
        for number in range(12):
            small = random.integers(0, 256, (9, 7 + number, 3), np.uint8)
            pixels = cv2.resize(small, (90 + 11 * number, 100), interpolation=cv2.INTER_CUBIC)
            if number == 3:
                pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
            photos.append(Photo(f"q{number:02}", cv2.imencode(".jpg", pixels)[1].tobytes(), 1 + number / 2))
        return published(tmp_path, photos)

    # no size below a sixth of the photo: there the CPU decodes at a reduced scale
    @pytest.mark.parametrize(
        "pixels",
        [
            Pixels(33, antialias="exact"),
            Pixels((40, 30), "squash", "exact", flip=True),
            Pixels(48, "random_crop", "exact", flip=True),
            Pixels((60, 50), "pad", "exact", fill=(1, 2, 3), flip=True),
            Pixels(160, antialias="exact"),
        ],
    )
    def test_pixels_are_those_of_exact(self, large: Dataset, pixels: Pixels) -> None:
        options: dict[str, Any] = {"batch": 5, "shuffle": True, "seed": 1, "pixels": pixels}
        found = list(large.torch("train", decode_on="cpu", **options))
        wanted: Any = list(large.numpy("train", **options))
        for (images, labels), (arrays, scores) in zip(found, wanted, strict=True):
            assert images.is_contiguous(memory_format=torch.channels_last)
            np.testing.assert_allclose(images.permute(0, 2, 3, 1).numpy().astype(int), arrays.astype(int), atol=2)
            np.testing.assert_array_equal(labels.numpy(), scores)

    def test_photos_keep_their_shape(self, large: Dataset) -> None:
        options: dict[str, Any] = {"batch": 12, "pixels": Pixels(40, "short_side", "exact")}
        ((images, _),) = large.torch("train", decode_on="cpu", **options)
        ((arrays, _),) = large.numpy("train", **options)
        for image, array in zip(images, arrays, strict=True):
            np.testing.assert_allclose(image.permute(1, 2, 0).numpy().astype(int), array.astype(int), atol=2)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="what happens without a GPU")
    def test_a_device_that_is_not_there_is_refused(self, dataset: Dataset) -> None:
        with pytest.raises(SettingsError, match="decode_on is 'cuda', and torch finds no CUDA device here"):
            dataset.torch("train", decode_on="cuda")

    def test_what_decodes_on_a_gpu_is_named_where_it_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("torchcodec", "torchcodec.decoders", "torchvision", "torchvision.io"):
            monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
        with pytest.raises(
            SettingsError, match=r"decode_on='cuda' needs torchcodec .*\(torchcodec: .*; torchvision: .*\)"
        ):
            jpeg_decoder(torch.device("cuda"))


class TestOrder:
    """Ranks share one order, whatever reads it."""

    @pytest.mark.parametrize("last", ["even", "drop", "pad"])
    def test_ranks_have_equal_numbers_of_batches_and_share_the_global_ones(self, dataset: Dataset, last: Any) -> None:
        options: dict[str, Any] = {"shuffle": True, "last": last, "size": 8}
        whole = labels_of(dataset.torch("train", batch=14, **options))
        ranks: Any = [
            list(dataset.torch_loader("train", batch=7, rank=rank, ranks=2, num_workers=rank, **options))
            for rank in range(2)
        ]
        assert len(ranks[0]) == len(ranks[1])
        together = [torch.stack([one, other], 1).flatten() for (_, one), (_, other) in zip(*ranks, strict=True)]
        assert torch.cat(together).tolist() == whole
