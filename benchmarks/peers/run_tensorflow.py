"""The script that one writes first: OpenCV and TensorFlow in one process.  ROWS OUT reencode."""

import csv
import json
import sys
from pathlib import Path

import cv2
import tensorflow as tf


def main() -> None:
    """Write every row's photo, encoded anew, and its score into one file."""
    rows, out, _ = sys.argv[1:]
    Path(out).mkdir(parents=True)
    written = 0
    with tf.io.TFRecordWriter(f"{out}/photos.tfrecord") as writer, Path(rows).open() as file:
        for row in csv.DictReader(file):
            pixels = cv2.imread(row["path"])
            if pixels is None:
                raise SystemExit(f"{row['path']} cannot be decoded")
            image = cv2.imencode(".jpg", pixels)[1].tobytes()
            features = {
                "image/image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
                "image/label": tf.train.Feature(float_list=tf.train.FloatList(value=[float(row["label"])])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
            written += 1
    print("\n" + json.dumps({"photos": written}))


if __name__ == "__main__":
    main()
