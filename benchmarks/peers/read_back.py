"""Exports read back by the libraries that they are for: READER FOLDER EXPECTED.

READER is webdataset, datasets, croissant, tfds, mds or dali; a process of its own for each, since some do not get along.  EXPECTED is
a JSON file, by split an object of id to [label, sha256 of the JPEG, votes or null].  Prints how many records came out; exits with 1 where
one differs, is missing or is too many.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = tuple[str, float, bytes, Any]


def by_webdataset(folder: Path, split: str) -> Iterator[Row]:
    """Read by WebDataset, whose loader decodes nothing unless it is told to."""
    import webdataset

    tars = sorted(map(str, (folder / split).glob("*.tar")))
    assert json.loads((folder / split / "sizes.json").read_text()).keys() == {Path(tar).name for tar in tars}  # noqa: S101
    for sample in webdataset.WebDataset(tars, shardshuffle=False):
        found = json.loads(sample["json"])
        yield found["id"], found["label"], sample["jpg"], found.get("votes")


def by_datasets(folder: Path, split: str) -> Iterator[Row]:
    """Read by Hugging Face's datasets, which finds splits and the Image column by itself."""
    import datasets

    found = datasets.load_dataset("parquet", data_dir=str(folder), cache_dir=str(folder.with_name("cache")))[split]
    assert isinstance(found.features["image"], datasets.Image)  # noqa: S101
    assert all(row["image"].size == (row["width"], row["height"]) for row in found)  # noqa: S101
    for row in found.cast_column("image", datasets.Image(decode=False)):
        yield row["id"], row["label"], row["image"]["bytes"], row.get("votes")


def by_croissant(folder: Path, split: str) -> Iterator[Row]:
    """Read by mlcroissant, which gives pictures that still hold their file."""
    import mlcroissant

    for row in mlcroissant.Dataset(str(folder / "croissant.json")).records(split):
        found = {name.partition("/")[2]: value for name, value in row.items()}
        yield found["id"].decode(), found["label"], found["image"].fp.getvalue(), found.get("votes")


def by_tfds(folder: Path, split: str) -> Iterator[Row]:
    """Read by TensorFlow Datasets out of a pulled directory."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    assert all(row["image/image"].ndim == 3 for row in tfds.as_numpy(builder.as_dataset(split=split)))  # noqa: S101
    whole = {"image/image": tfds.decode.SkipDecoding()}
    for row in tfds.as_numpy(builder.as_dataset(split=split, decoders=whole)):
        votes = row["image/votes"].tolist() if "image/votes" in row else None
        yield row["image/id"].decode(), float(row["image/label"]), row["image/image"], votes


def by_mds(folder: Path, split: str) -> Iterator[Row]:
    """Read by MosaicML's StreamingDataset."""
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder), split=split, batch_size=1)
    for number in range(len(dataset)):
        row = dataset[number]
        votes = row["votes"].tolist() if "votes" in row else None
        yield row["id"], float(row["label"]), row["image"].fp.getvalue(), votes


def by_dali(folder: Path, split: str) -> Iterator[Row]:
    """Read by DALI's CPU reader of TFRecord files."""
    from nvidia.dali import fn, pipeline_def, tfrecord

    shards = sorted(map(str, folder.glob(f"{split}-*.tfrecord")))
    names = {"image/image": tfrecord.string, "image/id": tfrecord.string}
    features: dict[str, Any] = {name: tfrecord.FixedLenFeature((), kind, "") for name, kind in names.items()}
    features["image/label"] = tfrecord.FixedLenFeature([], tfrecord.float32, 0.0)
    manifest = json.loads((folder / "manifest.json").read_text())
    counts = manifest["features"].get("image/votes")
    features["image/votes"] = tfrecord.FixedLenFeature(counts["shape"] if counts else [1], tfrecord.int64, 0)

    def pipe() -> Any:
        found = fn.readers.tfrecord(
            path=shards, index_path=[f"{shard}.idx" for shard in shards], features=features, name="r"
        )
        return tuple(found[f"image/{name}"] for name in ("id", "label", "image", "votes"))

    built = pipeline_def(batch_size=1, num_threads=1, device_id=None)(pipe)()
    built.build()
    for _ in range(built.epoch_size("r")):
        photo, label, image, votes = (each.at(0) for each in built.run())
        yield photo.tobytes().decode(), float(label.item()), image.tobytes(), votes.tolist() if counts else None


READERS = {
    "webdataset": by_webdataset,
    "datasets": by_datasets,
    "croissant": by_croissant,
    "tfds": by_tfds,
    "mds": by_mds,
    "dali": by_dali,
}


def main() -> int:
    """Compare."""
    reader, folder, expected = sys.argv[1:]
    wanted = json.loads(Path(expected).read_text())
    count = 0
    for split, rows in wanted.items():
        found = [
            (photo, [label, hashlib.sha256(image).hexdigest(), votes])
            for photo, label, image, votes in READERS[reader](Path(folder), split)
        ]
        if len(found) != len(rows) or dict(found) != rows:
            wrong = [photo for photo, row in found if rows.get(photo) != row]
            print(
                f"{reader}: split {split}: {len(found)} records of {len(rows)}, {len(wrong)} of them differ: {wrong[:3]}"
            )
            return 1
        count += len(found)
    print(f"{reader}: {count} records, ids, labels, votes and JPEG bytes equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
