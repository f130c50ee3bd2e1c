"""Turn one photo's bytes into the JPEG that training reads, or say why not.

In: the bytes of a file, whatever it is.  Out: `Converted | Rejected`.
Pure: no clock, no network, no randomness; equal bytes and settings give equal bytes.  Thread-safe; the codecs release
the interpreter's lock.  Nothing is printed or logged: a decoder's words stand in the reject's detail.

A clean JPEG is checked by a strict decode of its gray picture at 1/8 size and stored with its coded data untouched, or on
request with its coefficients untouched and coded as baseline.
Everything else is decoded, brought to 8-bit sRGB the right way up, scaled if asked, and encoded.  What counts as
clean, and where harmless ends and corrupt begins: docs/pixels.md.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import simplejpeg

from aesthetics_ops.pixels.colour import ProfileVerdict, judge_profile
from aesthetics_ops.pixels.encoding import LARGEST_SIDE_PX, USUAL_SAMPLING, Coded, Picture, encode
from aesthetics_ops.pixels.formats import JPEG, recognise
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.jpeg_header import JpegHeader, JpegScan, read_jpeg_header
from aesthetics_ops.pixels.lossless import made_baseline
from aesthetics_ops.pixels.opencv import Pixels, opencv
from aesthetics_ops.pixels.phash import REDUCTIONS, hash_reduction, perceptual_hashes
from aesthetics_ops.pixels.tone import tone_of
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Refusal, Rejected, RejectReason
from aesthetics_ops.settings import PixelSettings

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Converted", "convert_photo", "convert_photos"]

_STORABLE_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive; Huffman coded
_LOSSLESS_FRAME: Final = 0xC3  # Huffman coded
_DECODABLE_FRAMES: Final = _STORABLE_FRAMES | {0xC9, 0xCA, _LOSSLESS_FRAME}  # arithmetic coded too
_COMPONENTS: Final = (1, 3, 4)
_STORABLE_COLOURS: Final = frozenset({"Gray", "YCbCr"})
_LOSSLESS_COLOURS: Final = frozenset({"Gray", "RGB"})  # no colour conversion in lossless decoding
_CMYK_COLOURS: Final = frozenset({"CMYK", "YCCK"})
_DECODER_COLOURS: Final = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}  # BGR for the others
_LOOK_BEHIND_BYTES: Final = 256  # a second picture may stand behind padding
_MOST_SCANS: Final = 200  # a progressive photo has about ten; thousands keep a decoder busy for minutes


@dataclass(frozen=True, slots=True)
class Converted:
    """A photo that becomes a record.

    Attributes:
        jpeg: 8-bit gray or YCbCr JPEG in sRGB, with no orientation to obey; may be a view of the source.
        height_px: of `jpeg`, 1 to 65,500.
        width_px: of `jpeg`, 1 to 65,500.
        transforms: values of `Transform`, sorted; empty when `jpeg` is the source, byte for byte.
        phash: perceptual hash, 64 bits; near copies differ in few of them.  0 when the photo has little structure:
            it is then like no other.
        progressive: whether `jpeg` is anything but baseline in one scan.
        sampling: of the chroma in `jpeg`, as `JpegScan.sampling` names it.
        brightness, contrast: as `Tone` has them; None for a record that was made by a release that did not measure them, and
            is used again.
    """

    jpeg: bytes | memoryview
    height_px: int
    width_px: int
    transforms: tuple[str, ...]
    phash: int
    progressive: bool
    sampling: str
    brightness: float | None
    contrast: float | None


@dataclass(frozen=True, slots=True)
class _Checked:
    """A file whose bytes may be decoded.

    Attributes:
        data: its bytes, of a whole JPEG those that would be stored.
        kind: its format, as its decoder is named.
        header: of a JPEG that the strict decoder knows; None for everything else.
        colour: the decoder's name for the JPEG's colour space.
        sampling: the decoder's name for how the JPEG's chroma is sampled.
        profile: what its colour profile asks for.
        transforms: what was done, or left out, so far.
    """

    data: bytes | memoryview
    kind: str
    header: JpegHeader | None = None
    colour: str = ""
    sampling: str = USUAL_SAMPLING
    profile: ProfileVerdict = ProfileVerdict.SRGB
    transforms: set[Transform] = field(default_factory=set)


def convert_photo(source: bytes | memoryview, pixels: PixelSettings) -> Converted | Rejected:
    """Make the canonical JPEG of one photo.

    Args:
        source: the whole file; any bytes at all.
        pixels: what is asked for.

    Returns:
        The photo, or the reason why it cannot be one: `empty`, `not_an_image`, `unsupported_format`, `corrupt`,
        `too_large`, or `excluded` where `min_side_px` is set.

    Raises:
        MemoryError: the machine has less memory than a photo of `max_pixels` needs.
        SettingsError: `progressive` asks for a library that this machine does not have.
    """
    return convert_photos((source,), pixels)[0]


def convert_photos(
    sources: Sequence[bytes | memoryview],
    pixels: PixelSettings,
    *,
    reserve: Callable[[], AbstractContextManager[Callable[[int], None]]] = lambda: nullcontext(lambda pixels: None),
) -> list[Converted | Rejected]:
    """Convert some small photos, each as if it were alone: a step for all of them, then the next step for all.

    Between two decodes a core forgets the code around them; so most of it runs for one photo right after the other.

    Args:
        sources: as for `convert_photo`.
        pixels: what is asked for.
        reserve: entered while one photo is decoded; gives a function that is called with the number of its pixels before
            memory is taken for them, and may wait.

    Returns:
        As `convert_photo`, in order.

    Raises:
        MemoryError, SettingsError: as `convert_photo`.
    """
    checked = [_check(source, pixels) for source in sources]
    coded: list[Coded | Rejected] = []
    for photo in checked:
        if isinstance(photo, Rejected):
            coded.append(photo)
            continue
        with reserve() as take_room:
            coded.append(_code(photo, pixels, take_room))
    converted = iter(_converted([photo for photo in coded if not isinstance(photo, Rejected)]))
    return [photo if isinstance(photo, Rejected) else next(converted) for photo in coded]


def _check(source: bytes | memoryview, pixels: PixelSettings) -> _Checked | Rejected:
    """Look at everything that can be known without decoding."""
    data = source if isinstance(source, bytes) or source.readonly else bytes(source)
    try:
        kind = recognise(data)
        return _check_jpeg(data, pixels) if kind == JPEG else _Checked(data, kind)
    except Refusal as refusal:
        return refusal.rejected


def _check_jpeg(source: bytes | memoryview, pixels: PixelSettings) -> _Checked:
    header = read_jpeg_header(source)
    # from here on only what would be stored: broken metadata must not condemn whole pixels
    data = header.canonical if header.problem is None else source
    answer = _check_header(data, header, SizeGate(pixels.max_pixels))
    transforms = set()
    if bytes(header.trailing[:_LOOK_BEHIND_BYTES]).lstrip(b"\0").startswith(b"\xff\xd8"):
        transforms.add(Transform.FIRST_FRAME)
    if answer is None:  # the other decoder reads orientation and profile from the source
        return _Checked(source, JPEG, transforms=transforms)
    _require_side((header.frame.height_px, header.frame.width_px), pixels)
    colour, sampling = answer
    profile = _judge(header.icc, colour)
    if profile is ProfileVerdict.UNUSABLE:
        transforms.add(Transform.ICC_IGNORED)
    return _Checked(data, JPEG, header, colour, sampling, profile, transforms)


def _code(photo: _Checked, pixels: PixelSettings, take_room: Callable[[int], None]) -> Coded | Rejected:
    """Do what the codecs are needed for."""
    try:
        if photo.header is None:
            return _code_other(photo, pixels, SizeGate(pixels.max_pixels, take_room))
        return _code_jpeg(photo, photo.header, pixels, take_room)
    except Refusal as refusal:
        return refusal.rejected


def _code_jpeg(photo: _Checked, header: JpegHeader, pixels: PixelSettings, take_room: Callable[[int], None]) -> Coded:
    sides = (header.frame.height_px, header.frame.width_px)
    take_room(sides[0] * sides[1])
    if _may_keep(header, photo.colour, photo.profile, pixels):
        return _keep(photo.data, header, photo.transforms, pixels)
    colours, factor = _DECODER_COLOURS.get(photo.colour, "BGR"), _reduction(sides, pixels.max_side_px)
    if header.frame.marker == _LOSSLESS_FRAME:  # the decoder scales cosine transforms only
        factor = 1
    array = _decode_strictly(photo.data, header, colours, factor)
    if photo.profile is ProfileVerdict.FOREIGN or photo.colour in _CMYK_COLOURS:
        array = _in_srgb(array, header.icc, photo.transforms)
    sampling = photo.sampling if pixels.encoding == "keep" else USUAL_SAMPLING
    return encode(Picture(array, sides, header.orientation, sampling), photo.transforms, pixels)


def _code_other(photo: _Checked, pixels: PixelSettings, gate: SizeGate) -> Coded:
    from aesthetics_ops.pixels.decoders import decode_image

    decoded = decode_image(bytes(photo.data), photo.kind, gate)
    array = _array(decoded.image)
    _require_side((array.shape[0], array.shape[1]), pixels)
    picture = Picture(array, (array.shape[0], array.shape[1]), decoded.orientation)
    return encode(picture, photo.transforms | decoded.transforms, pixels)


def _require_side(sides: tuple[int, int], pixels: PixelSettings) -> None:
    """Leave out what is too small to be wanted, at the source's own size.

    Raises:
        Refusal: `excluded`.
    """
    if pixels.min_side_px is not None and min(sides) < pixels.min_side_px:
        raise Refusal(RejectReason.EXCLUDED, f"shorter side {min(sides)} px, below min_side_px {pixels.min_side_px}")


def _converted(photos: Sequence[Coded]) -> list[Converted]:
    """Add what is measured on the small gray picture of each."""
    grays = [photo.gray.astype(np.float64) for photo in photos]
    return [
        Converted(
            jpeg=photo.jpeg,
            height_px=photo.height_px,
            width_px=photo.width_px,
            transforms=tuple(sorted(transform.value for transform in photo.transforms)),
            phash=phash,
            progressive=photo.progressive,
            sampling=photo.sampling,
            **tone_of(gray)._asdict(),
        )
        for photo, gray, phash in zip(photos, grays, perceptual_hashes(grays), strict=True)
    ]


def _check_header(data: bytes | memoryview, header: JpegHeader, gate: SizeGate) -> tuple[str, str] | None:
    """Refuse what the header alone gives away, before memory is taken for it.

    Returns:
        The decoder's names for the colour space (`Gray`, `YCbCr`, `RGB`, `CMYK` or `YCCK`) and for the chroma's
        sampling; None for a whole JPEG whose chroma sampling it does not know.

    Raises:
        Refusal: `corrupt`, `too_large` or `unsupported_format`.
    """
    frame = header.frame
    answer, words = _ask_decoder(data)
    if not frame.marker:
        raise Refusal(RejectReason.CORRUPT, _reason(words, header))
    _check_frame(frame, len(data), gate)
    if header.scans > _MOST_SCANS:
        raise Refusal(RejectReason.CORRUPT, f"jpeg: {header.scans} scans, more than {_MOST_SCANS}")
    if answer is None:
        if "subsampling" in words and header.problem is None:
            return None
        raise Refusal(RejectReason.CORRUPT, _reason(words, header))
    height_px, width_px, colour, sampling = answer
    if (height_px, width_px) != (frame.height_px, frame.width_px):
        raise Refusal(RejectReason.CORRUPT, f"jpeg: the decoder finds {width_px} x {height_px} px; {header.problem}")
    if frame.marker == _LOSSLESS_FRAME and colour not in _LOSSLESS_COLOURS:
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"jpeg: no decoder for lossless {colour}")
    return colour, sampling


def _check_frame(frame: JpegScan, data_bytes: int, gate: SizeGate) -> None:
    """Refuse a size, a coding or a kind of colours that no decoder here takes.

    Raises:
        Refusal: `corrupt`, `too_large` or `unsupported_format`.
    """
    gate.admit(frame.height_px, frame.width_px)
    size = f"{frame.width_px} x {frame.height_px} px"
    if max(frame.height_px, frame.width_px) > LARGEST_SIDE_PX:
        raise Refusal(RejectReason.TOO_LARGE, f"declares {size}; a JPEG's decoder takes {LARGEST_SIDE_PX:,} px a side")
    if frame.marker not in _DECODABLE_FRAMES or frame.precision_bits != 8:
        coding = f"frame type 0x{frame.marker:02X} with {frame.precision_bits} bits per sample"
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"jpeg: no decoder for {coding}")
    if frame.components not in _COMPONENTS:
        reason = RejectReason.UNSUPPORTED_FORMAT if frame.components else RejectReason.CORRUPT
        raise Refusal(reason, f"jpeg: no decoder for {frame.components} components")
    symbols = 0  # Huffman coding spends a bit on each at least
    if frame.marker in _STORABLE_FRAMES:
        symbols = -(-frame.height_px // 8) * -(-frame.width_px // 8)
    elif frame.marker == _LOSSLESS_FRAME:
        symbols = frame.height_px * frame.width_px
    if symbols > 8 * data_bytes:
        raise Refusal(RejectReason.CORRUPT, f"jpeg: declares {size}, which {data_bytes} bytes cannot hold")


def _ask_decoder(data: bytes | memoryview) -> tuple[tuple[int, int, str, str] | None, str]:
    """Return the decoder's height, width, colours and sampling, or else its words; takes no memory for pixels."""
    try:
        return simplejpeg.decode_jpeg_header(data), ""
    except ValueError as error:
        return None, str(error)
    except KeyError:  # a colour space or sampling that simplejpeg has no name for
        return None, "subsampling or colour space without a name"


def _judge(icc: bytes | None, colour: str) -> ProfileVerdict:
    if icc is None:
        return ProfileVerdict.SRGB
    return judge_profile(icc, "CMYK" if colour in _CMYK_COLOURS else {"Gray": "L"}.get(colour, "RGB"))


def _may_keep(header: JpegHeader, colour: str, profile: ProfileVerdict, pixels: PixelSettings) -> bool:
    frame = header.frame
    return (
        pixels.encoding == "keep"
        and frame.marker in _STORABLE_FRAMES
        and colour in _STORABLE_COLOURS
        and header.orientation == 1
        and profile is not ProfileVerdict.FOREIGN
        and (pixels.max_side_px is None or max(frame.height_px, frame.width_px) <= pixels.max_side_px)
    )


def _keep(data: bytes | memoryview, header: JpegHeader, transforms: set[Transform], pixels: PixelSettings) -> Coded:
    """Store the coded data as it is, once a strict decode of the small gray picture finds no fault in it."""
    sides = (header.frame.height_px, header.frame.width_px)
    gray = _decode_strictly(data, header, "GRAY", hash_reduction(sides))
    if header.metadata_bytes:
        transforms.add(Transform.METADATA_DROPPED)
    if header.is_repaired:
        transforms.add(Transform.HEADER_REPAIRED)
    if header.trailing:
        transforms.add(Transform.TRAILING_DROPPED)
    progressive = header.progressive
    if progressive and pixels.makes_baseline and (baseline := made_baseline(data, header)) is not None:
        transforms.add(Transform.MADE_BASELINE)
        data, progressive = baseline, False
    return Coded(data, *sides, transforms, gray, progressive, header.frame.sampling)


def _decode_strictly(data: bytes | memoryview, header: JpegHeader, colours: str, factor: int) -> Pixels:
    """Decode at 1/factor of the size; any warning of libjpeg's is a refusal.

    Returns:
        (height, width) for GRAY, (height, width, 3) for BGR, (height, width, 4) for CMYK as stored; uint8.

    Raises:
        Refusal: `corrupt`, with the decoder's words where it has any.
    """
    height_px, width_px = -(-header.frame.height_px // factor), -(-header.frame.width_px // factor)
    try:
        array = simplejpeg.decode_jpeg(
            data, colours, min_height=height_px, min_width=width_px, min_factor=factor, strict=True
        )
    except ValueError as error:
        raise Refusal(RejectReason.CORRUPT, _reason(str(error), header)) from error
    if header.problem:
        raise Refusal(RejectReason.CORRUPT, f"jpeg: {header.problem}")
    decoded: Pixels = array[:, :, 0] if colours == "GRAY" else array
    return decoded


def _reason(words: str, header: JpegHeader) -> str:
    return "jpeg: " + "; ".join(part for part in (words, header.problem) if part)


def _reduction(sides: tuple[int, int], max_side_px: int | None) -> int:
    """Choose how far the decoder itself may scale down: what is left has twice the wanted side at least."""
    if max_side_px is None:
        return 1
    return next((factor for factor in REDUCTIONS if max(sides) >= 2 * factor * max_side_px), 1)


def _in_srgb(array: Pixels, icc: bytes | None, transforms: set[Transform]) -> Pixels:
    """Convert a JPEG's pixels by its profile, or without one from CMYK.

    Args:
        array: gray (height, width), BGR (height, width, 3), or CMYK (height, width, 4), where 255 means no ink as
            Adobe has it and every viewer takes it.
        icc: the profile.
        transforms: takes what was done.
    """
    import PIL.Image

    from aesthetics_ops.pixels.decoded import Decoded, finish_colours

    if array.ndim == 2:
        image = PIL.Image.fromarray(array)
    elif array.shape[2] == 4:
        image = PIL.Image.fromarray(255 - array, "CMYK")
    else:
        image = PIL.Image.fromarray(opencv().cvtColor(array, opencv().COLOR_BGR2RGB))
    decoded = finish_colours(Decoded(image, icc=icc, transforms=transforms))
    return _array(decoded.image)


def _array(image: "Image") -> Pixels:
    """Return Pillow's `L` as (height, width) and its `RGB` as BGR (height, width, 3), uint8."""
    array = np.asarray(image)
    return array if array.ndim == 2 else opencv().cvtColor(array, opencv().COLOR_RGB2BGR)
