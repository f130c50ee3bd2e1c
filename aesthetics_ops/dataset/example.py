"""One record's content: the protobuf message `tf.train.Example`, written and read without TensorFlow.

In: examples.  Out: messages that TensorFlow cannot tell from its own, and the way back.  The features stand in order
of their names, the longer first where one begins with another, as `SerializeToString(deterministic=True)` writes them.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from struct import Struct, unpack
from typing import Any, Final

from aesthetics_ops.errors import IntegrityError

__all__ = [
    "EXTRA_SCORE",
    "FEATURES",
    "Example",
    "decode_example",
    "encode_around",
    "encode_example",
    "features_with",
    "image_in",
    "more_labels",
]

FEATURES: Final[dict[str, dict[str, Any]]] = {
    "image/image": {"dtype": "bytes", "shape": [1]},
    "image/label": {"dtype": "float32", "shape": [1]},
    "image/id": {"dtype": "bytes", "shape": [1]},
    "image/height": {"dtype": "int64", "shape": [1]},
    "image/width": {"dtype": "int64", "shape": [1]},
    "image/distribution": {"dtype": "float32", "shape": [10]},
}

EXTRA_SCORE: Final = "image/label/"
"""What the name of the feature of an extra score begins with."""


def features_with(
    ratings: Sequence[float], *, has_votes: bool = False, extra_scores: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return the features of records.

    Args:
        ratings: what votes are for; without any, image/distribution stands there as for 10, and is in no record.
        has_votes: records have whole counts of votes.
        extra_scores: names of the extra scores.
    """
    found = FEATURES | {"image/distribution": {"dtype": "float32", "shape": [len(ratings) or 10]}}
    if has_votes:
        found["image/votes"] = {"dtype": "int64", "shape": [len(ratings)]}
    if ratings:
        found["image/label_std"] = {"dtype": "float32", "shape": [1]}
    return found | {f"{EXTRA_SCORE}{name}": {"dtype": "float32", "shape": [1]} for name in extra_scores}


def more_labels(features: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return those features of a manifest that every record has beside its label: of votes, and extra scores.

    Versions from before image/label_std say of votes only which shape they would have.
    """
    known = ("image/distribution", "image/votes", "image/label_std") if "image/label_std" in features else ()
    return {name: kind for name, kind in features.items() if name in known or name.startswith(EXTRA_SCORE)}


@dataclass(frozen=True, slots=True)
class Example:
    """One photo with its score, as training reads it.

    Attributes:
        image: the JPEG; when read from a record, a view into that record.
        label: the score after scaling; stored as float32.
        id: what names the photo; any text that UTF-8 can hold.
        height_px: height of the JPEG.
        width_px: width of the JPEG.
        distribution: shares of the votes, one for each rating, at least two, stored as float32; None where there are no
            votes.  The manifest says which ratings.
        votes: how many there are for each rating; None where shares alone are known, or nothing.
        label_std: population standard deviation of the votes, in the ratings' units, stored as float32; None without votes.
        extra_scores: more scores by their names, stored as float32.
    """

    image: bytes | memoryview
    label: float
    id: str
    height_px: int
    width_px: int
    distribution: Sequence[float] | None
    votes: Sequence[int] | None = None
    label_std: float | None = None
    extra_scores: Mapping[str, float] = field(default_factory=dict)


_FLOAT = Struct("<f")

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3  # field numbers in the message Feature
_SIDES: Final = 1 << 12  # lengths that are met again and again
_DTYPES: Final = {_BYTES_LIST: "bytes", _FLOAT_LIST: "float32", _INT64_LIST: "int64"}


def _varint(number: int) -> bytes:
    """Protobuf's variable-length integer; `number` >= 0."""
    if number < 0x80:
        return bytes((number,))
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:  # the length of nearly every image
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _delimited(field_number: int, content: bytes) -> bytes:
    return bytes((field_number << 3 | 2,)) + _varint(len(content)) + content


def _packed_head(name: str, kind: int, content_bytes: int) -> bytes:
    """Everything of a feature with short numeric content that stands before that content."""
    content = bytes(content_bytes)
    feature = _delimited(kind, _delimited(1, content))
    entry = _delimited(1, _delimited(1, name.encode()) + _delimited(2, feature))
    return entry[: len(entry) - content_bytes]


_LABEL_HEAD = _packed_head("image/label", _FLOAT_LIST, _FLOAT.size)

_DEVIATION_HEAD = _packed_head("image/label_std", _FLOAT_LIST, _FLOAT.size)


@cache
def _score_head(name: str) -> bytes:
    return _packed_head(EXTRA_SCORE + name, _FLOAT_LIST, _FLOAT.size)


@cache
def _votes_head(content_bytes: int) -> bytes:
    return _packed_head("image/votes", _INT64_LIST, content_bytes)


# indexed by the bytes of the varint that follows
_HEIGHT_HEADS = tuple(_packed_head("image/height", _INT64_LIST, count) for count in range(11))
_WIDTH_HEADS = tuple(_packed_head("image/width", _INT64_LIST, count) for count in range(11))
_ID_KEY = _delimited(1, b"image/id") + b"\x12"
_IMAGE_KEY = _delimited(1, b"image/image") + b"\x12"


@cache
def _shares(count: int) -> tuple[bytes, Struct]:
    """What stands before `count` shares, and how they are written."""
    packed = Struct(f"<{count}f")
    return _packed_head("image/distribution", _FLOAT_LIST, packed.size), packed


@lru_cache(maxsize=_SIDES)
def _height(height_px: int) -> bytes:
    return _int64_feature(_HEIGHT_HEADS, height_px)


@lru_cache(maxsize=_SIDES)
def _width(width_px: int) -> bytes:
    return _int64_feature(_WIDTH_HEADS, width_px)


def _int64_feature(heads: tuple[bytes, ...], number: int) -> bytes:
    digits = _varint(number & 0xFFFFFFFFFFFFFFFF)
    return heads[len(digits)] + digits


@lru_cache(maxsize=_SIDES)
def _id_head(id_bytes: int) -> bytes:
    return _bytes_head(_ID_KEY, id_bytes)


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
        ValueError: the distribution has less than 2 shares.
        OverflowError: the label, or a share, is finite and does not fit a float32.
    """
    image = example.image if isinstance(example.image, bytes) else memoryview(example.image).cast("B")
    head, tail = encode_around(example, len(image))
    return head, image, tail


def encode_around(example: Example, image_bytes: int) -> tuple[bytes, bytes]:
    """Return what stands before and after the image of an example, whose own image is not looked at.

    Raises:
        ValueError, OverflowError: as `encode_example`.
    """
    image_id = example.id.encode()
    head = _height(example.height_px) + _id_head(len(image_id)) + image_id
    head += _bytes_head(_IMAGE_KEY, image_bytes)
    if example.distribution is not None:
        if len(example.distribution) < 2:
            raise ValueError(f"distribution has {len(example.distribution)} shares; it needs one for each rating")
        before, packed = _shares(len(example.distribution))
        head = before + packed.pack(*example.distribution) + head
    tail = _scores(example) + _votes(example) + _width(example.width_px)
    return b"\x0a" + _varint(len(head) + image_bytes + len(tail)) + head, tail


def _scores(example: Example) -> bytes:
    """The extra scores, the deviation and the label: where one name begins with another, protobuf writes the longer first."""
    scores = b""
    if example.extra_scores:
        for name in sorted(example.extra_scores, key=lambda name: name.encode() + b"\xff"):
            scores += _score_head(name) + _FLOAT.pack(example.extra_scores[name])
    if example.label_std is not None:
        scores += _DEVIATION_HEAD + _FLOAT.pack(example.label_std)
    return scores + _LABEL_HEAD + _FLOAT.pack(example.label)


def _votes(example: Example) -> bytes:
    if example.votes is None:
        return b""
    digits = b"".join(_varint(count & 0xFFFFFFFFFFFFFFFF) for count in example.votes)
    return _votes_head(len(digits)) + digits


def image_in(record: bytes | memoryview) -> memoryview:
    """Return the JPEG of a serialised example, a view into it; a fifth of the cost of `decode_example`.

    Raises:
        IntegrityError: as `decode_example`, which reads what `encode_example` did not write.
    """
    view = memoryview(record)
    try:
        length, start = _read_varint(view, 1)
        if view[0] == 0x0A and start + length == len(view):
            for _ in range(4):  # of the features, the image is the fourth at most
                length, start = _read_varint(view, start + 1)
                if view[start : start + len(_IMAGE_KEY)] == _IMAGE_KEY:
                    return _one_value(view, start + len(_IMAGE_KEY), start + length)
                start += length
    except IndexError:
        pass  # decode_example says what is wrong
    return memoryview(decode_example(record).image)


def _one_value(view: memoryview, start: int, end: int) -> memoryview:
    """Return the only value of a bytes feature that lies in `view[start:end]`."""
    for _ in range(2):  # the length of the feature, then of its list
        length, start = _read_varint(view, start)
        if start + length != end or view[start] != 0x0A:
            raise IndexError
        start += 1
    length, start = _read_varint(view, start)
    if start + length != end:
        raise IndexError
    return view[start:end]


def decode_example(record: bytes | memoryview) -> Example:
    """Read one serialised example, whoever wrote it: features in any order, numbers packed or not, others ignored.

    Returns:
        The example; its image is a view into `record`.

    Raises:
        IntegrityError: not a `tf.train.Example`, or a feature of `FEATURES` is missing (only what tells of votes
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
        return Example(
            image=memoryview(record)[image_start:image_end],
            label=_feature(found, b"image/label", _FLOAT_LIST)[0],
            id=bytes(record[id_start:id_end]).decode(),
            height_px=_feature(found, b"image/height", _INT64_LIST)[0],
            width_px=_feature(found, b"image/width", _INT64_LIST)[0],
            **_votes_in(found),
            extra_scores={
                key[len(EXTRA_SCORE) :].decode(): _feature(found, key, _FLOAT_LIST)[0]
                for key in found
                if key.startswith(EXTRA_SCORE.encode())
            },
        )
    except UnicodeDecodeError as error:
        raise _not_an_example("its image/id is not UTF-8") from error
    except (IndexError, struct.error) as error:
        raise _not_an_example("it ends inside a number") from error


def _votes_in(found: dict[bytes, tuple[int, list[Any]]]) -> dict[str, Any]:
    """Return what a record says of votes, where it does."""
    votes: dict[str, Any] = {"distribution": None}
    if b"image/distribution" in found:
        votes["distribution"] = tuple(_feature(found, b"image/distribution", _FLOAT_LIST, None))
    if b"image/votes" in found:
        votes["votes"] = tuple(_feature(found, b"image/votes", _INT64_LIST, None))
    if b"image/label_std" in found:
        votes["label_std"] = _feature(found, b"image/label_std", _FLOAT_LIST)[0]
    return votes


def _not_an_example(what: str) -> IntegrityError:
    return IntegrityError(
        f"record is not an example of this format: {what}; read a shard that aesthetics_ops or TensorFlow wrote"
    )


def _feature(found: dict[bytes, tuple[int, list[Any]]], key: bytes, kind: int, count: int | None = 1) -> list[Any]:
    """Return the values of a feature: `count` of them, or at least two."""
    if key not in found:
        raise _not_an_example(f"feature {key.decode()!r} is missing")
    found_kind, values = found[key]
    if found_kind != kind or (len(values) < 2 if count is None else len(values) != count):
        wanted = "at least 2" if count is None else count
        raise _not_an_example(
            f"feature {key.decode()!r} has {len(values)} values; it must have {wanted} of type {_DTYPES[kind]}"
        )
    return values


def _map_entry(data: bytes | memoryview, start: int, end: int) -> tuple[bytes, tuple[int, list[Any]]]:
    """Read one entry of the feature map: its name, and (kind of list, values); bytes values as (start, end)."""
    key = b""
    kind = 0
    values: list[Any] = []
    for number, wire, first, last in _fields(data, start, end):
        if (number, wire) == (1, 2):
            key = bytes(data[first:last])
        elif (number, wire) == (2, 2):
            for list_kind, list_wire, list_start, list_end in _fields(data, first, last):
                if list_wire != 2 or list_kind not in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST):
                    continue
                if list_kind != kind:  # of a protobuf oneof the last kind counts
                    kind, values = list_kind, []
                values += _list_values(data, list_start, list_end, kind)
    return key, (kind, values)


def _list_values(data: bytes | memoryview, start: int, end: int, kind: int) -> list[Any]:
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


def _submessages(data: bytes | memoryview, start: int, end: int, number: int) -> Iterator[tuple[int, int]]:
    return ((first, last) for found, wire, first, last in _fields(data, start, end) if found == number and wire == 2)


def _fields(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
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


def _read_varint(data: bytes | memoryview, start: int) -> tuple[int, int]:
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
