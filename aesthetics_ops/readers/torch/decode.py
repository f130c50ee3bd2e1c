"""JPEGs become one batch on a device: nvJPEG decodes, and the device cuts and resizes.

In: JPEGs as they are stored, `Pixels` and what each was drawn.  Out: a tensor on the device.
The parts of the photos are those that the CPU takes for equal draws.  The whole photo is decoded, and the resize is PyTorch's
antialiased bilinear one, which is Pillow's: the pixels are those of antialias="exact", but for what another JPEG decoder does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.pixels import Pixels, plan_pixels
from aesthetics_ops.readers.rendering import Plan, jpeg_size

__all__ = ["JpegDecoder", "decode_on", "jpeg_decoder"]

JpegDecoder = Callable[[Sequence[bytes]], list[torch.Tensor]]  # to uint8, (3, height, width), sRGB


def decode_on(
    device: torch.device, jpegs: Sequence[bytes], pixels: Pixels, bits: NDArray[np.uint64], decoder: JpegDecoder
) -> torch.Tensor | list[torch.Tensor]:
    """Decode a batch on a device.

    Args:
        device: to decode on.
        jpegs: as they are stored, b of them.
        pixels: what to make of each; its antialias is not asked.
        bits: 64 random bits for each, shape (b,).
        decoder: of this device.

    Returns:
        uint8, shape (b, height, width, 3), sRGB, on the device; a list of such without b where the photos keep their shape.

    Raises:
        IntegrityError: a JPEG has no header that can be read, or colours that no dataset holds.
    """
    whole = replace(pixels, antialias="none")  # plans in px of the whole picture, as nvJPEG decodes it
    plans = [plan_pixels(*jpeg_size(jpeg)[:2], whole, draw) for jpeg, draw in zip(jpegs, bits.tolist(), strict=True)]
    decoded = decoder(jpegs) if jpegs else []
    if pixels.shape is None:
        return [
            _fill(image, plan, torch.empty((*plan.result, 3), dtype=torch.uint8, device=device))
            for image, plan in zip(decoded, plans, strict=True)
        ]
    images = torch.empty((len(jpegs), *pixels.shape), dtype=torch.uint8, device=device)
    if pixels.fit == "pad":
        images[...] = torch.tensor(pixels.fill, dtype=torch.uint8, device=device)
    for image, plan, target in zip(decoded, plans, images, strict=True):
        _fill(image, plan, target)
    return images


def _fill(image: torch.Tensor, plan: Plan, target: torch.Tensor) -> torch.Tensor:
    """Fill the part of the target, (height, width, 3), that the photo, (3, height, width), covers."""
    part = image[:, plan.top : plan.top + plan.height, plan.left : plan.left + plan.width]
    if tuple(part.shape[1:]) != plan.inner:
        shape = list(plan.inner)
        part = interpolate(part[None].float(), shape, mode="bilinear", antialias=True, align_corners=False)[0].round_()
    if plan.flip:
        part = part.flip(2)
    (top, left), (height, width) = plan.offset, plan.inner
    target[top : top + height, left : left + width] = part.permute(1, 2, 0)
    return target


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
