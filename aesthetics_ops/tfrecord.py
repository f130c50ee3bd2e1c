"""The wire format of a shard: `tf.train.Example` messages in TFRecord framing, without TensorFlow.

In: examples.  Out: a file that TensorFlow cannot tell from its own, with the place of every record in it, and the
digests of the whole; and the way back.  Importing TensorFlow costs seconds of CPU per process; this costs nothing.

One record in the file: length (uint64), masked CRC32C of those 8 bytes, data, masked CRC32C of the data; all
little-endian.  The data of one record: the protobuf message `Example`, its features in order of their names, as
`SerializeToString(deterministic=True)` writes it.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, unpack
from typing import Any, BinaryIO, Final, NamedTuple, Self

import numpy as np
from google_crc32c import extend, value

from aesthetics_ops.errors import IntegrityError

__all__ = [
    "FEATURES",
    "Example",
    "RecordSpan",
    "ShardWriter",
    "decode_example",
    "encode_example",
    "read_framed",
    "read_records",
]

FEATURES: Final[dict[str, dict[str, Any]]] = {
    "image/image": {"dtype": "bytes", "shape": [1]},
    "image/label": {"dtype": "float32", "shape": [1]},
    "image/id": {"dtype": "bytes", "shape": [1]},
    "image/height": {"dtype": "int64", "shape": [1]},
    "image/width": {"dtype": "int64", "shape": [1]},
    "image/distribution": {"dtype": "float32", "shape": [10]},
}


@dataclass(frozen=True, slots=True)
class Example:
    """One photo with its score, as training reads it.

    Attributes:
        image: the JPEG; when read from a record, a view into that record.
        label: the score after scaling; stored as float32.
        id: what names the photo; any text that UTF-8 can hold.
        height_px: height of the JPEG.
        width_px: width of the JPEG.
        distribution: shares of the votes for ratings 1 to 10, stored as float32; None where there are no vote counts.
    """

    image: bytes | memoryview
    label: float
    id: str
    height_px: int
    width_px: int
    distribution: Sequence[float] | None


class RecordSpan(NamedTuple):
    """The place of one whole framed record in its file, as an index holds it.

    Attributes:
        offset: bytes before the record.
        length: bytes of the record with its frame.
    """

    offset: int
    length: int


_LENGTH = Struct("<Q")
_CRC = Struct("<I")
_LENGTH_AND_CRC = Struct("<QI")
_FLOAT = Struct("<f")
_SHARES = Struct("<10f")
_FRAME_BYTES = _LENGTH_AND_CRC.size + _CRC.size
_MAX_RECORD_BYTES = (1 << 31) - 1  # no protobuf message is larger
_PIECE_BYTES = 16 << 20  # most bytes asked of a file at once: a false length costs no more memory than this


def _varint(number: int) -> bytes:
    """Protobuf's variable-length integer; `number` >= 0."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _delimited(field_number: int, content: bytes) -> bytes:
    return bytes((field_number << 3 | 2,)) + _varint(len(content)) + content


_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # field numbers in the message Feature


def _packed_head(name: str, kind: int, content_bytes: int) -> bytes:
    """Everything of a feature with short numeric content that stands before that content."""
    content = bytes(content_bytes)
    feature = _delimited(kind, _delimited(1, content))
    entry = _delimited(1, _delimited(1, name.encode()) + _delimited(2, feature))
    return entry[: len(entry) - content_bytes]


_LABEL_HEAD = _packed_head("image/label", _FLOAT_LIST, _FLOAT.size)
_DISTRIBUTION_HEAD = _packed_head("image/distribution", _FLOAT_LIST, _SHARES.size)
# indexed by the bytes of the varint that follows
_HEIGHT_HEADS = tuple(_packed_head("image/height", _INT64_LIST, count) for count in range(11))
_WIDTH_HEADS = tuple(_packed_head("image/width", _INT64_LIST, count) for count in range(11))
_ID_KEY = _delimited(1, b"image/id") + b"\x12"
_IMAGE_KEY = _delimited(1, b"image/image") + b"\x12"


def _int64_feature(heads: tuple[bytes, ...], number: int) -> bytes:
    digits = _varint(number & 0xFFFFFFFFFFFFFFFF)
    return heads[len(digits)] + digits


def _bytes_head(key: bytes, content_bytes: int) -> bytes:
    """Everything of a feature with one bytes value that stands before that value."""
    head = b"\x0a" + _varint(content_bytes)
    head = b"\x0a" + _varint(len(head) + content_bytes) + head
    head = key + _varint(len(head) + content_bytes) + head
    return b"\x0a" + _varint(len(head) + content_bytes) + head


def encode_example(example: Example) -> tuple[bytes, bytes | memoryview, bytes]:
    """Serialise one example.

    Returns:
        Three parts whose concatenation equals `tf.train.Example.SerializeToString(deterministic=True)`.  The second
        is the image itself, not a copy.

    Raises:
        ValueError: the distribution does not have 10 shares.
        OverflowError: the label, or a share, is finite and does not fit a float32.
    """
    image = example.image if isinstance(example.image, bytes) else memoryview(example.image).cast("B")
    image_id = example.id.encode()
    head = _int64_feature(_HEIGHT_HEADS, example.height_px) + _bytes_head(_ID_KEY, len(image_id)) + image_id
    head += _bytes_head(_IMAGE_KEY, len(image))
    if example.distribution is not None:
        if len(example.distribution) != 10:
            raise ValueError(
                f"distribution has {len(example.distribution)} shares; it needs one for each rating, 1 to 10"
            )
        head = _DISTRIBUTION_HEAD + _SHARES.pack(*example.distribution) + head
    tail = _LABEL_HEAD + _FLOAT.pack(example.label) + _int64_feature(_WIDTH_HEADS, example.width_px)
    return b"\x0a" + _varint(len(head) + len(image) + len(tail)) + head, image, tail


def _masked(crc: int) -> int:
    """A CRC as TFRecord stores it, so that the CRC of data that holds CRCs stays useful."""
    return ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


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
        self._sha256 = hashlib.sha256()
        self._crc32c = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, example: Example) -> RecordSpan:
        """Append one record.

        Returns:
            Where the whole framed record lies in the file.

        Raises:
            ValueError, OverflowError: as `encode_example`.
            OSError: the file cannot grow.
        """
        head, image, tail = encode_example(example)
        # the checksum's C code refuses a memoryview, but takes an array over the same bytes
        image_buffer = image if isinstance(image, bytes) else np.frombuffer(image, np.uint8)
        data_bytes = len(head) + len(image) + len(tail)
        length = _LENGTH.pack(data_bytes)
        crc = extend(extend(value(head), image_buffer), tail)
        head = length + _CRC.pack(_masked(value(length))) + head
        tail += _CRC.pack(_masked(crc))
        self._crc32c = extend(extend(extend(self._crc32c, head), image_buffer), tail)
        for part in (head, image, tail):
            self._file.write(part)
            self._sha256.update(part)
        span = RecordSpan(self.bytes_written, data_bytes + _FRAME_BYTES)
        self.records += 1
        self.bytes_written += span.length
        return span

    @property
    def sha256(self) -> str:
        """Digest of everything written so far, in hex."""
        return self._sha256.hexdigest()

    @property
    def crc32c(self) -> str:
        """CRC32C of everything written so far, as 8 hex digits."""
        return f"{self._crc32c:08x}"


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
            raise _damaged(where, f"ends after {have} of its {length + _FRAME_BYTES} bytes")
        _check_data(data, footer, where)
        yield data
        number += 1
        offset += length + _FRAME_BYTES


def read_framed(record: bytes) -> bytes:
    """Return the data of one framed record, such as a ranged read by its `RecordSpan` returns.

    Raises:
        IntegrityError: these are not the bytes of exactly one record, or a checksum is wrong.
    """
    where = "framed record"
    length = _checked_length(record[: _LENGTH_AND_CRC.size], where)
    if len(record) != length + _FRAME_BYTES:
        raise _damaged(where, f"has {len(record)} bytes, but declares {length + _FRAME_BYTES}")
    data = record[_LENGTH_AND_CRC.size : -_CRC.size]
    _check_data(data, record[-_CRC.size :], where)
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


def _check_data(data: bytes, footer: bytes, where: str) -> None:
    crc = _masked(value(data))
    if footer != _CRC.pack(crc):
        raise _damaged(where, f"has {len(data)} bytes of data that do not match their CRC32C")


def _damaged(where: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"{where} {what}; the TFRecord data is damaged or cut off: fetch it again, or rebuild the shard"
    )


def decode_example(record: bytes) -> Example:
    """Read one serialised example, whoever wrote it: features in any order, numbers packed or not, others ignored.

    Returns:
        The example; its image is a view into `record`.

    Raises:
        IntegrityError: not a `tf.train.Example`, or a feature of `FEATURES` is missing (only `image/distribution`
            may be), or is not of its type and shape.
    """
    found: dict[bytes, tuple[int, list[Any]]] = {}
    try:
        for features in _submessages(record, 0, len(record), 1):
            for entry in _submessages(record, *features, 1):
                key, feature = _map_entry(record, *entry)
                found[key] = feature
        image_start, image_end = _feature(found, b"image/image", _BYTES_LIST)[0]
        id_start, id_end = _feature(found, b"image/id", _BYTES_LIST)[0]
        distribution = None
        if b"image/distribution" in found:
            distribution = tuple(_feature(found, b"image/distribution", _FLOAT_LIST, 10))
        return Example(
            image=memoryview(record)[image_start:image_end],
            label=_feature(found, b"image/label", _FLOAT_LIST)[0],
            id=record[id_start:id_end].decode(),
            height_px=_feature(found, b"image/height", _INT64_LIST)[0],
            width_px=_feature(found, b"image/width", _INT64_LIST)[0],
            distribution=distribution,
        )
    except UnicodeDecodeError as error:
        raise _not_an_example("its image/id is not UTF-8") from error
    except (IndexError, struct.error) as error:
        raise _not_an_example("it ends inside a number") from error


def _not_an_example(what: str) -> IntegrityError:
    return IntegrityError(
        f"record is not an example of this format: {what}; read a shard that aesthetics_ops or TensorFlow wrote"
    )


def _feature(found: dict[bytes, tuple[int, list[Any]]], key: bytes, kind: int, count: int = 1) -> list[Any]:
    if key not in found:
        raise _not_an_example(f"feature {key.decode()!r} is missing")
    found_kind, values = found[key]
    if found_kind != kind or len(values) != count:
        raise _not_an_example(
            f"feature {key.decode()!r} has {len(values)} values; it must have {FEATURES[key.decode()]['shape'][0]} "
            f"of type {FEATURES[key.decode()]['dtype']}"
        )
    return values


def _map_entry(data: bytes, start: int, end: int) -> tuple[bytes, tuple[int, list[Any]]]:
    """Read one entry of the feature map: its name, and (kind of list, values); bytes values as (start, end)."""
    key = b""
    kind = 0
    values: list[Any] = []
    for number, wire, first, last in _fields(data, start, end):
        if (number, wire) == (1, 2):
            key = data[first:last]
        elif (number, wire) == (2, 2):
            for list_kind, list_wire, list_start, list_end in _fields(data, first, last):
                if list_wire != 2 or list_kind not in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST):
                    continue
                if list_kind != kind:  # of a protobuf oneof the last kind counts
                    kind, values = list_kind, []
                values += _list_values(data, list_start, list_end, kind)
    return key, (kind, values)


def _list_values(data: bytes, start: int, end: int, kind: int) -> list[Any]:
    values: list[Any] = []
    for number, wire, first, last in _fields(data, start, end):
        match (kind, wire) if number == 1 else (0, 0):
            case (1, 2):
                values.append((first, last))
            case (2, 2):
                values += unpack(f"<{(last - first) // _FLOAT.size}f", data[first:last])
            case (2, 5):
                values += unpack("<f", data[first:last])
            case (3, 2):
                while first < last:
                    bits, first = _read_varint(data, first)
                    values.append(_signed(bits))
                if first > last:
                    raise _not_an_example(f"packed numbers end at byte {first}, outside their list")
            case (3, 0):
                values.append(_signed(first))
    return values


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >= 1 << 63 else bits


def _submessages(data: bytes, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    return ((first, last) for found, wire, first, last in _fields(data, start, end) if found == number and wire == 2)


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Walk through a protobuf message.

    Yields:
        Field number, wire type, and where the value lies (start, end); of a varint its value, and where it ends.
    """
    while start < end:
        tag, start = _read_varint(data, start)
        wire = tag & 7
        if wire == 2:
            length, first = _read_varint(data, start)
            last = first + length
        elif wire == 0:
            first, last = _read_varint(data, start)
        elif wire in (1, 5):
            first, last = start, start + (8 if wire == 1 else 4)
        else:
            raise _not_an_example(f"wire type {wire} at byte {start} is not in use")
        if last > end or tag < 8:
            raise _not_an_example(f"the field at byte {start} is not a field, or ends outside its message")
        yield tag >> 3, wire, first, last
        start = last


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Read an unsigned 64-bit varint: its value, and where it ends."""
    byte = data[start]
    if byte < 0x80:
        return byte, start + 1
    number = byte & 0x7F
    for count in range(1, 10):
        byte = data[start + count]
        number |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, start + count + 1
    raise _not_an_example(f"the number at byte {start} has more than 10 bytes")
