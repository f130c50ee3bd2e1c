"""The origin's preprocess, by tf.data, in this project's environment: SHARDS PHOTOS EPOCHS.

SHARDS is a folder of TFRecord files; PYTHONPATH has to name `benchmarks`.  Parse, `decode_jpeg`, all of it to float32 of 0 to 1,
then `tf.image.resize`, which does not antialias.
"""

import os
import sys
from pathlib import Path
from typing import Any

from reading import BATCH, SIDE_PX, read


def open_origin(folder: str) -> Any:
    """Return batches of what the origin does to each record.

    Source: M. Struble, Deep Learning Photo Aesthetics - Data Pipeline Optimization, 2020.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    spec = {
        "image/image": tf.io.FixedLenFeature((), tf.string, default_value=""),
        "image/label": tf.io.FixedLenFeature((), tf.float32, default_value=-1.0),
    }

    def preprocess(serialized: Any) -> Any:
        record = tf.io.parse_single_example(serialized, spec)
        image = tf.image.convert_image_dtype(tf.io.decode_jpeg(record["image/image"], channels=3), tf.float32)
        return tf.image.resize(image, [SIDE_PX, SIDE_PX]), record["image/label"]

    shards = sorted(map(str, Path(folder).glob("*.tfrecord")))
    records = tf.data.TFRecordDataset(shards, num_parallel_reads=tf.data.AUTOTUNE)
    return records.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def main() -> int:
    """Read with it."""
    folder, photos, epochs = sys.argv[1:]
    read(lambda: open_origin(folder), int(photos), int(epochs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
