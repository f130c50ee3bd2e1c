"""What the origin's post compares: FEED FOLDER PHOTOS EPOCHS [train].

FEED is `tensors` (its first script's files: whole photos as serialised uint8 tensors), `origin` (its second: JPEGs, its preprocess),
`ours` (`Dataset.tf`) or `cache` (the same, `cache="uint8"`).  `train` trains a small CNN on the batches; else they are only read.
Prints what each epoch took: seconds, CPU seconds, bytes that came from the disk.  `write SHARDS FOLDER` makes the files of tensors.

Source:
    M. Struble, Deep Learning Photo Aesthetics - Data Pipeline Optimization, 2020.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from measure import anonymous_bytes
from peers.read_origin import open_origin
from reading import BATCH, SIDE_PX

FEEDS: Final = ("tensors", "origin", "ours", "cache")
_PER_FILE: Final = 64  # photos, 57 MB


def write_tensors(shards: Path, folder: Path) -> None:
    """Write each photo as the origin's first script did: `tf.io.serialize_tensor` of the decoded photo, and the label."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from aesthetics_ops.dataset.example import decode_example
    from aesthetics_ops.dataset.tfrecord import read_records

    folder.mkdir(parents=True)
    writer, count = None, 0
    for shard in sorted(shards.glob("*.tfrecord")):
        with shard.open("rb") as file:
            for data in read_records(file):
                if count % _PER_FILE == 0:
                    if writer is not None:
                        writer.close()
                    writer = tf.io.TFRecordWriter(str(folder / f"{count:06d}.tfrecord"))
                record = decode_example(data)
                pixels = tf.io.serialize_tensor(tf.io.decode_jpeg(bytes(record.image), channels=3)).numpy()
                features = {
                    "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels])),
                    "label": tf.train.Feature(float_list=tf.train.FloatList(value=[record.label])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())  # type: ignore[union-attr]
                count += 1
    if writer is not None:
        writer.close()


def open_tensors(folder: str) -> Any:
    """Return batches of what is stored as tensors; the rest of the pipeline is the origin's."""
    import tensorflow as tf

    spec = {"image": tf.io.FixedLenFeature((), tf.string), "label": tf.io.FixedLenFeature((), tf.float32)}

    def preprocess(serialized: Any) -> Any:
        record = tf.io.parse_single_example(serialized, spec)
        pixels = tf.ensure_shape(tf.io.parse_tensor(record["image"], tf.uint8), [None, None, 3])
        return tf.image.resize(tf.image.convert_image_dtype(pixels, tf.float32), [SIDE_PX, SIDE_PX]), record["label"]

    files = sorted(map(str, Path(folder).glob("*.tfrecord")))
    records = tf.data.TFRecordDataset(files, num_parallel_reads=tf.data.AUTOTUNE)
    return records.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def open_feed(feed: str, folder: str) -> Any:
    """Return batches of one feed; each iteration is an epoch."""
    if feed in ("tensors", "origin"):
        return open_tensors(folder) if feed == "tensors" else open_origin(folder)
    from aesthetics_ops.readers.dataset import open_dataset
    from aesthetics_ops.readers.pixels import Pixels

    pixels = Pixels(SIDE_PX, "squash", "fine" if feed == "cache" else "fast")
    options: dict[str, Any] = {"cache": "uint8"} if feed == "cache" else {}
    return open_dataset(folder).tf("train", batch=BATCH, shuffle=True, seed=0, pixels=pixels, **options)


def trainer() -> Callable[[Any, Any], Any]:
    """Return a step of a small CNN: three strided convolutions."""
    import tensorflow as tf

    layers = [tf.keras.layers.Conv2D(width, 3, strides=4, activation="relu") for width in (8, 16, 32)]
    model = tf.keras.Sequential([*layers, tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Dense(1)])
    model.build((None, SIDE_PX, SIDE_PX, 3))
    optimizer = tf.keras.optimizers.SGD(0.001)

    def step(images: Any, labels: Any) -> Any:
        scale = 1 / 255 if images.dtype == tf.uint8 else 1.0
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(tf.cast(images, tf.float32) * scale)[:, 0] - labels))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    compiled: Callable[[Any, Any], Any] = tf.function(step, reduce_retracing=True)
    return compiled


def _from_disk() -> int:
    """Return the bytes that this process has had from a disk so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def run(feed: str, folder: str, photos: int, epochs: int, *, train: bool) -> dict[str, Any]:
    """Read some epochs, or train on them.

    Raises:
        SystemExit: an epoch brought another number of photos.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    batches = open_feed(feed, folder)
    step = trainer() if train else None
    costs = []
    for number in range(epochs):
        wall, cpu, disk, seen = time.monotonic(), time.process_time(), _from_disk(), 0
        for images, labels in batches:
            if step is not None:
                step(images, labels)
            seen += len(labels)
        if seen != photos:
            raise SystemExit(f"epoch {number} brought {seen} photos of {photos}")
        taken = {"wall_seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
        costs.append(taken | {"disk_bytes": _from_disk() - disk})
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.suffix in (".tfrecord", ".u8")]
    return {
        "photos": photos,
        "epochs": costs,
        "stored_bytes": sum(path.stat().st_blocks * 512 for path in files),
        "anonymous_bytes": anonymous_bytes(os.getpid()),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }


def main() -> int:
    """Do what is asked."""
    if sys.argv[1] == "write":
        write_tensors(Path(sys.argv[2]), Path(sys.argv[3]))
        return 0
    feed, folder, photos, epochs, *train = sys.argv[1:]
    print("\n" + json.dumps(run(feed, folder, int(photos), int(epochs), train=train == ["train"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
