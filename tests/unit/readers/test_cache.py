"""Decoded pixels that stay: the same as decoded anew, for every process, whatever a crash or a full disk left."""

import os
import resource
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Dataset, Pixels, open_dataset
from aesthetics_ops.errors import IntegrityError, ScratchSpaceError, SettingsError
from aesthetics_ops.readers import cache
from aesthetics_ops.readers.batches import Batches
from aesthetics_ops.readers.fetching.split import Asked
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

SIZE = 24
PIXEL_BYTES = SIZE * SIZE * 3
PHOTOS = synthetic_photos(100)


@pytest.fixture
def dataset(published: Path, tmp_path: Path) -> Dataset:
    return open_dataset(shutil.copytree(published, tmp_path / "dataset"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by an entry whenever a record is decoded in this process."""
    entries: list[int] = []
    inner = Asked.decode_one

    def counted(self: Asked, at: int, pixels: Pixels, **options: Any) -> Any:
        entries.append(at)
        return inner(self, at, pixels, **options)

    monkeypatch.setattr(Asked, "decode_one", counted)
    return entries


def reader(dataset: Dataset, place: Path, split: str = "train", **options: Any) -> Batches:
    return dataset.numpy(split, batch=16, size=SIZE, shuffle=True, directory=place, cache="uint8", **options)


def epoch(batches: Batches) -> list[Any]:
    return [(images.copy(), labels) for images, labels in batches]


def same(first: list[Any], second: list[Any]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
        for one, two in zip(first, second, strict=True)
    )


def files(place: Path, suffix: str) -> list[Path]:
    return sorted(place.glob(f"pixels-*/*{suffix}"))


def test_every_epoch_is_that_of_a_reader_without_a_cache(dataset: Dataset, place: Path, decoded: list[int]) -> None:
    plain = dataset.numpy("train", batch=16, size=SIZE, shuffle=True)
    kept = reader(dataset, place)
    for number in range(3):
        assert same(epoch(kept), epoch(plain))
        assert len(decoded) == 80, f"epoch {number}: each photo is decoded once"


def test_another_reader_decodes_nothing(dataset: Dataset, place: Path, decoded: list[int]) -> None:
    first = epoch(reader(dataset, place))
    decoded.clear()
    assert same(epoch(reader(dataset, place)), first)
    assert decoded == []


def test_other_pixels_and_other_splits_have_files_of_their_own(dataset: Dataset, place: Path) -> None:
    epoch(reader(dataset, place))
    before = {path: path.read_bytes() for path in files(place, ".u8")}
    epoch(reader(dataset, place, "test"))
    list(dataset.numpy("train", batch=16, size=32, directory=place, cache="uint8"))
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(place.glob("pixels-*"))) == 2


def test_the_next_version_keeps_the_pixels_of_shards_that_it_shares(
    tmp_path: Path, place: Path, decoded: list[int]
) -> None:
    url = f"{tmp_path.as_uri()}/nights/"
    nights = SyntheticDataset(open_store(url))
    nights.publish(PHOTOS)
    epoch(reader(open_dataset(url), place))
    nights.publish([*PHOTOS, *[photo for photo in synthetic_photos(110)[100:] if photo.split == "train"]])
    decoded.clear()
    epoch(reader(open_dataset(url), place))
    assert len(decoded) == 8


def test_a_choice_of_records_uses_what_is_there(dataset: Dataset, place: Path, decoded: list[int]) -> None:
    epoch(reader(dataset, place))
    decoded.clear()
    few = epoch(reader(dataset, place, where="label > 5"))
    assert decoded == []
    assert same(few, epoch(dataset.numpy("train", batch=16, size=SIZE, shuffle=True, where="label > 5")))


@pytest.mark.parametrize(
    "damage",
    ["zeros", "one bit", "cut", "gone", "checksums cut", "checksums gone", "checksums of others"],
)
def test_what_is_not_whole_is_decoded_again(dataset: Dataset, place: Path, decoded: list[int], damage: str) -> None:
    first = epoch(reader(dataset, place))
    for pixels, sums in zip(files(place, ".u8"), files(place, ".crc32c"), strict=True):
        data = bytearray(pixels.read_bytes())
        match damage:
            case "zeros":
                pixels.write_bytes(bytes(len(data)))
            case "one bit":
                data[5] ^= 4
                pixels.write_bytes(data)
            case "cut":
                os.truncate(pixels, PIXEL_BYTES * 2 + 7)
            case "gone":
                pixels.unlink()
            case "checksums cut":
                os.truncate(sums, 6)
            case "checksums gone":
                sums.unlink()
            case "checksums of others":
                sums.write_bytes(b"\7" * sums.stat().st_size)
    decoded.clear()
    again = reader(dataset, place)
    assert same(epoch(again), first)
    assert len(decoded) == (
        8 if damage == "one bit" else 64 if damage == "cut" else 72 if damage == "checksums cut" else 80
    )
    decoded.clear()
    again.epoch = 0
    assert same(epoch(again), first)
    assert decoded == []


def test_a_damaged_record_is_named(dataset: Dataset, place: Path) -> None:
    path = next(iter(dataset.splits["train"].shards)).path
    store = dataset.source.store
    assert store is not None
    data = bytearray(store.get(path).data)
    data[300] ^= 1
    store.put(path, bytes(data))
    with pytest.raises(IntegrityError, match=rf"{path} \(train-00000.*id '{PHOTOS[0].id}'"):
        epoch(reader(dataset, place))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixels": Pixels(SIZE, "random_crop"), "size": None}, "draws anew in every epoch"),
        ({"pixels": Pixels(SIZE, flip=True), "size": None}, "draws anew in every epoch"),
        ({"pixels": Pixels(SIZE, "short_side"), "size": None}, "photos of different sizes"),
        ({"raw": True, "size": None}, "raw=True decodes none"),
        ({"directory": None}, "give directory"),
        ({"cache": "float32"}, "cache is 'float32'; it is 'jpeg', 'uint8' or None"),
    ],
)
def test_what_cannot_be_kept_is_refused(dataset: Dataset, place: Path, options: dict[str, Any], message: str) -> None:
    chosen: dict[str, Any] = {"size": SIZE, "directory": place, "cache": "uint8"} | options
    with pytest.raises(SettingsError, match=message):
        dataset.numpy("train", **{name: value for name, value in chosen.items() if value is not None})
    assert not place.exists()


@pytest.mark.parametrize("kind", ["uint8", "jpeg"])
def test_what_memory_cannot_hold_is_refused_with_both_numbers(
    dataset: Dataset, place: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "free_memory", lambda: 1000)
    needed = 80 * PIXEL_BYTES if kind == "uint8" else dataset.splits["train"].bytes
    with pytest.raises(SettingsError, match=rf"cache='{kind}' would keep .* in {needed:,} bytes, and 1,000 bytes"):
        dataset.numpy("train", size=SIZE, directory=place, cache=kind)


def test_what_the_disk_cannot_hold_is_refused(dataset: Dataset, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ScratchSpaceError, match=rf"would grow by {80 * PIXEL_BYTES:,} bytes.* 1,000 bytes free"):
        reader(dataset, place)


def test_a_disk_that_fills_up_meanwhile_is_told(dataset: Dataset, place: Path) -> None:
    batches = reader(dataset, place)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal_before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PIXEL_BYTES, before[1]))
    try:
        with pytest.raises(ScratchSpaceError, match=r"\.u8 cannot take more pixels: File too large; free some"):
            epoch(batches)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signal_before)
    assert len(epoch(batches)) == 5


def test_jpegs_are_read_ahead_and_nothing_is_written(dataset: Dataset, place: Path) -> None:
    batches = dataset.numpy("train", batch=16, size=SIZE, directory=place, cache="jpeg")
    assert same(epoch(batches), epoch(dataset.numpy("train", batch=16, size=SIZE)))
    assert not place.exists()


def test_jpegs_of_a_store_need_a_directory() -> None:
    store = open_store("memory://cache-of-jpegs/")
    SyntheticDataset(store).publish(PHOTOS)
    with pytest.raises(SettingsError, match="give directory, or pull the version"):
        open_dataset("memory://cache-of-jpegs/").numpy("train", size=SIZE, cache="jpeg")
