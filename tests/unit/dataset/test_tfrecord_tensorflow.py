"""The wire format against TensorFlow's own code, both ways."""

import math
import struct

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.dataset.example import Example, decode_example, encode_example
from aesthetics_ops.dataset.tfrecord import ShardWriter, read_framed, read_records

int64s = st.integers(-(1 << 63), (1 << 63) - 1)
float32s = st.floats(width=32)
sides = int64s | st.integers(1, 65_500)
# lengths around which a length prefix grows by a byte
images = st.binary(max_size=300) | st.sampled_from([127, 128, 16_300, 16_383, 16_384, 70_000, (1 << 21) - 9]).map(bytes)
ids = st.text() | st.text(min_size=120, max_size=140)
distributions = st.none() | st.lists(float32s, min_size=2, max_size=12)
votes = st.none() | st.lists(int64s | st.integers(0, 300), min_size=2, max_size=12)
extra_scores = st.dictionaries(st.text(max_size=20), float32s, max_size=4)
examples = st.builds(
    Example, images, float32s, ids, sides, sides, distributions, votes, st.none() | float32s, extra_scores
)


def feature(values):
    match values[0]:
        case bytes():
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        case float():
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        case int():
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def features_of(example):
    features = {
        "image/width": [example.width_px],
        "image/image": [bytes(example.image)],
        "image/label": [float(example.label)],
        "image/id": [example.id.encode()],
        "image/height": [example.height_px],
    }
    if example.distribution is not None:
        features["image/distribution"] = list(map(float, example.distribution))
    if example.votes is not None:
        features["image/votes"] = list(example.votes)
    if example.label_std is not None:
        features["image/label_std"] = [float(example.label_std)]
    return features | {f"image/label/{name}": [float(score)] for name, score in example.extra_scores.items()}


def message(features):
    return tf.train.Example(
        features=tf.train.Features(feature={name: feature(values) for name, values in features.items()})
    )


def same(ours, theirs):
    """Equal, where a NaN equals the same NaN and 0.0 is not -0.0."""
    floats = [
        [*(one.distribution or ()), one.label, *(() if one.label_std is None else (one.label_std,)),
         *dict(sorted(one.extra_scores.items())).values()]
        for one in (ours, theirs)
    ]  # fmt: skip
    return (
        [struct.pack("<f", number) for number in floats[0]] == [struct.pack("<f", number) for number in floats[1]]
        and (ours.image, ours.id) == (theirs.image, theirs.id)
        and (ours.height_px, ours.width_px) == (theirs.height_px, theirs.width_px)
        and (ours.distribution is None) == (theirs.distribution is None)
        and (ours.label_std is None) == (theirs.label_std is None)
        and (ours.votes and list(ours.votes)) == (theirs.votes and list(theirs.votes))
        and ours.extra_scores.keys() == theirs.extra_scores.keys()
    )


@settings(deadline=None)
@given(examples)
def test_an_example_is_serialised_as_tensorflow_does_it(example):
    assert b"".join(encode_example(example)) == message(features_of(example)).SerializeToString(deterministic=True)


@settings(max_examples=30, deadline=None)
@given(st.lists(examples, max_size=4))
def test_a_file_is_byte_for_byte_tensorflows(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("files")
    with ShardWriter(folder / "ours") as shard:
        spans = [shard.write(example) for example in written]
    with tf.io.TFRecordWriter(str(folder / "theirs")) as writer:
        for example in written:
            writer.write(message(features_of(example)).SerializeToString(deterministic=True))
    content = (folder / "theirs").read_bytes()
    assert (folder / "ours").read_bytes() == content
    payloads = [record.numpy() for record in tf.data.TFRecordDataset(str(folder / "ours"))]
    with (folder / "theirs").open("rb") as file:
        assert list(read_records(file)) == payloads
    assert [read_framed(content[offset : offset + length]) for offset, length in spans] == payloads


def varint(number):
    number &= (1 << 64) - 1
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def list_field(values, packed):
    match values[0]:
        case bytes():
            return field(1, b"".join(field(1, item) for item in values))
        case float():
            numbers = [struct.pack("<f", item) for item in values]
            return field(2, field(1, b"".join(numbers)) if packed else b"".join(b"\x0d" + item for item in numbers))
        case int():
            numbers = [varint(item) for item in values]
            return field(3, field(1, b"".join(numbers)) if packed else b"".join(b"\x08" + item for item in numbers))


UNKNOWN = [b"", field(9, b"later"), b"\x4d" + bytes(4), b"\x51" + bytes(8), b"\x50\xff\x01"]
OTHER = {"image/mean": [1.5, 2.5], "image/tags": [b"a", b""], "image/days": [3, -4], "image/label": [7.0], "": [0]}


@settings(deadline=None)
@given(examples, st.data())
def test_whatever_order_packing_and_extras_tensorflow_accepts_is_decoded(example, data):
    """Any valid writing of a message is read: shuffled, unpacked, in several parts, with unknown fields."""
    entries = [(name, values) for name, values in features_of(example).items()]
    extras = data.draw(st.lists(st.sampled_from(list(OTHER.items())), max_size=2))
    written = []
    for name, values in extras + data.draw(st.permutations(entries)):  # of a name that is there twice the last counts
        value = list_field(values, data.draw(st.booleans())) + data.draw(st.sampled_from(UNKNOWN))
        entry = [field(1, name.encode()), field(2, value)]
        written.append(field(1, b"".join(data.draw(st.permutations(entry)))) + data.draw(st.sampled_from(UNKNOWN)))
    cut = data.draw(st.integers(0, len(written)))
    record = field(1, b"".join(written[:cut])) + data.draw(st.sampled_from(UNKNOWN)) + field(1, b"".join(written[cut:]))
    decoded = decode_example(record)
    assert same(decoded, example)
    theirs = tf.train.Example.FromString(record).features.feature
    assert theirs["image/id"].bytes_list.value[0].decode() == decoded.id
    assert theirs["image/width"].int64_list.value[:] == [decoded.width_px]


@settings(deadline=None)
@given(examples)
def test_what_tensorflow_serialises_is_decoded(example):
    assert same(decode_example(message(features_of(example)).SerializeToString()), example)


@settings(max_examples=30, deadline=None)
@given(examples)
def test_tensorflow_parses_what_is_written(example):
    shares, counts = len(example.distribution or (0.0, 0.0)), len(example.votes or (0, 0))
    parsed = tf.io.parse_single_example(
        b"".join(encode_example(example)),
        {
            "image/image": tf.io.FixedLenFeature([], tf.string),
            "image/label": tf.io.FixedLenFeature([], tf.float32),
            "image/id": tf.io.FixedLenFeature([], tf.string),
            "image/height": tf.io.FixedLenFeature([], tf.int64),
            "image/width": tf.io.FixedLenFeature([], tf.int64),
            "image/distribution": tf.io.FixedLenFeature([shares], tf.float32, [math.pi] * shares),
            "image/votes": tf.io.FixedLenFeature([counts], tf.int64, [0] * counts),
            "image/label_std": tf.io.FixedLenFeature([], tf.float32, 0.0),
            **{f"image/label/{name}": tf.io.FixedLenFeature([], tf.float32) for name in example.extra_scores},
        },
    )
    back = Example(
        parsed["image/image"].numpy(), float(parsed["image/label"]), parsed["image/id"].numpy().decode(),
        int(parsed["image/height"]), int(parsed["image/width"]),
        None if example.distribution is None else parsed["image/distribution"].numpy().tolist(),
        None if example.votes is None else parsed["image/votes"].numpy().tolist(),
        None if example.label_std is None else float(parsed["image/label_std"]),
        {name: float(parsed[f"image/label/{name}"]) for name in example.extra_scores},
    )  # fmt: skip
    assert same(back, example)


def origin_preprocess(record):
    """The origin's reader, as its authors wrote it: M. Struble, Data Pipeline Optimization, 2020."""
    parsed = tf.io.parse_single_example(
        record,
        {
            "image/image": tf.io.FixedLenFeature([], tf.string, default_value=""),
            "image/label": tf.io.FixedLenFeature([], tf.float32, default_value=-1.0),
        },
    )
    image = tf.io.decode_jpeg(parsed["image/image"], channels=3)
    image = tf.image.convert_image_dtype(image, tf.float32)
    return tf.image.resize(image, [224, 224]), parsed["image/label"]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_origins_preprocess_reads_a_shard_unchanged(tmp_path, channels):
    pixels = tf.cast(tf.random.stateless_uniform([60, 80, channels], (1, 2), 0, 256, tf.int32), tf.uint8)
    jpeg = tf.io.encode_jpeg(pixels).numpy()
    with ShardWriter(tmp_path / "shard") as shard:
        for label in (0.25, 6.5):
            shard.write(Example(jpeg, label, "a", 60, 80, [0.1] * 10, [1] * 10, 2.87, {"quality": 3.5}))
    batch = next(iter(tf.data.TFRecordDataset(str(tmp_path / "shard")).map(origin_preprocess).batch(2)))
    assert batch[0].shape == (2, 224, 224, 3)
    assert 0 <= float(tf.reduce_min(batch[0])) < float(tf.reduce_max(batch[0])) <= 1
    assert batch[1].numpy().tolist() == [0.25, 6.5]
    again = origin_preprocess(b"".join(encode_example(Example(memoryview(jpeg), 0.25, "a", 60, 80, None))))
    assert (again[0].numpy() == batch[0][0].numpy()).all()
