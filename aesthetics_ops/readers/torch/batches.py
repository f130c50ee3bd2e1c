"""Ready batches of tensors, made by threads."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, Self, Unpack

import numpy as np
import torch

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.batches import Batches, drawn_by
from aesthetics_ops.readers.options import pixels_of
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.records import Records
from aesthetics_ops.readers.sampling.progress import Resumable
from aesthetics_ops.readers.sampling.sampler import Sampler
from aesthetics_ops.readers.torch.ahead import DeviceAhead
from aesthetics_ops.readers.torch.decode import DeviceDecoder, jpeg_decoder
from aesthetics_ops.readers.torch.options import (
    Layout,
    Splits,
    TorchBatch,
    TorchOptions,
    as_labels,
    as_tensors,
    checked_layout,
    laid_out,
    parted,
)
from aesthetics_ops.readers.torch.pinning import pinned_copy, take_pinned, tensor_under

__all__ = ["TorchBatches", "read_torch"]

_OWN: Final = frozenset({"layout", "pin_memory", "decode_on"})


class TorchBatches(Resumable):
    """Batches of one rank, made by threads: (images, labels); one iteration is an epoch, or what is left of it.

    images: uint8, shape (b, 3, height, width) or as `layout` says, sRGB; a list of such tensors where the photos keep their
    shape; a list of JPEGs with raw=True.  labels: float32, shape (b,), or what `labels` asked for.

    Attributes:
        batches: the same as arrays.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        layout: Layout = "channels_last",
        pin_memory: bool = False,
        decode_on: str | torch.device | None = None,
        pixels: Pixels | None = None,
    ) -> None:
        """Begin nothing yet.

        Args:
            batches: of arrays; of JPEGs where `decode_on` is given.
            layout: as TorchOptions say.
            pin_memory: as TorchOptions say.
            decode_on: as TorchOptions say.
            pixels: what to make of each photo where `decode_on` is given.

        Raises:
            SettingsError: no such layout or device, or nothing that decodes on it.
        """
        self.batches, self.progress = batches, batches.progress
        self._layout = checked_layout(layout)
        self._pins = pin_memory and torch.cuda.is_available()
        self._device = None if decode_on is None else _device(decode_on)
        self._decoder = None if self._device is None else jpeg_decoder(self._device)
        self._pixels = pixels or Pixels()
        self._under_way: set[DeviceAhead] = set()
        if self._pins and self._device is None:
            batches.take = take_pinned

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[TorchBatch]:
        if self._device is not None and self._decoder is not None:
            yield from self._from_device(DeviceDecoder(_numbered(self._device), self._pixels, self._decoder))
            return
        for _, (images, labels) in self.batches.drawn():
            yield self._pinned(images, labels) if self._pins else (as_tensors(images, self._layout), as_labels(labels))

    @property
    def records(self) -> Records:
        """What is read."""
        return self.batches.records

    @property
    def sampler(self) -> Sampler:
        """Which records make each batch."""
        return self.batches.sampler

    def close(self) -> None:
        """End the threads, and let go of files and connections."""
        self.batches.close()
        for ahead in list(self._under_way):
            ahead.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _from_device(self, decoder: DeviceDecoder) -> Iterator[TorchBatch]:
        ahead = DeviceAhead(self.batches, decoder)
        self._under_way.add(ahead)
        try:
            with closing(drawn_by(self.batches, ahead.begin)) as drawn:
                for _, (images, labels) in drawn:
                    yield laid_out(images, self._layout), labels
        finally:
            ahead.end()
            self._under_way.discard(ahead)

    def _pinned(self, images: Any, labels: Any) -> TorchBatch:
        if isinstance(images, np.ndarray):
            return laid_out(tensor_under(images), self._layout), as_labels(labels, pinned_copy)
        tensors = as_tensors(images, self._layout)
        own = [one.pin_memory() if isinstance(one, torch.Tensor) else one for one in tensors]
        return own, as_labels(labels, pinned_copy)


def read_torch(dataset: Splits, split: str, **options: Unpack[TorchOptions]) -> TorchBatches:
    """Read a split in batches of tensors: the reader "torch", as `Dataset.torch` describes it."""
    own, asked = parted(options, _OWN)
    if own.get("decode_on") is None:
        return TorchBatches(dataset.numpy(split, **asked), **own)
    pixels = pixels_of(asked)
    if pixels is None or asked.get("cache") == "uint8":
        raise SettingsError("decode_on decodes every photo on the device; leave raw and cache='uint8' out")
    jpegs = {name: value for name, value in asked.items() if name not in ("size", "pixels")} | {"raw": True}
    return TorchBatches(dataset.numpy(split, **jpegs), **own, pixels=pixels)


def _numbered(device: torch.device) -> torch.device:
    """Return a CUDA device with its number, which for none given is this thread's current one."""
    is_current = device.type == "cuda" and device.index is None
    return torch.device("cuda", torch.cuda.current_device()) if is_current else device


def _device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise SettingsError(f"decode_on is {device!r}, which is no device; give 'cuda', or leave it out") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"decode_on is {device!r}, and torch finds no CUDA device here; leave decode_on out")
    return found
