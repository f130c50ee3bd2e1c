"""Decode, with Pillow and libheif, what the strict JPEG decoder does not: into 8-bit gray or RGB in sRGB.

First image only, as strictly as the decoders can be.
In: bytes whose format is known.  Out: `Decoded`, or a `Refusal` with the decoder's own words.  Nothing is allocated
for an image whose header declares more pixels than allowed.  The decoders' warnings go into the refusal's detail and
nowhere else.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from aesthetics_ops.colour import ProfileVerdict, judge_profile, to_srgb
from aesthetics_ops.decoder_words import listening
from aesthetics_ops.formats import Format, Refusal, SizeGate, Transform
from aesthetics_ops.jpeg import exif_orientation, read_jpeg_header
from aesthetics_ops.rejects import RejectReason

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["Decoded", "decode_image", "finish_colours"]

_MOST_PROFILE_BYTES: Final = 16 << 20  # inflated; the largest real ones have 2 MB
_PNG_NEEDED: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_READ: Final = _PNG_NEEDED | {b"iCCP", b"eXIf", b"acTL", b"sRGB"}
_PNG_MOST_CHUNKS: Final = 1_000_000
_TIFF_SUBFILE_TYPE: Final = 254
_TIFF_BITS: Final = 258
_TIFF_COMPRESSION: Final = 259
_TIFF_PHOTOMETRIC: Final = 262
_TIFF_ORIENTATION: Final = 274
_TIFF_TILE_SIDES: Final = (322, 323)
_TIFF_SUB_IFDS: Final = 330
_TIFF_DNG_VERSION: Final = 50706
_TIFF_RAW_PHOTOMETRICS: Final = frozenset({32803, 34892})  # colour filter array, linear raw
_TIFF_RAW_COMPRESSIONS: Final = frozenset(
    {32767, 32769, 32770, 34713, 34892, 65000, 65535}
)  # Sony, Epson, Samsung, Nikon, ...
_UNSUPPORTED_WORDS: Final = ("unsupported", "not supported", "unknown pixel mode", "unknown data organization")
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
    """

    image: "Image"
    orientation: int = 1
    icc: bytes | None = None
    sample_bits: int = 16
    transforms: set[Transform] = field(default_factory=set)


def decode_image(data: bytes, kind: Format, gate: SizeGate) -> Decoded:
    """Decode the first image of a file.

    Args:
        data: whole file.
        kind: its format.
        gate: what its declared size must pass.

    Returns:
        `L` or `RGB`, 8 bit, sRGB, over white; not yet turned by `orientation`.

    Raises:
        Refusal: `too_large`, `unsupported_format`, or `corrupt` with the decoder's words.
    """
    with listening() as words:
        try:
            decoded = _READERS[kind](data, gate)
            decoded.image.load()
            return finish_colours(decoded)
        except (Refusal, MemoryError):
            raise
        except Exception as error:  # a process boundary: decoders fed with hostile bytes raise whatever they like
            said = "; ".join((*words, str(error) or type(error).__name__))
            raise Refusal(_reason(error, said), f"{kind}: {said}") from error


def _reason(error: Exception, said: str) -> RejectReason:
    from PIL.Image import DecompressionBombError

    if isinstance(error, DecompressionBombError):  # Pillow's own limit, where it cannot be passed by
        return RejectReason.TOO_LARGE
    unsupported = any(word in said.lower() for word in _UNSUPPORTED_WORDS)
    return RejectReason.UNSUPPORTED_FORMAT if unsupported else RejectReason.CORRUPT


def finish_colours(decoded: Decoded) -> Decoded:
    """Bring an image of any mode to 8-bit gray or RGB in sRGB, over white.

    Raises:
        Refusal: `unsupported_format` for samples without a display range (32-bit, float) and for Lab.
    """
    image = _eight_bit(decoded)
    alpha = image.getchannel("A") if image.mode in _WITH_ALPHA else None
    if alpha is not None:
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


def _read_jpeg(data: bytes, _: SizeGate) -> Decoded:
    """Decode a JPEG with a sampling that only Pillow knows; its structure and size were checked before."""
    from PIL import JpegImagePlugin

    header = read_jpeg_header(data)
    return Decoded(JpegImagePlugin.JpegImageFile(BytesIO(header.canonical)), header.orientation, header.icc)


def _read_png(data: bytes, gate: SizeGate) -> Decoded:
    """Check every chunk's CRC, and give Pillow only the chunks that make the default image."""
    from PIL import PngImagePlugin

    chunks = list(_png_chunks(data))
    slim = b"".join((data[:8], *(data[start:end] for name, start, end in chunks if name in _PNG_NEEDED)))
    content = {name: data[start + 8 : end - 4] for name, start, end in chunks if name in _PNG_READ - {b"IDAT"}}
    width_px, height_px, bits, colour = struct.unpack_from(">IIBB", content.get(b"IHDR", b"").ljust(10, b"\0"))
    gate.admit(height_px, width_px)
    decoded = Decoded(PngImagePlugin.PngImageFile(BytesIO(slim)), exif_orientation(content.get(b"eXIf", b"")))
    if b"iCCP" in content and b"sRGB" not in content:
        decoded.icc = _png_profile(content[b"iCCP"])
    if b"acTL" in content:
        decoded.transforms.add(Transform.FIRST_FRAME)
    if bits == 16:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
        clear = decoded.image.info.get("transparency")
        if colour == 2 and isinstance(clear, tuple):
            decoded.image.info["transparency"] = tuple(level >> 8 for level in clear)
    return decoded


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk up to IEND; what follows it is nobody's.

    Raises:
        Refusal: a chunk that is cut off, fails its CRC, or must be understood and is not.
    """
    at = 8
    for _ in range(_PNG_MOST_CHUNKS):
        name = data[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if len(name) < 4 or end > len(data):
            raise Refusal(RejectReason.CORRUPT, f"png: the file ends inside the chunk at byte {at}")
        critical = not name[0] & 0x20
        if critical and name not in _PNG_NEEDED:
            raise Refusal(RejectReason.CORRUPT, f"png: unknown critical chunk {name!r} at byte {at}")
        if name in _PNG_READ:
            fits = zlib.crc32(memoryview(data)[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
            if critical and not fits:
                raise Refusal(RejectReason.CORRUPT, f"png: CRC error in chunk {name.decode()} at byte {at}")
            if fits:
                yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise Refusal(RejectReason.CORRUPT, f"png: more than {_PNG_MOST_CHUNKS} chunks")


def _png_profile(chunk: bytes) -> bytes:
    """Inflate an iCCP chunk; empty when it is damaged or a bomb."""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(chunk.partition(b"\0")[2][1:], _MOST_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""


def _read_webp(data: bytes, gate: SizeGate) -> Decoded:
    from PIL import WebPImagePlugin

    declared_bytes = int.from_bytes(data[4:8], "little") + 8
    if declared_bytes > len(data):
        raise Refusal(RejectReason.CORRUPT, f"webp: declares {declared_bytes} bytes and has {len(data)}")
    gate.admit(*_webp_size(data))  # the decoder takes the canvas's memory when it is made
    image = WebPImagePlugin.WebPImageFile(BytesIO(data[:declared_bytes]))
    return _with_info(image)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return height and width in px from the first chunk; (0, 0) when it is none that starts a WebP."""
    head = data[12:30].ljust(18, b"\0")
    match head[:4]:
        case b"VP8 ":
            width_px, height_px = struct.unpack_from("<HH", head, 14)
            return height_px & 0x3FFF, width_px & 0x3FFF
        case b"VP8L":
            sides = int.from_bytes(head[9:13], "little")
            return (sides >> 14 & 0x3FFF) + 1, (sides & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[15:18], "little") + 1, int.from_bytes(head[12:15], "little") + 1
        case _:
            return 0, 0


def _read_gif(data: bytes, gate: SizeGate) -> Decoded:
    from PIL import GifImagePlugin

    width_px, height_px = struct.unpack_from("<HH", data.ljust(10, b"\0"), 6)
    gate.admit(height_px, width_px)
    image = GifImagePlugin.GifImageFile(BytesIO(data))
    gate.admit(image.height, image.width)  # a frame may reach beyond the screen
    image.load()
    still = Decoded(image.copy())
    if _another_frame(image):
        still.transforms.add(Transform.FIRST_FRAME)
    return still


def _another_frame(image: Any) -> bool:
    try:
        return bool(image.is_animated)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error):
        return True  # something follows; that it is damaged does not matter to the first frame


def _read_bmp(data: bytes, gate: SizeGate) -> Decoded:
    from PIL import BmpImagePlugin

    image = BmpImagePlugin.BmpImageFile(BytesIO(data))
    gate.admit(image.height, image.width)
    return Decoded(image)


def _read_tiff(data: bytes, gate: SizeGate) -> Decoded:
    from PIL import TiffImagePlugin

    image = TiffImagePlugin.TiffImageFile(BytesIO(data))
    tags: Any = image.tag_v2
    gate.admit(image.height, image.width)
    if all(isinstance(tags.get(side), int) for side in _TIFF_TILE_SIDES):  # a tile may be larger than the image
        gate.admit(tags[_TIFF_TILE_SIDES[1]], tags[_TIFF_TILE_SIDES[0]])
    _refuse_raw(image)
    decoded = Decoded(image, icc=image.info.get("icc_profile"))
    bits = tags.get(_TIFF_BITS, (1,))
    if isinstance(bits, tuple) and bits and 8 < bits[0] <= 16:
        decoded.sample_bits = bits[0]
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    if tags.get(_TIFF_ORIENTATION, 1) in range(2, 9):  # Pillow turns TIFFs while loading them
        decoded.transforms.add(Transform.ORIENTED)
    if tags.next:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded


def _refuse_raw(image: "TiffImageFile") -> None:
    """Refuse camera RAW files, which are TIFFs whose first image is a small preview.

    Raises:
        Refusal: `unsupported_format`.
    """
    tags: Any = image.tag_v2
    preview = isinstance(subfile := tags.get(_TIFF_SUBFILE_TYPE, 0), int) and subfile & 1 and _TIFF_SUB_IFDS in tags
    if (
        _TIFF_DNG_VERSION in tags
        or preview
        or tags.get(_TIFF_PHOTOMETRIC) in _TIFF_RAW_PHOTOMETRICS
        or tags.get(_TIFF_COMPRESSION) in _TIFF_RAW_COMPRESSIONS
    ):
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "RAW (TIFF with sensor data) files are not decoded")


def _read_avif(data: bytes, gate: SizeGate) -> Decoded:
    from PIL import AvifImagePlugin

    image = AvifImagePlugin.AvifImageFile(BytesIO(data))
    gate.admit(image.height, image.width)
    decoded = _with_info(image)
    configuration = data.find(b"av1C")
    if configuration >= 0 and data[configuration + 6 : configuration + 7] >= b"\x40" and data[configuration + 6] & 0x40:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    return decoded


def _read_heif(data: bytes, gate: SizeGate) -> Decoded:
    import pillow_heif

    container = pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=True)
    height_px, width_px = container.size[1], container.size[0]
    gate.admit(height_px, width_px)
    image = container.to_pillow()  # turned as the container asks; its EXIF orientation means nothing then
    decoded = Decoded(image, icc=image.info.get("icc_profile"))
    if image.info.get("original_orientation") not in {None, 1}:
        decoded.transforms.add(Transform.ORIENTED)
    if int(container.info.get("bit_depth", 8)) > 8:
        decoded.transforms.add(Transform.DEPTH_TO_8BIT)
    if len(container) > 1:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded


def _with_info(image: Any) -> Decoded:
    decoded = Decoded(image, exif_orientation(image.info.get("exif", b"")), image.info.get("icc_profile"))
    if image.n_frames > 1:
        decoded.transforms.add(Transform.FIRST_FRAME)
    return decoded


_READERS: Final[dict[Format, Callable[[bytes, SizeGate], Decoded]]] = {
    Format.JPEG: _read_jpeg,
    Format.PNG: _read_png,
    Format.WEBP: _read_webp,
    Format.GIF: _read_gif,
    Format.BMP: _read_bmp,
    Format.TIFF: _read_tiff,
    Format.AVIF: _read_avif,
    Format.HEIF: _read_heif,
}
