"""A shard is read back: what is counted is what was parsed and decoded."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.results import RecordIndex, ShardResult
from aesthetics_ops.dataset.tfrecord import ShardWriter
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.validation import shard
from aesthetics_ops.validation.shard import Counts, check_shard


def image(suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, np.full((8, 12, 3), 99, np.uint8))[1].tobytes()


def example(name: str, *, data: bytes | None = None, label: float = 0.5, width_px: int = 12) -> Example:
    return Example(image() if data is None else data, label, name, 8, width_px, None)


def write(path: Path, *examples: Example) -> ShardResult:
    """Write a shard, and say of it what conversion would."""
    index = RecordIndex()
    with ShardWriter(path) as writer:
        for each in examples:
            writer.write(each)
            index.id.append(each.id)
    return ShardResult(
        digest="d" * 64,
        photos=len(examples) + 1,
        records=len(examples),
        bytes=writer.bytes_written,
        sha256=writer.sha256,
        crc32c=writer.crc32c,
        converter_version=4,
        index=index,
        rejected=(),
    )


@pytest.fixture(params=["at once", "in batches"], autouse=True)
def _how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this holds of files that one call reads, and of large ones, which are read in batches."""
    if request.param == "in batches":
        monkeypatch.setattr(shard, "_AT_ONCE_BYTES", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shard.tfrecord"


@pytest.mark.parametrize("count", [0, 3, 300])
def test_every_record_of_a_good_shard_is_counted(path: Path, count: int) -> None:
    result = write(path, *(example(str(number)) for number in range(count)))
    assert check_shard(path, result, {}, name="the shard") == Counts(records=count, decoded=count)


@pytest.mark.parametrize(
    ("bad", "counts"),
    [
        (example("b", data=image(".png")), "of 4 records 4 have such labels and 3 such a JPEG"),
        (example("b", width_px=11), "of 4 records 4 have such labels and 3 such a JPEG"),
        (example("b", label=math.inf), "of 4 records 3 have such labels and 4 such a JPEG"),
    ],
    ids=["PNG", "width", "label"],
)
def test_a_bad_record_is_named_and_not_counted(path: Path, bad: Example, counts: str) -> None:
    result = write(path, example("a"), bad, example("c"), example("d"))
    with pytest.raises(IntegrityError) as caught:
        check_shard(path, result, {}, name="the shard")
    assert str(caught.value) == (
        f"the shard: record 1, id 'b', is not a JPEG of the stated size with finite labels; {counts}"
    )


def test_an_image_that_the_decoder_refuses_is_named(path: Path) -> None:
    result = write(path, example("a"), example("b", data=image()[:-200]), example("c"))
    with pytest.raises(IntegrityError, match="the shard: record 1, id 'b', cannot be read"):
        check_shard(path, result, {}, name="the shard")


def test_records_that_the_result_does_not_name_are_found(path: Path) -> None:
    result = write(path, example("a"), example("b"))
    result = result.model_copy(update={"index": RecordIndex(id=["a", "c"])})
    with pytest.raises(IntegrityError, match="the shard: record 1, id 'c', is that of 'b'"):
        check_shard(path, result, {}, name="the shard")
