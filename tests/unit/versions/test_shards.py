"""A shard is compared with its rows byte by byte; what is written in another way is parsed, and what differs is named."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.dataset.example import Example, encode_example
from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.dataset.tfrecord import FRAME_BYTES, RecordSpan, ShardWriter, frame_example, image_if_framed
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.pixels.jpeg_header import read_jpeg_codings, read_jpeg_header
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import AlteringStore
from aesthetics_ops.versions import shards
from aesthetics_ops.versions.shards import verify_shard

JPEG = cv2.imencode(".jpg", np.full((8, 16, 3), 90, np.uint8))[1].tobytes()
PROGRESSIVE = cv2.imencode(".jpg", np.full((8, 16, 3), 90, np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
WITH_RESTARTS = cv2.imencode(".jpg", NOISE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
JPEGS = [JPEG, PROGRESSIVE, WITH_RESTARTS]
PLAIN = Example(JPEG, 5.5, "a", 8, 16, None)
VOTED = Example(JPEG, 0.1, "é", 8, 16, (0.25, 0.75), (1, 3), 0.4330127, {"b": 1.5, "ab": -0.1})
_names = iter(range(1000))


def row_of(example: Example, offset: int) -> dict[str, Any]:
    floats = {name: float(np.float32(score)) for name, score in example.extra_scores.items()}
    framed = frame_example(example)
    return {
        "id": example.id, "offset": offset, "length": framed.length, "label": float(np.float32(example.label)),
        "width": 16, "height": 8, "bytes": len(example.image), "progressive": False, "sampling": "4:2:0",
        "distribution": None if example.distribution is None else list(example.distribution),
        "votes": None if example.votes is None else list(example.votes),
        "label_std": None if example.label_std is None else float(np.float32(example.label_std)),
        "label/b": floats.get("b"), "label/ab": floats.get("ab"),
    }  # fmt: skip


def stored(data: bytes) -> tuple[Store, Shard]:
    key = shard_key("0" * 64, ShardFile.RECORDS)
    store = open_store(f"memory://verified{next(_names)}/d/")
    store.put(key, data)
    sha256, crc = hashlib.sha256(data).hexdigest(), f"{google_crc32c.value(data):08x}"
    return store, Shard(path=key, records=2, bytes=len(data), sha256=sha256, crc32c=crc)


def written(folder: Path, *examples: Example) -> tuple[bytes, dict[str, list[Any]]]:
    """A shard's bytes, and its rows by column."""
    with ShardWriter(folder / "written") as shard:
        rows = [row_of(example, shard.write(example).offset) for example in examples]
    return (folder / "written").read_bytes(), {name: [row[name] for row in rows] for name in rows[0]}


def parses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(record: bytes) -> Example:
        raise AssertionError(f"a record of {len(record)} bytes is parsed")

    monkeypatch.setattr(shards, "decode_example", refuse)


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_what_our_writer_wrote_is_right_and_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(shards, "_IN_MEMORY", limit)
    parses_nothing(monkeypatch)
    data, rows = written(tmp_path, PLAIN, VOTED)
    verify_shard(*stored(data), rows, tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("limit", [0, 1 << 20])
@pytest.mark.parametrize("more", [-1, 1, 5 << 20, None], ids=["less", "one more", "much more", "nothing"])
def test_a_shard_of_another_size_is_named_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, more: int | None
) -> None:
    monkeypatch.setattr(shards, "_IN_MEMORY", limit)
    data, rows = written(tmp_path, PLAIN, VOTED)
    store, shard = stored(data)
    other = b"" if more is None else data[:more] if more < 0 else data + bytes(more)
    store.put(shard.path, other)
    taken: list[int] = []

    def note(method: str, key: str, found: bytes) -> bytes:
        taken.append(len(found) if method != "download" else 0)
        return found

    with pytest.raises(
        IntegrityError, match=f"has {len(other)} bytes and sha256 {hashlib.sha256(other).hexdigest()}, its manifest"
    ):
        verify_shard(AlteringStore(store, note), shard, rows, tmp_path / "scratch")
    assert max(taken) <= shard.bytes + 1
    assert not (tmp_path / "scratch").exists()


def test_rows_of_earlier_releases_lack_columns_and_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, rows = written(tmp_path, PLAIN, PLAIN)
    parses_nothing(monkeypatch)
    verify_shard(*stored(data), rows | {"progressive": [None, None], "sampling": [None, None]}, tmp_path / "s")
    del rows["progressive"], rows["sampling"], rows["votes"], rows["label/ab"]
    verify_shard(*stored(data), rows, tmp_path / "s")


def test_records_of_another_writer_are_parsed_and_right(tmp_path: Path) -> None:
    """Protobuf allows any order of features: here the record's map entries stand backwards."""
    _, rows = written(tmp_path, PLAIN)
    content = b"".join(encode_example(PLAIN))[3:]  # after the length of all of them
    entries = []
    while content:
        size = content[1] + 2 if content[1] < 0x80 else (content[1] & 0x7F | content[2] << 7) + 3
        entries.append(content[:size])
        content = content[size:]
    message = b"".join(reversed(entries))
    size = len(message)
    message = b"\x0a" + bytes((size & 0x7F | 0x80, size >> 7)) + message
    whole = frame_example(PLAIN)
    head = whole.parts[0][:12]  # of the same length, so the same header
    crc = google_crc32c.value(message)
    masked = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
    data = head + message + masked.to_bytes(4, "little")
    assert len(data) == whole.length == len(message) + FRAME_BYTES
    assert data != b"".join(whole.parts)
    verify_shard(*stored(data), rows, tmp_path / "s")
    with pytest.raises(IntegrityError, match=r"has label 5\.5, and records\.parquet says 5\.25"):
        verify_shard(*stored(data), rows | {"label": [5.25]}, tmp_path / "s")


CHANGES: dict[str, Callable[[Any], Any]] = {
    "id": lambda value: f"{value}x",
    "sampling": lambda value: "gray",
    "progressive": lambda value: not value,
    "distribution": lambda value: [0.5, 0.5],
    "votes": lambda value: [3, 1],
}


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_every_field_of_every_row_is_compared_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(shards, "_IN_MEMORY", limit)
    data, rows = written(tmp_path, PLAIN, VOTED, VOTED)
    for name, values in rows.items():
        for number in (1, 2):
            changed = CHANGES.get(name, lambda value: value + 1)(values[number])
            with pytest.raises(IntegrityError, match=f"record {number}, .* has {name} "):
                verify_shard(
                    *stored(data), rows | {name: [*values[:number], changed, *values[number + 1 :]]}, tmp_path / "s"
                )


def test_a_length_that_is_no_length_is_named_too(tmp_path: Path) -> None:
    data, rows = written(tmp_path, PLAIN, PLAIN)
    for field, false in (("length", -1), ("length", 1 << 60), ("bytes", -5), ("offset", -1), ("label", None)):
        with pytest.raises(IntegrityError, match=f"record 0, id 'a', has {field} "):
            verify_shard(*stored(data), rows | {field: [false, rows[field][1]]}, tmp_path / "s")


def test_records_that_no_row_names_are_found(tmp_path: Path) -> None:
    data, rows = written(tmp_path, PLAIN, PLAIN)
    with pytest.raises(IntegrityError, match=r"holds 2 records, and records\.parquet lists 1"):
        verify_shard(*stored(data), {name: values[:1] for name, values in rows.items()}, tmp_path / "s")


def test_bytes_that_no_sum_tells_of_are_found(tmp_path: Path) -> None:
    """The manifest was made anew for them."""
    data, rows = written(tmp_path, PLAIN, PLAIN)
    for at in range(0, len(data), 7):
        changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
        with pytest.raises(IntegrityError):
            verify_shard(*stored(changed), rows, tmp_path / "s")


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(1, 255))
def test_a_framed_record_is_equal_or_it_is_not(image: bytes, at: int, flipped: int) -> None:
    example = replace(VOTED, image=image)
    record = bytearray(b"".join(frame_example(example).parts))
    found = image_if_framed(b"before" + record, RecordSpan(6, len(record)), replace(example, image=b""), len(image))
    assert found is not None
    assert (b"before" + record)[found] == image
    record[at % len(record)] ^= flipped
    assert image_if_framed(bytes(record), RecordSpan(0, len(record)), example, len(image)) is None
    record[at % len(record)] ^= flipped
    for length in (len(record) - 1, len(record) + 1):
        assert image_if_framed(bytes(record) + b"x", RecordSpan(0, length), example, len(image)) is None
    assert image_if_framed(bytes(record)[:-1], RecordSpan(0, len(record)), example, len(image)) is None


def test_an_example_that_nobody_can_write_is_no_record() -> None:
    record = b"".join(frame_example(PLAIN).parts)
    span = RecordSpan(0, len(record))
    assert image_if_framed(record, span, replace(PLAIN, distribution=(1.0,)), len(JPEG)) is None
    assert image_if_framed(record, span, replace(PLAIN, label=1e39), len(JPEG)) is None


@given(st.sampled_from(JPEGS), st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 10_000))
def test_the_coding_is_that_of_the_whole_header(jpeg: bytes, at: int, other: int, length: int) -> None:
    """Also of files that lie in one buffer, whatever stands before and after each."""
    damaged = bytearray(jpeg)
    damaged[2 + at % (len(jpeg) - 2)] = other
    files = [jpeg, bytes(damaged), jpeg[: 2 + length % len(jpeg)], *JPEGS, b"", b"\xff"]
    ends = list(accumulate(map(len, files), initial=0))
    found = read_jpeg_codings(b"".join(files), [slice(*ends[number : number + 2]) for number in range(len(files))])
    for data, coding in zip(files, found, strict=True):
        header = read_jpeg_header(data)
        assert coding == (header.progressive, header.frame.sampling)
