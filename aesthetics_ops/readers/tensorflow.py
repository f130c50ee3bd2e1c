"""The records of local shards as a tf.data.Dataset."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aesthetics_ops.machine import quiet_stderr
from aesthetics_ops.readers.dataset import Dataset

__all__ = ["read_tf", "tf_dataset"]


def read_tf(dataset: Dataset, split: str, *, directory: str | Path, parallel_files: int = 4) -> Any:
    """Pull a split and return it as a tf.data.Dataset: the reader "tf", as `Dataset.tf` describes it."""
    return tf_dataset(dataset.pull(directory, splits=[split]).files[split], parallel_files=parallel_files)


def tf_dataset(files: Sequence[Path], *, parallel_files: int = 4) -> Any:
    """Return a tf.data.Dataset of (image, label) over local shards, in an order that is the same every time.

    image: uint8, shape (height, width, 3), sRGB; gray photos have three equal channels.  label: float32, shape ().
    Decoding is INTEGER_ACCURATE: TensorFlow's default differs from every other decoder by up to 9 levels.

    Args:
        files: shards of one split.
        parallel_files: shards that are read at once, interleaved.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf

    spec = {"image/image": tf.io.FixedLenFeature([], tf.string), "image/label": tf.io.FixedLenFeature([], tf.float32)}

    def decode(serialized: Any) -> Any:
        record = tf.io.parse_single_example(serialized, spec)
        return tf.io.decode_jpeg(record["image/image"], channels=3, dct_method="INTEGER_ACCURATE"), record[
            "image/label"
        ]

    records = tf.data.Dataset.from_tensor_slices(tf.constant([str(path) for path in files], tf.string)).interleave(
        tf.data.TFRecordDataset, cycle_length=parallel_files, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
