"""The wire format by itself; what TensorFlow makes of it is in test_tfrecord_tensorflow.py."""

import contextlib
import hashlib
import io
import struct
import subprocess
import sys
import tracemalloc

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.dataset.example import FEATURES, Example, decode_example, encode_example
from aesthetics_ops.dataset.tfrecord import ShardWriter, read_framed, read_records
from aesthetics_ops.errors import IntegrityError

DISTRIBUTION = (0.0, 0.0, 0.0, 0.25, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0)
PLAIN = Example(b"\xff\xd8\xff\xd9", 5.5, "a", 2, 300, None)
VOTED = Example(b"\xff\xd8" + bytes(200) + b"\xff\xd9", 5.0, "953619", 480, 640, DISTRIBUTION)

# tf.io.TFRecordWriter's file with PLAIN's tf.train.Example, TensorFlow 2.21
GOLDEN_FILE = bytes.fromhex(
    "7500000000000000d7d941780a730a150a0c696d6167652f68656967687412051a030a01020a110a08696d6167652f69"
    "6412050a030a01610a170a0b696d6167652f696d61676512080a060a04ffd8ffd90a170a0b696d6167652f6c6162656c"
    "120812060a040000b0400a150a0b696d6167652f776964746812061a040a02ac0251e3a01d"
)  # fmt: skip

float32s = st.floats(width=32)
int64s = st.integers(-(1 << 63), (1 << 63) - 1)
examples = st.builds(
    Example, st.binary(max_size=300), float32s, st.text(), int64s, int64s,
    st.none() | st.tuples(*[st.floats(0, 1, width=32)] * 10),
)  # fmt: skip


def write(path, *written):
    with ShardWriter(path) as shard:
        return shard, [shard.write(example) for example in written]


def masked_crc(data):
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF)


def header(length):
    packed = struct.pack("<Q", length)
    return packed + masked_crc(packed)


def test_a_file_is_the_one_that_tensorflow_writes(tmp_path):
    write(tmp_path / "shard", PLAIN)
    assert (tmp_path / "shard").read_bytes() == GOLDEN_FILE


@settings(deadline=None)
@given(examples)
def test_an_example_comes_back_as_it_was(example):
    decoded = decode_example(b"".join(encode_example(example)))
    assert (decoded.image, decoded.id, decoded.height_px, decoded.width_px, decoded.distribution) == (
        example.image, example.id, example.height_px, example.width_px, example.distribution,
    )  # fmt: skip
    assert struct.pack("<f", decoded.label) == struct.pack("<f", example.label)


@pytest.mark.parametrize(
    "wrap", [memoryview, lambda image: memoryview(bytearray(image)), lambda image: memoryview(b"x" + image)[1:]]
)
def test_an_image_is_not_copied_and_may_be_any_view(tmp_path, wrap):
    view = wrap(VOTED.image)
    example = Example(
        view, *(getattr(VOTED, name) for name in ("label", "id", "height_px", "width_px", "distribution"))
    )
    assert encode_example(VOTED)[1] is VOTED.image
    image = encode_example(example)[1]
    assert isinstance(image, memoryview)
    assert image.obj is view.obj
    write(tmp_path / "bytes", VOTED)
    write(tmp_path / "view", example)
    assert (tmp_path / "view").read_bytes() == (tmp_path / "bytes").read_bytes()


def test_an_empty_view_is_written_as_an_empty_image(tmp_path):
    write(tmp_path / "shard", Example(memoryview(b""), 1.0, "a", 1, 1, None))
    with (tmp_path / "shard").open("rb") as file:
        assert decode_example(next(read_records(file))).image == b""


def test_spans_and_digests_are_those_of_the_file(tmp_path):
    shard, spans = write(tmp_path / "shard", PLAIN, VOTED, PLAIN)
    content = (tmp_path / "shard").read_bytes()
    assert (shard.records, shard.bytes_written) == (3, len(content))
    assert shard.sha256 == hashlib.sha256(content).hexdigest()
    assert shard.crc32c == google_crc32c.Checksum(content).hexdigest().decode()
    assert [offset for offset, _ in spans] == [0, spans[0].length, spans[0].length + spans[1].length]
    by_span = [read_framed(content[offset : offset + length]) for offset, length in spans]
    assert by_span == list(read_records(io.BytesIO(content)))
    assert [decode_example(record) for record in by_span] == [PLAIN, VOTED, PLAIN]


def test_an_empty_shard_has_no_records_and_the_digests_of_nothing(tmp_path):
    shard, _ = write(tmp_path / "shard")
    assert (shard.bytes_written, shard.crc32c, shard.sha256) == (0, "00000000", hashlib.sha256().hexdigest())
    with (tmp_path / "shard").open("rb") as file:
        assert list(read_records(file)) == []


def test_an_error_inside_the_block_closes_the_file(tmp_path):
    shard = ShardWriter(tmp_path / "shard")
    with pytest.raises(RuntimeError, match="stop"), shard:
        raise RuntimeError("stop")
    with pytest.raises(ValueError, match="closed"):
        shard.write(VOTED)


def test_a_reader_that_returns_little_at_a_time_is_read_to_its_end(tmp_path):
    class Slow(io.BytesIO):
        def read(self, count=-1):
            return super().read(min(count, 7))

    write(tmp_path / "shard", PLAIN, VOTED)
    assert len(list(read_records(Slow((tmp_path / "shard").read_bytes())))) == 2


@pytest.fixture(scope="module")
def two_records(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "shard"
    _, spans = write(path, PLAIN, PLAIN)
    return path.read_bytes(), spans


def test_every_changed_byte_is_detected_in_the_right_record(two_records):
    content, spans = two_records
    for place in range(len(content)):
        number = 0 if place < spans[1].offset else 1
        for flip in (1, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= flip
            with pytest.raises(IntegrityError, match=f"record {number} at byte {spans[number].offset} "):
                list(read_records(io.BytesIO(damaged)))


def test_every_truncation_inside_a_record_is_detected(two_records):
    content, spans = two_records
    for length in set(range(1, len(content))) - {spans[1].offset}:
        with pytest.raises(IntegrityError, match="ends after"):
            list(read_records(io.BytesIO(content[:length])))


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, 5), slice(0, -1), slice(1, None)])
def test_a_framed_record_must_be_whole(two_records, cut):
    content, spans = two_records
    with pytest.raises(IntegrityError, match="framed record"):
        read_framed(content[: spans[0].length][cut])
    with pytest.raises(IntegrityError, match=r"framed record has \d+ bytes, but declares"):
        read_framed(content)


def test_a_framed_record_with_a_changed_byte_is_refused(two_records):
    content, spans = two_records
    for place in range(spans[0].length):
        damaged = bytearray(content[: spans[0].length])
        damaged[place] ^= 1
        with pytest.raises(IntegrityError):
            read_framed(bytes(damaged))


@pytest.mark.parametrize("length", [(1 << 31) - 1, 1 << 31, (1 << 64) - 1])
def test_an_absurd_length_costs_no_memory(tmp_path, length):
    (tmp_path / "shard").write_bytes(header(length) + bytes(100))
    tracemalloc.start()
    with (tmp_path / "shard").open("rb") as file, pytest.raises(IntegrityError, match="record 0 at byte 0 "):
        list(read_records(file))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("ratings", [2, 5, 9, 11, 31, 32, 100])
def test_a_distribution_has_as_many_shares_as_there_are_ratings(ratings):
    shares = tuple(number / 128 for number in range(ratings))
    example = Example(b"x", 1.0, "a", 1, 1, shares)
    assert decode_example(b"".join(encode_example(example))) == example


@pytest.mark.parametrize("shares", [(), (1.0,)])
def test_a_distribution_needs_two_shares(shares):
    with pytest.raises(ValueError, match=f"distribution has {len(shares)} shares"):
        encode_example(Example(b"", 1.0, "a", 1, 1, shares))


def test_a_label_beyond_float32_is_an_error_not_an_infinity():
    with pytest.raises(OverflowError):
        encode_example(Example(b"", 1e39, "a", 1, 1, None))


def test_features_are_what_an_example_holds():
    encoded = b"".join(encode_example(VOTED))
    assert all(name.encode() in encoded for name in FEATURES)
    assert {name for name in FEATURES if name.encode() in b"".join(encode_example(PLAIN))} == set(FEATURES) - {
        "image/distribution"
    }


@pytest.mark.parametrize("name", [name for name in FEATURES if name != "image/distribution"])
def test_a_missing_feature_is_named(name):
    encoded = b"".join(encode_example(VOTED)).replace(name.encode(), name.upper().encode())
    with pytest.raises(IntegrityError, match=f"feature '{name}' is missing"):
        decode_example(encoded)


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        (b"image/height", b"image/label\x00", "missing"),
        (b"\x12\x06\x0a\x04\x00\x00\xa0\x40", b"\x0a\x06\x0a\x04\x00\x00\xa0\x40", "'image/label' .* type float32"),
        (b"\x12\x06\x0a\x04\x00\x00\xa0\x40", b"\x12\x06\x12\x04\x00\x00\xa0\x40", "'image/label' has 0 values"),
        (b"953619", b"95361\xff", "image/id is not UTF-8"),
        (b"\x0a\x28", b"\x0a\x27", "ends outside its message|not a field|number|not in use"),
    ],
)  # fmt: skip
def test_a_feature_of_another_kind_is_refused(found, instead, message):
    encoded = b"".join(encode_example(VOTED))
    assert encoded.count(found) == 1
    with pytest.raises(IntegrityError, match=message):
        decode_example(encoded.replace(found, instead))


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_arbitrary_bytes_are_not_an_example(data):
    with pytest.raises(IntegrityError):
        decode_example(data)


@settings(deadline=None)
@given(st.data())
def test_a_changed_message_is_read_or_refused_but_never_crashes(data):
    message = bytearray(b"".join(encode_example(data.draw(st.sampled_from([PLAIN, VOTED])))))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(IntegrityError):
        decode_example(bytes(message[: data.draw(st.integers(0, len(message)))]))


def test_the_module_does_not_import_tensorflow():
    code = "import sys, aesthetics_ops.dataset.tfrecord; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
