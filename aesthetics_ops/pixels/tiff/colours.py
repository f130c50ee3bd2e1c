"""From the 8-bit levels of a TIFF's samples to colours: the last step before the profile.

In: levels, with the directory and form they belong to.  Out: `Decoded` with an image of mode `L`, `RGB` or `CMYK`.  Pure.
"""

from typing import TYPE_CHECKING, Final

import numpy as np

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.tiff.directory import Directory, Tag
from aesthetics_ops.pixels.tiff.form import ASSOCIATED, PALETTE, PERHAPS, WHITE_IS_ZERO, YCBCR, Form
from aesthetics_ops.pixels.tiff.segments import JPEG
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    from aesthetics_ops.pixels.opencv import Pixels

__all__ = ["with_colours"]

_BAND_BYTES: Final = 4 << 20


def with_colours(levels: "Pixels", directory: Directory, form: Form) -> Decoded:
    """Make colours of levels.

    Args:
        levels: (height, width, samples), uint8: the colours' and then alpha's; of a palette, indices.
        directory: of the image.
        form: of the image.

    Raises:
        Refusal: `corrupt`, a palette that is too short, or coefficients out of range.
    """
    import PIL.Image

    alpha = levels[:, :, form.colours] if form.alpha is not None else None
    if alpha is not None and form.alpha_kind == PERHAPS and not alpha.any():
        alpha = None
    colours = levels[:, :, : form.colours]
    if alpha is not None and form.alpha_kind == ASSOCIATED:
        colours = _unmultiplied(colours, alpha)
    if form.photometric == WHITE_IS_ZERO:
        colours = 255 - colours
    elif form.photometric == PALETTE:
        colours = _colour_map(directory, form)[colours[:, :, 0]]
    elif form.photometric == YCBCR and not (form.compression == JPEG and not form.is_planar):
        colours = _rgb(colours, directory)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[colours.shape[2]]
    plain = np.ascontiguousarray(colours[:, :, 0] if mode == "L" else colours)
    decoded = Decoded(PIL.Image.frombuffer(mode, (form.width_px, form.height_px), plain.tobytes(), "raw", mode, 0, 1))
    decoded.icc = directory.raw(Tag.ICC)
    if alpha is not None:
        decoded.alpha = PIL.Image.fromarray(np.ascontiguousarray(alpha))
    if form.bits > 8:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    if form.photometric == PALETTE:
        decoded.transforms.add(Transform.PALETTE_TO_RGB)
    return decoded


def _unmultiplied(colours: "Pixels", alpha: "Pixels") -> "Pixels":
    """Return colours as they were before alpha was multiplied into them."""
    share = np.maximum(alpha, 1)[:, :, None].astype(np.uint16)
    restored: Pixels = np.minimum((colours * np.uint16(255) + share // 2) // share, 255).astype(np.uint8)
    return restored


def _colour_map(directory: Directory, form: Form) -> "Pixels":
    """Return the palette's colours: (256, 3), uint8; of 16 bits each, or of 8 where none needs more."""
    size = 1 << form.bits
    values = directory.numbers(Tag.COLOUR_MAP)
    if len(values) < 3 * size:
        raise Refusal(RejectReason.CORRUPT, f"tiff: a palette of {len(values)} values, {3 * size} are needed")
    entries = np.array(values[: 3 * size], np.uint16).reshape(3, size).T
    colours = np.zeros((256, 3), np.uint8)
    colours[:size] = entries >> 8 if entries.max() > 255 else entries
    return colours


def _rgb(levels: "Pixels", directory: Directory) -> "Pixels":
    """Convert YCbCr by the file's coefficients and its levels of black and white: (height, width, 3), uint8."""
    red, green, blue = (*directory.numbers(Tag.YCBCR_COEFFICIENTS), 0.299, 0.587, 0.114)[:3]
    ends = directory.numbers(Tag.BLACK_AND_WHITE)
    black, white, zero_b, most_b, zero_r, most_r = ends if len(ends) == 6 else (0, 255, 128, 255, 128, 255)
    if min(green, white - black, most_b - zero_b, most_r - zero_r) <= 0:
        raise Refusal(RejectReason.CORRUPT, "tiff: coefficients or levels of YCbCr out of range")
    rgb = np.empty(levels.shape, np.uint8)
    step = max(1, _BAND_BYTES // (3 * levels.shape[1]))
    for at in range(0, len(levels), step):
        band = levels[at : at + step].astype(np.float32)
        bright = (band[:, :, 0] - black) * (255 / (white - black))
        chroma_b = (band[:, :, 1] - zero_b) * (127 / (most_b - zero_b))
        chroma_r = (band[:, :, 2] - zero_r) * (127 / (most_r - zero_r))
        reds, blues = bright + chroma_r * (2 - 2 * red), bright + chroma_b * (2 - 2 * blue)
        greens = (bright - blue * blues - red * reds) / green
        rgb[at : at + step] = np.clip(np.rint(np.stack((reds, greens, blues), axis=2)), 0, 255)
    return rgb
