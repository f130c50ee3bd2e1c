"""An image between its decoder and its JPEG: brought to 8-bit gray or RGB in sRGB, over white."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aesthetics_ops.pixels.colour import ProfileVerdict, judge_profile, to_srgb
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Decoded", "finish_colours"]

_WITH_ALPHA: Final = {"LA": "L", "RGBA": "RGB"}


@dataclass(slots=True)
class Decoded:
    """An image on its way to canonical form.

    Attributes:
        image: any mode of Pillow's after a reader; `L` or `RGB`, sRGB, after `finish_colours`.
        orientation: EXIF orientation that is still to be applied, 1 to 8.
        icc: the colour profile that is still to be applied; None without one, empty when it is broken.
        sample_bits: bits per sample of a 16-bit gray mode, 9 to 16.
        transforms: what was done so far.
        alpha: mode `L`, where the image's own mode cannot hold it; 255 is opaque.
    """

    image: "Image"
    orientation: int = 1
    icc: bytes | None = None
    sample_bits: int = 16
    transforms: set[Transform] = field(default_factory=set)
    alpha: "Image | None" = None


def finish_colours(decoded: Decoded) -> Decoded:
    """Bring an image of any mode to 8-bit gray or RGB in sRGB, over white.

    Raises:
        Refusal: `unsupported_format` for samples without a display range (32-bit, float) and for Lab.
    """
    image = _eight_bit(decoded)
    alpha = decoded.alpha
    if image.mode in _WITH_ALPHA:
        alpha = image.getchannel("A")
        image = image.convert(_WITH_ALPHA[image.mode])
    image = _srgb(image, decoded)
    if alpha is not None and alpha.getextrema() != (255, 255):
        import PIL.Image

        paper = PIL.Image.new(image.mode, image.size, "white")
        paper.paste(image, mask=alpha)
        image = paper
        decoded.transforms.add(Transform.ALPHA_OVER_WHITE)
    decoded.image = image
    return decoded


def _eight_bit(decoded: Decoded) -> "Image":
    """Return the image as `L`, `LA`, `RGB`, `RGBA` or `CMYK`."""
    image = decoded.image
    match image.mode:
        case "L" | "1" | "RGB" if "transparency" in image.info:
            return image.convert("RGBA" if image.mode == "RGB" else "LA")
        case "L" | "LA" | "RGB" | "RGBA" | "CMYK":
            return image
        case "1":
            return image.convert("L")
        case "P" | "PA":
            decoded.transforms.add(Transform.PALETTE_TO_RGB)
            return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
        case "La" | "RGBa":
            return image.convert(image.mode.upper())
        case "RGBX" | "YCbCr":
            return image.convert("RGB")
        case mode if mode.startswith("I;16"):
            decoded.transforms.add(Transform.DEPTH_TO_8BIT)
            return _top_byte(image, decoded.sample_bits)
        case mode:
            raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"pixels of mode {mode} have no agreed range to show")


def _top_byte(image: "Image", sample_bits: int) -> "Image":
    """Keep the upper eight bits of 16-bit gray, as Pillow does for 16-bit colour; a transparent level becomes alpha."""
    import numpy as np
    import PIL.Image

    samples = np.asarray(image)
    gray = PIL.Image.fromarray((samples >> (sample_bits - 8)).astype(np.uint8))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return gray
    gray.putalpha(PIL.Image.fromarray(np.where(samples == clear, 0, 255).astype(np.uint8)))
    return gray


def _srgb(image: "Image", decoded: Decoded) -> "Image":
    if image.mode == "CMYK":
        decoded.transforms.add(Transform.CMYK_TO_RGB)
    if decoded.icc is not None:
        match judge_profile(decoded.icc, image.mode):
            case ProfileVerdict.FOREIGN:
                decoded.transforms.add(Transform.ICC_TO_SRGB)
                return to_srgb(image, decoded.icc)
            case ProfileVerdict.UNUSABLE:
                decoded.transforms.add(Transform.ICC_IGNORED)
            case ProfileVerdict.SRGB:
                pass
    return image.convert("RGB") if image.mode == "CMYK" else image
