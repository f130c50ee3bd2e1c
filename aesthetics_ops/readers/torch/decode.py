"""JPEGs become one batch on a device: nvJPEG decodes, and the device cuts and resizes.

In: JPEGs as they are stored, `Pixels` and what each was drawn.  Out: a tensor on the device.
The parts of the photos are those that the CPU takes for equal draws.  The whole photo is decoded, and the resize is PyTorch's
antialiased bilinear one, which is Pillow's: the pixels are those of antialias="exact", but for what another JPEG decoder does.
What a decoder raises of a JPEG names the record; what it raises of the device is passed on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.readers.pixels import Pixels, plan_pixels
from aesthetics_ops.readers.rendering import Plan, jpeg_size

__all__ = ["DeviceDecoder", "JpegDecoder", "jpeg_decoder"]

JpegDecoder = Callable[[Sequence[bytes]], list[torch.Tensor]]  # to uint8, (3, height, width), sRGB
Named = Callable[[int, IntegrityError], IntegrityError]

_AT_ONCE: Final = 16  # photos that lie resized, as floats, before they are rounded
_REFUSALS: Final = (RuntimeError, ValueError)  # what decoders raise, of JPEGs and of the device


class DeviceDecoder:
    """Makes one batch of JPEGs what `Pixels` say, on a device."""

    def __init__(self, device: torch.device, pixels: Pixels, decoder: JpegDecoder) -> None:
        """Take no memory yet.

        Args:
            device: to decode on.
            pixels: what to make of each photo; its antialias is not asked.
            decoder: of this device.
        """
        self.device, self._decoder = device, decoder
        self._pixels = replace(pixels, antialias="none")  # plans in px of the whole picture, as nvJPEG decodes it

    def decode(
        self, jpegs: Sequence[bytes], bits: NDArray[np.uint64], named: Named
    ) -> torch.Tensor | list[torch.Tensor]:
        """Decode a batch.

        Args:
            jpegs: as they are stored, b of them.
            bits: 64 random bits for each, shape (b,).
            named: makes an error one that names the photo, of whose number in the batch it is.

        Returns:
            uint8, shape (b, height, width, 3), sRGB, on the device; a list of such without b where photos keep their shape.

        Raises:
            IntegrityError: a JPEG has no header that can be read, colours that no dataset holds, or cannot be decoded.
            RuntimeError: of PyTorch: the device has no memory left, or fails.
        """
        plans = [
            self._plan(number, jpeg, draw, named)
            for number, (jpeg, draw) in enumerate(zip(jpegs, bits.tolist(), strict=True))
        ]
        decoded = self._decoded(jpegs, named) if jpegs else []
        if self._pixels.shape is None:
            return [
                _on_canvas(image, plan, self._canvas(plan.result)) for image, plan in zip(decoded, plans, strict=True)
            ]
        images = self._canvas((len(jpegs), *self._pixels.shape[:2]))
        if self._pixels.fit == "pad":
            images[...] = torch.tensor(self._pixels.fill, dtype=torch.uint8, device=self.device)
            for image, plan, target in zip(decoded, plans, images, strict=True):
                _on_canvas(image, plan, target)
            return images
        for first in range(0, len(plans), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            images[some] = _resized(decoded[some], plans[some]).permute(0, 2, 3, 1)
        return images

    def _plan(self, number: int, jpeg: bytes, draw: int, named: Named) -> Plan:
        try:
            return plan_pixels(*jpeg_size(jpeg)[:2], self._pixels, draw)
        except IntegrityError as error:
            raise named(number, error) from error

    def _canvas(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.empty((*shape, 3), dtype=torch.uint8, device=self.device)

    def _decoded(self, jpegs: Sequence[bytes], named: Named) -> list[torch.Tensor]:
        """Decode whole photos; find the one that is at fault where some is."""
        try:
            return self._decoder(jpegs)
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS:
            for number, jpeg in enumerate(jpegs):
                if (refusal := self._refusal(jpeg)) is None:
                    continue
                if self._refusal(_a_photo()) is None:  # the device works
                    found = IntegrityError(
                        f"the photo's JPEG cannot be decoded on {str(self.device)!r}: {_line(refusal)}"
                    )
                    raise named(number, found) from refusal
                break
            raise

    def _refusal(self, jpeg: bytes) -> Exception | None:
        try:
            self._decoder([jpeg])
        except _REFUSALS as error:
            return error
        return None


@cache
def _a_photo() -> bytes:
    """Return a JPEG that every decoder takes."""
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8), colorsubsampling="420"))


def _resized(images: Sequence[torch.Tensor], plans: Sequence[Plan]) -> torch.Tensor:
    """Cut, resize and mirror photos, (3, height, width), of one resulting size: float, whole numbers, shape (b, 3, height, width).

    Few calls are made, each of which a GPU has to be sent: parts of one size are resized together.
    """
    parts = [_part(image, plan) for image, plan in zip(images, plans, strict=True)]
    by_size: dict[torch.Size, list[int]] = {}
    for number, part in enumerate(parts):
        by_size.setdefault(part.shape, []).append(number)
    done: dict[int, torch.Tensor] = {}
    for numbers in by_size.values():
        together = torch.stack([parts[number] for number in numbers]) if len(numbers) > 1 else parts[numbers[0]][None]
        done.update(zip(numbers, _interpolated(together, plans[0].inner), strict=True))
    whole = torch.stack([done[number] for number in range(len(parts))]).round_()
    if not any(plan.flip for plan in plans):
        return whole
    flips = torch.tensor([plan.flip for plan in plans], device=whole.device)
    return torch.where(flips[:, None, None, None], whole.flip(3), whole)


def _on_canvas(image: torch.Tensor, plan: Plan, target: torch.Tensor) -> torch.Tensor:
    """Fill the part of the target, (height, width, 3), that one photo covers."""
    (top, left), (height, width) = plan.offset, plan.inner
    target[top : top + height, left : left + width] = _resized([image], [plan])[0].permute(1, 2, 0)
    return target


def _part(image: torch.Tensor, plan: Plan) -> torch.Tensor:
    return image[:, plan.top : plan.top + plan.height, plan.left : plan.left + plan.width]


def _interpolated(parts: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(parts.shape[2:]) == size:
        return parts.float()
    return interpolate(parts.float(), list(size), mode="bilinear", antialias=True, align_corners=False)


def jpeg_decoder(device: torch.device) -> JpegDecoder:
    """Return what decodes JPEGs on a device: torchcodec, else torchvision; on the CPU the codec of every other reader.

    Raises:
        SettingsError: neither can be imported.
    """
    if device.type == "cpu":
        return _on_cpu
    try:
        return _torchcodec(device)
    except (ImportError, OSError, RuntimeError) as error:
        first = error
    try:
        return _torchvision(device)
    except (ImportError, OSError, RuntimeError) as error:
        raise SettingsError(
            f"decode_on={str(device)!r} needs torchcodec 0.17 or later, or torchvision, for this torch {torch.__version__}; "
            f"install torchcodec, or leave decode_on out (torchcodec: {_line(first)}; torchvision: {_line(error)})"
        ) from error


def _torchcodec(device: torch.device) -> JpegDecoder:
    from torchcodec.decoders import decode_jpeg

    return lambda jpegs: list(decode_jpeg(list(jpegs), mode="RGB", device=device))


def _torchvision(device: torch.device) -> JpegDecoder:
    from torchvision.io import ImageReadMode, decode_jpeg

    def decode(jpegs: Sequence[bytes]) -> list[torch.Tensor]:
        sources = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
        return list(decode_jpeg(sources, mode=ImageReadMode.RGB, device=device))

    return decode


def _on_cpu(jpegs: Sequence[bytes]) -> list[torch.Tensor]:
    import simplejpeg

    return [torch.from_numpy(simplejpeg.decode_jpeg(jpeg, "RGB")).permute(2, 0, 1) for jpeg in jpegs]


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
