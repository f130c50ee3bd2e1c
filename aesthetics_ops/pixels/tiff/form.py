"""How the samples of a TIFF's image are stored: read from its tags, or refused where that has no agreed meaning.

In: a directory.  Out: a `Form`.  Pure.

Source:
    TIFF 6.0 (Adobe, 1992), sections 8 to 22.
"""

from dataclasses import dataclass
from typing import Final

from aesthetics_ops.pixels.tiff.directory import Directory, Tag
from aesthetics_ops.pixels.tiff.segments import COMPRESSIONS, FAX, JPEG, WITH_PREDICTOR
from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["ASSOCIATED", "PALETTE", "PERHAPS", "WHITE_IS_ZERO", "YCBCR", "Form", "read_form", "unsupported"]

WHITE_IS_ZERO: Final = 0  # photometric interpretations
_BLACK_IS_ZERO: Final = 1
_RGB: Final = 2
PALETTE: Final = 3
_SEPARATED: Final = 5
YCBCR: Final = 6
_COLOURS: Final = {WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, PALETTE: 1, _SEPARATED: 4, YCBCR: 3}  # samples
_MOST_EXTRA_SAMPLES: Final = 4
ASSOCIATED: Final = 1  # kinds of alpha
_UNASSOCIATED: Final = 2
PERHAPS: Final = 3  # not told; where it would hide everything, it is none
_UNSIGNED: Final = (1, 4)  # 4 is "undefined", which writers put where they mean numbers
_CMYK_INKS: Final = 1


@dataclass(frozen=True, slots=True)
class Form:
    """How the samples of an image are stored.

    Attributes:
        width_px, height_px: of the image.
        bits: of one sample, 1 to 16.
        order: of bytes: `<` or `>`.
        photometric: value of the tag.
        samples: of one pixel.
        colours: samples of one pixel that are colours.
        alpha: which sample is alpha; None for none of them.
        alpha_kind: whether colours are multiplied by it; 0 without alpha.
        is_planar: whether each sample has a plane of its own.
        compression: value of the tag.
        has_predictor: whether samples are differences from their left neighbour.
        blocks: width and height of the pixels that share one pair of chroma samples; (1, 1) for other colours.
    """

    width_px: int
    height_px: int
    bits: int
    order: str
    photometric: int
    samples: int
    colours: int
    alpha: int | None
    alpha_kind: int
    is_planar: bool
    compression: int
    has_predictor: bool
    blocks: tuple[int, int]

    @property
    def together(self) -> int:
        """How many samples of a pixel lie side by side."""
        return 1 if self.is_planar else self.samples


def read_form(directory: Directory) -> Form:
    """Read how the samples are stored.

    Raises:
        Refusal: `unsupported_format` for what has no agreed meaning, `corrupt` for a contradiction.
    """
    samples, compression = directory.number(Tag.SAMPLES, 1), directory.number(Tag.COMPRESSION, 1)
    photometric = directory.number(Tag.PHOTOMETRIC, _usual_photometric(samples, compression))
    if compression not in COMPRESSIONS:
        raise unsupported(f"no decoder for compression {compression}")
    if photometric not in _COLOURS:
        raise unsupported(f"pixels of photometric interpretation {photometric} are not decoded")
    if photometric == _SEPARATED and directory.number(Tag.INK_SET, _CMYK_INKS) != _CMYK_INKS:
        raise unsupported("inks other than cyan, magenta, yellow and black are not decoded")
    colours = _COLOURS[photometric]
    if not colours <= samples <= colours + _MOST_EXTRA_SAMPLES:
        raise unsupported(f"{samples} samples a pixel, where photometric interpretation {photometric} has {colours}")
    bits = _bits(directory, photometric)
    is_planar = directory.number(Tag.PLANAR, 1) == 2 and samples > 1
    is_jpeg = compression == JPEG
    if (is_jpeg and bits != 8) or (compression in FAX and (bits, samples) != (1, 1)):
        raise unsupported(f"compression {compression} with {samples} samples of {bits} bits is not decoded")
    alpha, kind = _alpha(directory, photometric, samples)
    return Form(
        width_px=directory.number(Tag.WIDTH),
        height_px=directory.number(Tag.HEIGHT),
        bits=bits,
        order=directory.order,
        photometric=photometric,
        samples=samples,
        colours=colours,
        alpha=alpha,
        alpha_kind=kind,
        is_planar=is_planar,
        compression=compression,
        has_predictor=_has_predictor(directory, compression, bits),
        blocks=_blocks(directory, is_planar) if photometric == YCBCR and not is_jpeg else (1, 1),
    )


def _usual_photometric(samples: int, compression: int) -> int:
    """Return what readers take a file for that does not say it."""
    if samples >= _COLOURS[_RGB]:
        return _RGB
    return WHITE_IS_ZERO if compression in FAX else _BLACK_IS_ZERO


def _bits(directory: Directory, photometric: int) -> int:
    """Return the depth of the samples, which must be the same for all, and of whole numbers from 0 on."""
    depths = directory.numbers(Tag.BITS) or (1,)
    if len(set(depths)) > 1:
        raise unsupported(f"samples of different depths, {depths} bits, are not decoded")
    if any(kind not in _UNSIGNED for kind in directory.numbers(Tag.SAMPLE_FORMAT)) or not 1 <= depths[0] <= 16:
        raise unsupported(f"signed, float or {depths[0]}-bit samples have no agreed range to show")
    if (photometric == PALETTE and depths[0] > 8) or (photometric == YCBCR and depths[0] != 8):
        raise unsupported(f"{depths[0]} bits with photometric interpretation {photometric} are not decoded")
    return int(depths[0])


def _alpha(directory: Directory, photometric: int, samples: int) -> tuple[int | None, int]:
    """Return which sample is alpha, None for none of them, and its kind."""
    colours = _COLOURS[photometric]
    meanings = directory.numbers(Tag.EXTRA_SAMPLES)
    if not meanings and samples == colours + 1 and photometric in (WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        return colours, PERHAPS  # writers that leave the tag out mean alpha
    for index, meaning in enumerate(meanings[: samples - colours]):
        if meaning in (ASSOCIATED, _UNASSOCIATED):
            if meaning == ASSOCIATED and photometric in (WHITE_IS_ZERO, PALETTE, _SEPARATED, YCBCR):
                raise unsupported(f"associated alpha with photometric interpretation {photometric} is not decoded")
            return colours + index, int(meaning)
    return None, 0


def _has_predictor(directory: Directory, compression: int, bits: int) -> bool:
    predictor = directory.number(Tag.PREDICTOR, 1) if compression in WITH_PREDICTOR else 1
    if predictor not in (1, 2) or (predictor == 2 and bits not in (8, 16)):
        raise unsupported(f"predictor {predictor} with {bits} bits is not decoded")
    return predictor == 2


def _blocks(directory: Directory, is_planar: bool) -> tuple[int, int]:
    width, height = (*directory.numbers(Tag.YCBCR_SAMPLING), 2, 2)[:2]
    if width not in (1, 2, 4) or height not in (1, 2, 4):
        raise Refusal(RejectReason.CORRUPT, f"tiff: chroma sampling {width} x {height}")
    if is_planar and (width, height) != (1, 1):
        raise unsupported("planes of chroma that are smaller than the image are not decoded")
    return width, height


def unsupported(what: str) -> Refusal:
    """Return what to raise for a TIFF that is sound and not decoded."""
    return Refusal(RejectReason.UNSUPPORTED_FORMAT, f"tiff: {what}")
