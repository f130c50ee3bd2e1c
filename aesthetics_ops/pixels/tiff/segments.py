"""Decompress the strips or tiles of a TIFF into rows of bytes, as they were before compression.

In: a file and the layout of one of its images.  Out: one array of rows per plane.
Samples are not touched here, whatever their depth and meaning: libtiff and libjpeg are used as decompressors only.
Every complaint of theirs is a refusal.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from aesthetics_ops.pixels.messages import messages_so_far
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    from aesthetics_ops.pixels.opencv import Pixels

__all__ = ["COMPRESSIONS", "FAX", "JPEG", "WITH_PREDICTOR", "Layout", "read_rows"]

_NONE: Final = 1
_LZW: Final = 5
JPEG: Final = 7
_DEFLATE: Final = frozenset({8, 32946})
_PACKBITS: Final = 32773
FAX: Final = frozenset({2, 3, 4, 32771})
_LZMA: Final = 34925
_ZSTD: Final = 50000
WITH_PREDICTOR: Final = frozenset({_LZW, _LZMA, _ZSTD}) | _DEFLATE
COMPRESSIONS: Final = WITH_PREDICTOR | FAX | {_NONE, JPEG, _PACKBITS}

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_GROUP_BYTES: Final = 64 << 20  # of decompressed strips that libtiff gets at once
_HARMLESS: Final = ("decompression bomb", "Old-style LZW")  # Pillow's limit; a variant that is decoded in full
_ADOBE: Final = b"Adobe" + struct.pack(">HHH", 100, 0, 0)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one plane are cut into strips or tiles.

    Attributes:
        compression: value of the tag.
        columns: of samples' groups in one segment's row; of bits for CCITT, of pixels for JPEG.
        row_bytes: of one segment's row, decompressed.
        segment_rows: rows of a whole segment.
        down, across: number of segments.
        last_rows: rows of the last strip; a tile is always whole.
        reversed_bits: whether the lowest bit of a byte comes first.
        fax_options: of CCITT's groups 3 and 4.
        jpeg_tables: what stands in front of each JPEG stream; may be empty.
        jpeg_colours: `GRAY`, `RGB` or `CMYK`, as the strict decoder names them.
        jpeg_transform: Adobe's number for the colours inside the streams; 0 none, 1 YCbCr.
    """

    compression: int
    columns: int
    row_bytes: int
    segment_rows: int
    down: int
    across: int
    last_rows: int
    reversed_bits: bool = False
    fax_options: int = 0
    jpeg_tables: bytes = b""
    jpeg_colours: str = "GRAY"
    jpeg_transform: int = 0


def read_rows(data: bytes, segments: Sequence[tuple[int, int | None]], layout: Layout) -> "Pixels":
    """Decompress one plane.

    Args:
        data: whole file.
        segments: start and length of each segment of the plane, in order; None for a length that the file does not
            tell.
        layout: of the plane.

    Returns:
        (rows, bytes of a row), uint8: strips one below the other; whole tiles one below the other too.

    Raises:
        Refusal: `corrupt` or `unsupported_format`.
    """
    rows = (layout.down * layout.across - 1) * layout.segment_rows + layout.last_rows
    stack = np.empty((rows, layout.row_bytes), np.uint8)
    at = 0
    for segment_rows, part in _decompressed(data, segments, layout):
        stack[at : at + segment_rows] = part
        at += segment_rows
    return stack


def _decompressed(
    data: bytes, segments: Sequence[tuple[int, int | None]], layout: Layout
) -> "Iterator[tuple[int, Pixels]]":
    """Yield the number of rows and the rows of one or more segments."""
    by_libtiff = layout.compression not in {_NONE, JPEG} | _DEFLATE
    group = max(1, _GROUP_BYTES // (layout.segment_rows * layout.row_bytes)) if by_libtiff else 1
    for first in range(0, len(segments), group):
        coded = [_coded(data, segment, layout) for segment in segments[first : first + group]]
        rows = layout.segment_rows * len(coded)
        if first + group >= len(segments):
            rows += layout.last_rows - layout.segment_rows
        if layout.compression == JPEG:
            part = _from_jpeg(coded[0], rows, layout)
        elif by_libtiff:
            part = _from_libtiff(coded, rows, layout)
        else:
            part = _from_bytes(coded[0], rows, layout)
        yield rows, part


def _coded(data: bytes, segment: tuple[int, int | None], layout: Layout) -> bytes:
    start, length = segment
    end = len(data) if length is None else start + length
    if start <= 0 or start >= len(data) or end > len(data):
        raise Refusal(RejectReason.CORRUPT, f"tiff: the strip or tile at byte {start} lies outside the file")
    coded = data[start:end]
    return coded.translate(_REVERSED) if layout.reversed_bits and layout.compression != JPEG else coded


def _from_bytes(coded: bytes, rows: int, layout: Layout) -> "Pixels":
    """Return uncompressed or deflated rows."""
    size = rows * layout.row_bytes
    if layout.compression in _DEFLATE:
        inflate = zlib.decompressobj()
        plain = inflate.decompress(coded, size)
        if not inflate.eof and len(plain) == size:
            inflate.decompress(inflate.unconsumed_tail, layout.row_bytes)  # reaches the checksum
    else:
        plain = coded[:size]
    if len(plain) < size:
        raise Refusal(RejectReason.CORRUPT, f"tiff: a strip or tile has {len(plain)} bytes, {size} are needed")
    return np.frombuffer(plain, np.uint8).reshape(rows, layout.row_bytes)


def _from_libtiff(coded: list[bytes], rows: int, layout: Layout) -> "Pixels":
    """Let libtiff decompress: the segments as strips of a plain image whose samples are bytes, or bits for CCITT."""
    from PIL import TiffImagePlugin

    said = len(messages_so_far())
    image = TiffImagePlugin.TiffImageFile(BytesIO(_as_strips(coded, rows, layout)))
    image.load()
    words = [word for word in messages_so_far()[said:] if not any(harmless in word for harmless in _HARMLESS)]
    if words:
        raise Refusal(RejectReason.CORRUPT, f"tiff: {'; '.join(words)}")
    array = np.asarray(image)
    if layout.compression in FAX:
        return np.packbits(array, axis=1)
    return array.reshape(rows, layout.row_bytes)


def _as_strips(coded: list[bytes], rows: int, layout: Layout) -> bytes:
    """Return a TIFF, little endian, of these strips."""
    is_fax = layout.compression in FAX
    samples = 1 if is_fax else next(count for count in (4, 3, 1) if layout.row_bytes % count == 0)
    starts, at = [], 8
    for part in coded:
        starts.append(at)
        at += len(part)
    entries: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [layout.columns if is_fax else layout.row_bytes // samples]),
        (257, 4, [rows]),
        (258, 3, [1] if is_fax else [8] * samples),
        (259, 3, [layout.compression]),
        (262, 3, [{1: 1, 3: 2, 4: 5}[samples]]),
        (273, 4, starts),
        (277, 3, [samples]),
        (278, 4, [layout.segment_rows]),
        (279, 4, [len(part) for part in coded]),
    ]
    if layout.compression in (3, 4):
        entries.append((292 if layout.compression == 3 else 293, 4, [layout.fax_options]))
    tables, extra = b"", b""
    extra_at = at + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            tables += struct.pack("<HHII", tag, kind, len(values), extra_at + len(extra))
            extra += packed
        else:
            tables += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = struct.pack("<2sHI", b"II", 42, at)
    return b"".join((head, *coded, struct.pack("<H", len(entries)), tables, bytes(4), extra))


def _from_jpeg(coded: bytes, rows: int, layout: Layout) -> "Pixels":
    """Decode one abbreviated JPEG stream as strictly as a photo."""
    import simplejpeg

    if coded[:2] != b"\xff\xd8":
        raise Refusal(RejectReason.CORRUPT, "tiff: a strip or tile holds no JPEG")
    # what the colours are, the TIFF says; the stream must not contradict it
    colours = b"\xff\xee" + struct.pack(">H", len(_ADOBE) + 3) + _ADOBE + bytes((layout.jpeg_transform,))
    stream = b"\xff\xd8" + colours + _plain_stream(layout.jpeg_tables) + _plain_stream(coded)
    header = read_jpeg_header(stream)
    stream = bytes(header.canonical)
    if header.frame.precision_bits != 8 or header.frame.marker not in (0xC0, 0xC1, 0xC2):
        coding = f"frame type 0x{header.frame.marker:02X} with {header.frame.precision_bits} bits per sample"
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"tiff: no decoder for JPEG {coding}")
    try:
        array: Any = simplejpeg.decode_jpeg(stream, layout.jpeg_colours, strict=True)
    except KeyError as error:
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "tiff: no decoder for this JPEG's chroma sampling") from error
    if array.shape[0] < rows or array.shape[1] < layout.columns:
        raise Refusal(RejectReason.CORRUPT, f"tiff: a JPEG of {array.shape[1]} x {array.shape[0]} px is too small")
    part: Pixels = array[:rows, : layout.columns].reshape(rows, layout.row_bytes)
    return part


def _plain_stream(stream: bytes) -> bytes:
    """Return a JPEG stream from behind its start marker up to its end marker, without application segments."""
    kept, at = [], 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker, end = stream[at + 1], at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xDA:
            kept.append(stream[at:])
            break
        if marker != 0xFE and marker & 0xF0 != 0xE0:
            kept.append(stream[at:end])
        at = end
    return b"".join(kept)
