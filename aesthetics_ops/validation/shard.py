"""Read one shard back with the code that training reads it with, and compare it with its result.

TensorFlow is loaded when the first shard is read.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from aesthetics_ops.dataset.example import decode_example, more_labels
from aesthetics_ops.dataset.results import ShardResult
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.validation.kernels import kernels

__all__ = ["Counts", "check_shard"]

_AUTOTUNE: Final = -1  # tf.data.AUTOTUNE
_BATCH: Final = 256
_AT_ONCE_BYTES: Final = 16 << 20  # TensorFlow takes half a second for their photos, and no signal is heard meanwhile
_Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted while a shard's file was read.

    Attributes:
        records: parsed, with a finite label.
        decoded: images of the stated size that decoded.
    """

    records: int
    decoded: int


@dataclass(slots=True)
class _Records:
    """The records of a file, column by column, in its order.

    Attributes:
        ids: of all.
        has_label: whether the label, and all that is stored beside it, is finite.
        has_image: whether the image has the stated size and decodes.
    """

    ids: list[str] = field(default_factory=list)
    has_label: list[bool] = field(default_factory=list)
    has_image: list[bool] = field(default_factory=list)


def check_shard(path: Path, result: ShardResult, features: Mapping[str, Any], *, name: str) -> Counts:
    """Check a shard's file against its result: hash, CRCs, count, ids, labels, and every image's decoded size.

    Args:
        path: the file, as it came from the store.
        result: what it should hold.
        features: that its records have, as manifests say it; of these, votes and extra scores are asked for.
        name: of the file, for messages.

    Returns:
        What was counted while the file was read.

    Raises:
        IntegrityError: names what is wrong, with record number and id where it is one record.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if (size, sha256) != (result.bytes, result.sha256):
        raise IntegrityError(
            f"{name} has {size} bytes and sha256 {sha256}, its result says {result.bytes} and {result.sha256}: "
            + _first_difference(path, result)
        )
    read = _decode_all(path, result, features, name)
    counts = Counts(sum(read.has_label), sum(read.has_image))
    for number, is_good in enumerate(map(all, zip(read.has_label, read.has_image, strict=True))):
        if not is_good:
            raise IntegrityError(
                f"{name}: record {number}, id {read.ids[number]!r}, is not a JPEG of the stated size with finite labels; "
                f"of {len(read.ids)} records {counts.records} have such labels and {counts.decoded} such a JPEG"
            )
    if read.ids != result.index.id:
        raise IntegrityError(f"{name}: {_first_difference(path, result)}")
    return counts


def _first_difference(path: Path, result: ShardResult) -> str:
    """Say which record of a file is the first that is not the one that its result describes."""
    number = 0
    what = "is missing"
    try:
        with path.open("rb") as file:
            for record in read_records(file):
                image_id = decode_example(record).id
                if number == result.records or image_id != result.index.id[number]:
                    what = f"is that of {image_id!r}"
                    break
                number += 1
            else:
                if number == result.records:
                    return "every record has its id, so the content of one differs"
    except IntegrityError as error:
        what = f"cannot be read: {error}"
    named = f", id {result.index.id[number]!r}," if number < result.records else ""
    return f"record {number}{named} {what}"


def _decode_all(path: Path, result: ShardResult, features: Mapping[str, Any], name: str) -> _Records:
    """Parse every record, decode its image, and compare the image with the features."""
    tf = kernels()
    more = more_labels(features)
    check, check_file = _checks(tuple((name, tuple(kind["shape"]), kind["dtype"]) for name, kind in more.items()))
    read = _Records()
    try:
        for ids, has_label, has_image in _columns(path, check, check_file):
            read.ids += [image_id.decode() for image_id in ids]
            read.has_label += has_label.tolist()
            read.has_image += has_image.tolist()
    except (tf.InvalidArgumentError, tf.DataLossError) as error:
        raise IntegrityError(
            f"{name}: {_first_failure(path, result, check)}: {error.message.splitlines()[0]}"
        ) from error
    return read


def _columns(path: Path, check: _Check, check_file: _Check) -> Iterator[tuple[Any, ...]]:
    """Yield what was found of a file's records, in parts: ids, whether labels are finite, whether images are good.

    A file that is not large is one call: for each data set that it is to iterate, TensorFlow makes graphs for a tenth of a second.
    """
    tf = kernels()
    if 0 < path.stat().st_size <= _AT_ONCE_BYTES:
        yield tuple(column.numpy() for column in check_file(tf.constant(str(path))))
    else:
        yield from _checked(tf.constant(str(path)), check, _BATCH).as_numpy_iterator()


def _checked(path: Any, check: _Check, batch: int) -> Any:
    return kernels().TFRecordDataset(path).map(check, num_parallel_calls=_AUTOTUNE).batch(batch)


@cache
def _checks(more: tuple[tuple[str, tuple[int, ...], str], ...]) -> tuple[_Check, _Check]:
    """Return `_record_check`, and the same for all records of a file: from its path to a column for each."""
    tf = kernels()
    check = _record_check(more)
    of_all = 1 << 40  # more records than a file has

    @tf.function(input_signature=[tf.TensorSpec([], tf.as_dtype("string"))], autograph=False)  # type: ignore[untyped-decorator]
    def check_file(path: Any) -> Any:
        return _checked(path, check, of_all).get_single_element()

    return check, check_file


def _record_check(more: tuple[tuple[str, tuple[int, ...], str], ...]) -> _Check:
    """Return a function from a serialised record to its id, whether its labels are finite, and whether its image is good.

    TensorFlow takes a tenth of a second to make a graph of it, once for all shards.

    Args:
        more: labels beside the first: name, shape and dtype.
    """
    tf = kernels()
    string, float32, int64 = map(tf.as_dtype, ("string", "float32", "int64"))
    spec = {
        "image/image": tf.FixedLenFeature([], string),
        "image/label": tf.FixedLenFeature([], float32),
        "image/id": tf.FixedLenFeature([], string),
        "image/height": tf.FixedLenFeature([], int64),
        "image/width": tf.FixedLenFeature([], int64),
        **{name: tf.FixedLenFeature(shape, tf.as_dtype(dtype)) for name, shape, dtype in more},
    }
    numbers = ["image/label", *(name for name, _, dtype in more if dtype == "float32")]

    @tf.function(input_signature=[tf.TensorSpec([], string)], autograph=False)  # type: ignore[untyped-decorator]
    def check(serialized: Any) -> Any:
        record = tf.parse_single_example(serialized, spec)
        image = record["image/image"]
        is_jpeg = tf.substr(image, 0, 3) == b"\xff\xd8\xff"
        stated = tf.stack([record["image/height"], record["image/width"]])
        good = tf.cond(is_jpeg, lambda: has_size(image, stated), lambda: False)
        good = tf.cond(good, lambda: has_pixels(image), lambda: False)
        finite = tf.reduce_all([tf.reduce_all(tf.is_finite(record[name])) for name in numbers])
        return record["image/id"], finite, good

    def has_size(image: Any, stated: Any) -> Any:
        return tf.reduce_all(tf.extract_jpeg_shape(image, int64)[:2] == stated)

    def has_pixels(image: Any) -> Any:
        # at 1/8 of the size all coded data is read, and the same files fail as at full size (docs/pixels.md)
        return tf.size(tf.decode_jpeg(image, channels=3, ratio=8, dct_method="INTEGER_ACCURATE")) > 0

    graph: _Check = check
    return graph


def _first_failure(path: Path, result: ShardResult, check: _Check) -> str:
    """Find the record that a parallel read failed on, one by one, and name it."""
    tf = kernels()
    with path.open("rb") as file:
        for number, record in enumerate(read_records(file)):
            try:
                check(tf.constant(record))
            except (tf.InvalidArgumentError, tf.DataLossError):
                named = result.index.id[number] if number < len(result.index.id) else "?"
                return f"record {number}, id {named!r}, cannot be read"
    return "a record cannot be read"
