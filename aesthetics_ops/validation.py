"""Read one partition's shards back from the store, with the code that training reads them with.

In: uploaded shards and their results.  Out: `<digest>.validated.json` beside each, so that a shard is checked once.
A shard that fails loses its result, so that the next conversion makes it anew.
TensorFlow is imported when the first shard is read, and nowhere else but in the reader.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from aesthetics_ops.build import Build, BuildRecord
from aesthetics_ops.conversion import ShardResult, read_shard_result
from aesthetics_ops.errors import InputMissingError, IntegrityError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.manifest import shard_key
from aesthetics_ops.quiet import quiet_stderr
from aesthetics_ops.store import Store
from aesthetics_ops.tfrecord import decode_example, read_records

__all__ = ["ShardVerdict", "check_shard", "read_verdict", "validate_partition"]

_log = logging.getLogger(__name__)


class ShardVerdict(BaseModel):
    """A shard was read back and is what its result says.

    Attributes:
        digest: of its recipe.
        sha256: of the file that was read.
        records: parsed; each had a finite label and its index entry's id.
        decoded: images that state the size that their features do, and decoded; equals records.
        tensorflow: version that read them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    sha256: str
    records: int
    decoded: int
    tensorflow: str


def read_verdict(dataset: Store, digest: str) -> ShardVerdict | None:
    """Read a shard's verdict; None while it was not checked."""
    try:
        stored = dataset.get(shard_key(digest, ".validated.json"))
    except ObjectMissingError:
        return None
    return ShardVerdict.model_validate_json(bytes(stored.data))


def validate_partition(
    build: Build, record: BuildRecord, partition: int, *, progress: Callable[[int], None] = lambda photos: None
) -> dict[str, int]:
    """Read back every shard of one partition that has no verdict yet.

    Args:
        build: with the plan's settings.
        record: its plan.
        partition: 0 <= partition < len(record.partitions).
        progress: called with the number of records just checked.

    Returns:
        shards and records of the partition, and how many shards were read by this call.

    Raises:
        InputMissingError: the partition is not converted.
        IntegrityError: a shard is not what its result says; names the shard, the record and its id.
        ScratchSpaceError: the disk has no room for a shard.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    outcome = build.partition_result(record, partition)
    if outcome is None:
        raise InputMissingError(
            f"partition {partition} of build {build.id!r} is not converted; run download_and_convert --map-index {partition} first"
        )
    summary = {"shards": 0, "records": 0, "read": 0}
    for digest in filter(None, outcome.shards.values()):
        result = read_shard_result(build.dataset, digest)
        if result is None:
            raise InputMissingError(
                f"shard {digest} has no result; run download_and_convert --map-index {partition} again, it makes only what is missing"
            )
        verdict = read_verdict(build.dataset, digest)
        if verdict is None or verdict.sha256 != result.sha256:
            _validate_shard(build.dataset, result)
            summary["read"] += 1
        summary["shards"] += 1
        summary["records"] += result.records
        progress(result.records)
    return summary


def _validate_shard(dataset: Store, result: ShardResult) -> None:
    key = shard_key(result.digest, ".tfrecord")
    with scratch_for(result.bytes) as scratch:
        path = scratch / "shard.tfrecord"
        try:
            dataset.download(key, path)
            check_shard(path, result, name=dataset.url_of(key))
        except (IntegrityError, ObjectMissingError) as error:
            dataset.delete([shard_key(result.digest, ".json")])
            raise IntegrityError(
                f"{error}; its result is withdrawn: run download_and_convert again, which makes this shard anew"
            ) from error
    import tensorflow as tf

    verdict = ShardVerdict(
        digest=result.digest,
        sha256=result.sha256,
        records=result.records,
        decoded=result.records,
        tensorflow=tf.__version__,
    )
    dataset.put(shard_key(result.digest, ".validated.json"), verdict.model_dump_json(indent=1).encode())
    _log.info("shard %s: %d records read back", result.digest[:12], result.records)


def check_shard(path: Path, result: ShardResult, *, name: str) -> None:
    """Check a shard's file against its result: hash, CRCs, count, ids, labels, and every image's decoded size.

    Args:
        path: the file, as it came from the store.
        result: what it should hold.
        name: of the file, for messages.

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
    ids = _decode_all(path, result, name)
    if ids != result.index.id:
        raise IntegrityError(f"{name}: {_first_difference(path, result)}")


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


def _decode_all(path: Path, result: ShardResult, name: str) -> list[str]:
    """Return the ids of all records, each decoded and compared with its features."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf

    spec = {
        "image/image": tf.io.FixedLenFeature([], tf.string),
        "image/label": tf.io.FixedLenFeature([], tf.float32),
        "image/id": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
    }

    def check(serialized: Any) -> Any:
        record = tf.io.parse_single_example(serialized, spec)
        image = record["image/image"]
        is_jpeg = tf.strings.substr(image, 0, 3) == b"\xff\xd8\xff"
        stated = tf.stack([record["image/height"], record["image/width"]])
        good = is_jpeg & tf.math.is_finite(record["image/label"])
        good = tf.cond(good, lambda: has_size(image, stated), lambda: False)
        return record["image/id"], tf.cond(good, lambda: has_pixels(image), lambda: False)

    def has_size(image: Any, stated: Any) -> Any:
        return tf.reduce_all(tf.io.extract_jpeg_shape(image, tf.int64)[:2] == stated)

    def has_pixels(image: Any) -> Any:
        # at 1/8 of the size all coded data is read, and the same files fail as at full size (docs/pixels.md)
        return tf.size(tf.io.decode_jpeg(image, channels=3, ratio=8, dct_method="INTEGER_ACCURATE")) > 0

    records = tf.data.TFRecordDataset(str(path)).map(check, num_parallel_calls=tf.data.AUTOTUNE).batch(256)
    ids: list[str] = []
    try:
        for batch, good in records.as_numpy_iterator():
            if not good.all():
                number = len(ids) + int(good.argmin())
                raise IntegrityError(
                    f"{name}: record {number}, id {result.index.id[number]!r}, is not a JPEG of the stated size with a finite label"
                )
            ids += [value.decode() for value in batch]
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
        raise IntegrityError(
            f"{name}: {_first_failure(path, result, check)}: {error.message.splitlines()[0]}"
        ) from error
    return ids


def _first_failure(path: Path, result: ShardResult, check: Callable[[Any], Any]) -> str:
    """Find the record that a parallel read failed on, one by one, and name it."""
    import tensorflow as tf

    with path.open("rb") as file:
        for number, record in enumerate(read_records(file)):
            try:
                check(tf.constant(record))
            except (tf.errors.InvalidArgumentError, tf.errors.DataLossError):
                named = result.index.id[number] if number < len(result.index.id) else "?"
                return f"record {number}, id {named!r}, cannot be read"
    return "a record cannot be read"
