"""A device decodes ahead of training, and what it refuses is named.  Here it is the CPU; benchmarks/gpu.py asks a GPU."""

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aesthetics_ops import Dataset, Pixels
from aesthetics_ops.dataset.example import image_in
from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.readers.fetching import split
from aesthetics_ops.readers.torch import batches as torch_batches
from aesthetics_ops.readers.torch.decode import DeviceDecoder, jpeg_decoder
from aesthetics_ops.testing.datasets import synthetic_photos

PHOTOS = [photo for photo in synthetic_photos(100) if photo.split == "train"]
OPTIONS: dict[str, Any] = {"batch": 8, "size": 24}
THREAD = "decode-on-device"


def cmyk(jpeg: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).convert("CMYK").save(file, "JPEG")
    return file.getvalue()


ODD: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda jpeg: b"",
    "zeros": lambda jpeg: bytes(1000),
    "cut in its header": lambda jpeg: jpeg[:100],
    "cut in the middle": lambda jpeg: jpeg[: len(jpeg) * 2 // 3],
    "CMYK": cmyk,
}


@pytest.mark.parametrize("at", [0, 7, 13, 79])
@pytest.mark.parametrize("odd", ODD)
def test_a_jpeg_that_cannot_be_decoded_is_named_as_on_the_cpu(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, odd: str, at: int
) -> None:
    """Its record is whole: the writer put it there so."""
    is_odd = PHOTOS[at].jpeg

    def image(data: memoryview) -> memoryview:
        jpeg = image_in(data)
        return memoryview(ODD[odd](is_odd)) if jpeg == is_odd else jpeg

    monkeypatch.setattr(split, "image_in", image)
    with pytest.raises(IntegrityError) as wanted:
        list(dataset.numpy("train", **OPTIONS))
    batches = dataset.torch("train", decode_on="cpu", **OPTIONS)
    taken = iter(batches)
    for _ in range(at // 8):
        next(taken)
    with pytest.raises(IntegrityError) as found:
        next(taken)
    name, _, _ = str(wanted.value).partition(": the photo's JPEG")
    assert f"id {PHOTOS[at].id!r}" in name
    assert str(found.value).startswith(f"{name}: the photo's JPEG ")
    assert batches.state_dict()["position"] == at // 8 * 8


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_an_error_of_the_device_blames_no_photo(kind: type[RuntimeError]) -> None:
    error = kind("CUDA error: out of memory")

    def fails(jpegs: Sequence[bytes]) -> list[torch.Tensor]:
        raise error

    decoder = DeviceDecoder(torch.device("cpu"), Pixels(24), fails)
    with pytest.raises(kind) as found:
        decoder.decode([photo.jpeg for photo in PHOTOS[:4]], np.zeros(4, np.uint64), lambda _, error: error)
    assert found.value is error


def test_an_error_that_no_photo_brings_alone_is_passed_on() -> None:
    def refuses_many(jpegs: Sequence[bytes]) -> list[torch.Tensor]:
        if len(jpegs) > 1:
            raise RuntimeError("too many at once")
        return []

    decoder = DeviceDecoder(torch.device("cpu"), Pixels(24), refuses_many)
    with pytest.raises(RuntimeError, match="too many at once"):
        decoder.decode([photo.jpeg for photo in PHOTOS[:4]], np.zeros(4, np.uint64), lambda _, error: error)


class Watched:
    """The decoder of the CPU, which tells what it was asked for."""

    def __init__(self) -> None:
        self._inner = jpeg_decoder(torch.device("cpu"))
        self.threads: list[threading.Thread] = []
        self.was_asked = threading.Condition()

    def __call__(self, jpegs: Sequence[bytes]) -> list[torch.Tensor]:
        with self.was_asked:
            self.threads.append(threading.current_thread())
            self.was_asked.notify_all()
        return self._inner(jpegs)

    def wait_for(self, batches: int) -> bool:
        with self.was_asked:
            return self.was_asked.wait_for(lambda: len(self.threads) >= batches, timeout=300)

    def ended(self) -> bool:
        for thread in set(self.threads):
            thread.join(60)
        return not any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched()
    monkeypatch.setattr(torch_batches, "jpeg_decoder", lambda device: watched)
    yield watched
    assert watched.ended()


class TestAhead:
    """One thread decodes while training has a batch."""

    @pytest.mark.parametrize(("ahead", "decoded"), [(0, 1), (1, 2), (2, 3), (5, 3)])
    def test_so_many_batches_are_decoded_while_one_is_trained_on(
        self, dataset: Dataset, watched: Watched, ahead: int, decoded: int
    ) -> None:
        taken = iter(dataset.torch("train", decode_on="cpu", ahead=ahead, **OPTIONS))
        for number in range(5):
            next(taken)
            assert watched.wait_for(number + decoded)
            assert len(watched.threads) == number + decoded
        assert {thread.name.rpartition("_")[0] for thread in watched.threads} == {THREAD}
        assert len(set(watched.threads)) == 1
        assert len(list(taken)) == 5

    @pytest.mark.parametrize("how", ["end", "break", "error", "close"])
    def test_the_thread_ends_with_the_iteration(self, dataset: Dataset, watched: Watched, how: str) -> None:
        batches = dataset.torch("train", decode_on="cpu", **OPTIONS)
        taken = iter(batches)
        next(taken)
        if how == "end":
            list(taken)
        elif how == "error":
            with pytest.raises(ZeroDivisionError):
                taken.throw(ZeroDivisionError)  # type: ignore[attr-defined]
        elif how == "close":
            batches.close()
        else:
            taken.close()  # type: ignore[attr-defined]
        assert watched.ended()
        if how == "close":
            with pytest.raises(SettingsError, match="the batches were closed while they were iterated over"):
                list(taken)
        assert len(list(batches)) == 10, "and a new iteration begins another"

    @pytest.mark.parametrize("ahead", [0, 1, 5])
    def test_a_state_counts_what_was_handed_over(self, dataset: Dataset, ahead: int) -> None:
        options: dict[str, Any] = OPTIONS | {"shuffle": True, "seed": 5, "decode_on": "cpu", "ahead": ahead}
        whole = [labels.tolist() for _, labels in dataset.torch("train", **options)]
        batches = dataset.torch("train", **options)
        for _ in zip(range(3), batches, strict=False):
            pass
        state = json.loads(json.dumps(batches.state_dict()))
        again = dataset.torch("train", **options)
        again.load_state_dict(state)
        assert [labels.tolist() for _, labels in again] == whole[3:]

    def test_two_iterations_at_once_are_apart(self, dataset: Dataset) -> None:
        batches = dataset.torch("train", decode_on="cpu", **OPTIONS)
        one, other = iter(batches), iter(batches)
        wanted = [labels.tolist() for _, labels in dataset.torch("train", **OPTIONS)]
        first = [next(one)[1].tolist() for _ in range(2)]
        next(other)
        assert first == wanted[:2]
        assert [labels.tolist() for _, labels in one] == wanted[2:]

    def test_an_empty_split(self, dataset: Dataset) -> None:
        assert list(dataset.torch("train", decode_on="cpu", where="label > 100", **OPTIONS)) == []
