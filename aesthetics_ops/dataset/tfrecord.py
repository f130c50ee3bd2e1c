"""The wire format of a shard: `tf.train.Example` messages in TFRecord framing, without TensorFlow.

In: examples.  Out: a file that TensorFlow cannot tell from its own, with the place of every record in it, and the
digests of the whole; and the way back.  Importing TensorFlow costs seconds of CPU per process; this costs nothing.

One record in the file: length (uint64), masked CRC32C of those 8 bytes, data, masked CRC32C of the data; all
little-endian.  The data of one record is a message of `example.py`.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple, Self

import numpy as np
from google_crc32c import extend, value

from aesthetics_ops.dataset.example import Example, encode_around, encode_example
from aesthetics_ops.errors import IntegrityError

__all__ = [
    "FRAME_BYTES",
    "FramedRecord",
    "RecordSpan",
    "ShardWriter",
    "frame_example",
    "image_if_framed",
    "read_framed",
    "read_records",
]


class RecordSpan(NamedTuple):
    """The place of one whole framed record in its file, as an index holds it.

    Attributes:
        offset: bytes before the record.
        length: bytes of the record with its frame.
    """

    offset: int
    length: int


class FramedRecord(NamedTuple):
    """One record as it stands in a file, in parts, so that the image is not copied.

    Attributes:
        parts: their concatenation is the framed record.
        length: of all, bytes.
    """

    parts: tuple[bytes, bytes | memoryview, bytes]
    length: int


_LENGTH = Struct("<Q")
_CRC = Struct("<I")
_LENGTH_AND_CRC = Struct("<QI")
FRAME_BYTES = _LENGTH_AND_CRC.size + _CRC.size
_MAX_RECORD_BYTES = (1 << 31) - 1  # no protobuf message is larger
_WRITE_BYTES = 1 << 20  # hashed and written at once, so that photos' threads are disturbed less often
_PIECE_BYTES = 16 << 20  # most bytes asked of a file at once: a false length costs no more memory than this


def _masked(crc: int) -> int:
    """A CRC as TFRecord stores it, so that the CRC of data that holds CRCs stays useful."""
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def frame_example(example: Example) -> FramedRecord:
    """Encode an example and put its length and checksums around it.

    Raises:
        ValueError, OverflowError: as `encode_example`.
    """
    head, image, tail = encode_example(example)
    # the checksum's C code refuses a memoryview, but takes an array over the same bytes
    image_buffer = image if isinstance(image, bytes) else np.frombuffer(image, np.uint8)
    data_bytes = len(head) + len(image) + len(tail)
    length = _LENGTH.pack(data_bytes)
    crc = extend(extend(value(head), image_buffer), tail)
    before = length + _CRC.pack(_masked(value(length))) + head
    return FramedRecord((before, image, tail + _CRC.pack(_masked(crc))), data_bytes + FRAME_BYTES)


def image_if_framed(data: bytes, span: RecordSpan, example: Example, image_bytes: int) -> slice | None:
    """Return where the image of a framed record lies, if the record is byte for byte what `frame_example` makes of it.

    This costs a fifth of parsing the record.

    Args:
        data: some records with their frames.
        span: of this record in them.
        example: what the record is to hold; its own image is not looked at.
        image_bytes: how many bytes the image is to have.

    Returns:
        A part of `data`; None where a byte differs, a checksum's too, or no record holds such an example.
    """
    try:
        head, tail = encode_around(example, image_bytes)
    except (ValueError, OverflowError):
        return None
    data_bytes = len(head) + image_bytes + len(tail)
    length = _LENGTH.pack(data_bytes)
    before = length + _CRC.pack(_masked(value(length))) + head
    first = span.offset + len(before)
    end = first + image_bytes
    if span.length != data_bytes + FRAME_BYTES or not data.startswith(before, span.offset):
        return None
    crc = value(np.frombuffer(data, np.uint8, data_bytes, span.offset + _LENGTH_AND_CRC.size))
    if not data.startswith(tail + _CRC.pack(_masked(crc)), end):
        return None
    return slice(first, end)


class ShardWriter:
    """Writes one TFRecord file, and its digests and index in the same pass.

    A context manager: entering creates the file, or empties one that is there; leaving closes it, finished or not.

    Attributes:
        records: records written.
        bytes_written: bytes of the file.
    """

    def __init__(self, path: Path) -> None:
        self.records = 0
        self.bytes_written = 0
        self._path = path
        self._pending: list[bytes | memoryview] = []
        self._pending_bytes = 0
        self._sha256 = hashlib.sha256()
        self._crc32c = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._flush()
        finally:
            self._file.close()

    def write(self, example: Example) -> RecordSpan:
        """Append one record.

        Returns:
            Where the whole framed record lies in the file.

        Raises:
            ValueError, OverflowError: as `encode_example`; ValueError also once the file is closed.
            OSError: the file cannot grow.
        """
        return self.append(frame_example(example))

    def append(self, record: FramedRecord) -> RecordSpan:
        """Append one record that is framed already; as `write`."""
        if self._file.closed:
            raise ValueError(f"shard {str(self._path)!r} is closed; write inside its with block")
        self._pending += record.parts
        span = RecordSpan(self.bytes_written, record.length)
        self.records += 1
        self.bytes_written += record.length
        self._pending_bytes += record.length
        if self._pending_bytes >= _WRITE_BYTES:
            self._flush()
        return span

    @property
    def sha256(self) -> str:
        """Digest of everything written so far, in hex."""
        self._flush()
        return self._sha256.hexdigest()

    @property
    def crc32c(self) -> str:
        """CRC32C of everything written so far, as 8 hex digits."""
        self._flush()
        return f"{self._crc32c:08x}"

    def _flush(self) -> None:
        """Write what is pending, and add it to the digests."""
        piece = b"".join(self._pending)
        self._pending.clear()
        self._pending_bytes = 0
        self._sha256.update(piece)
        self._crc32c = extend(self._crc32c, piece)
        if piece:
            self._file.write(piece)


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Read the data of every record, in file order.

    Args:
        file: at the start of a TFRecord file; need not be seekable.

    Raises:
        IntegrityError: the file ends inside a record, or a checksum or length is wrong; with the record's number
            (from 0) and its byte offset.
    """
    number = offset = 0
    while header := _read_exactly(file, _LENGTH_AND_CRC.size):
        where = f"record {number} at byte {offset}"
        length = _checked_length(header, where)
        data = _read_exactly(file, length)
        footer = _read_exactly(file, _CRC.size)
        if len(footer) < _CRC.size:
            have = len(header) + len(data) + len(footer)
            raise _damaged(where, f"ends after {have} of its {length + FRAME_BYTES} bytes")
        _check_data(data, footer, where)
        yield data
        number += 1
        offset += length + FRAME_BYTES


def read_framed(record: bytes | memoryview, where: str = "framed record") -> memoryview:
    """Return the data of one framed record, such as a ranged read by its `RecordSpan` returns; nothing is copied.

    Args:
        record: the framed record.
        where: names it in messages.

    Raises:
        IntegrityError: these are not the bytes of exactly one record, or a checksum is wrong.
    """
    view = memoryview(record)
    length = _checked_length(bytes(view[: _LENGTH_AND_CRC.size]), where)
    if len(view) != length + FRAME_BYTES:
        raise _damaged(where, f"has {len(view)} bytes, but declares {length + FRAME_BYTES}")
    data = view[_LENGTH_AND_CRC.size : -_CRC.size]
    _check_data(data, view[-_CRC.size :], where)
    return data


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    """Read `count` bytes; fewer only where the file ends."""
    piece = file.read(min(count, _PIECE_BYTES))
    if len(piece) == count or not piece:
        return piece
    pieces = [piece]
    count -= len(piece)
    while count and (piece := file.read(min(count, _PIECE_BYTES))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _checked_length(header: bytes, where: str) -> int:
    if len(header) < _LENGTH_AND_CRC.size:
        raise _damaged(where, f"ends after {len(header)} bytes, inside its {_LENGTH_AND_CRC.size}-byte header")
    length, stored = _LENGTH_AND_CRC.unpack(header)
    if stored != _masked(value(header[: _LENGTH.size])):
        raise _damaged(where, f"declares a length of {length} bytes that does not match its CRC32C")
    if length > _MAX_RECORD_BYTES:
        raise _damaged(where, f"declares a length of {length} bytes, but none has more than {_MAX_RECORD_BYTES}")
    return int(length)


def _check_data(data: bytes | memoryview, footer: bytes | memoryview, where: str) -> None:
    # the checksum's C code refuses a memoryview, but takes an array over the same bytes
    crc = _masked(value(data if isinstance(data, bytes) else np.frombuffer(data, np.uint8)))
    (stored,) = _CRC.unpack(footer)
    if stored != crc:
        raise _damaged(
            where, f"has {len(data)} bytes of data that do not match their CRC32C: {crc:08x}, not {stored:08x} (masked)"
        )


def _damaged(where: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"{where} {what}; the TFRecord data is damaged or cut off: fetch it again, or rebuild the shard"
    )
