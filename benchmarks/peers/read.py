"""Peers that read training data: how a user of each would write and read the same photos.

    python read.py prepare PEER ROWS OUT
    python read.py read PEER {same,own} OUT PHOTOS EPOCHS

ROWS is a CSV file with the columns path and label.  `same` decodes as this project does; `own` as the peer's documents
do: Pillow, and its antialiased resize.  Torch's loaders have two workers, Grain two threads.  OUT may be a URL for LitData
(s3://) and WebDataset (http://).  Prints what `reading.read` says.  PYTHONPATH has to name `benchmarks` and the
project's folder.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from reading import BATCH, SIDE_PX, read

WORKERS = 2
SHARD_BYTES = 16_000_000
Rows = list[tuple[str, float]]
Decode = Callable[[bytes], Any]


def decoder(which: str) -> Decode:
    """Return what makes an array of a JPEG, (224, 224, 3), uint8."""
    if which == "own":
        return by_pillow
    from aesthetics_ops.readers.pixels import Pixels, decode

    pixels = Pixels(SIDE_PX, "squash", "fast")
    return lambda data: decode(data, pixels)


def by_pillow(data: bytes) -> Any:
    """Decode and resize as torchvision's users do."""
    from PIL import Image

    return scaled(Image.open(io.BytesIO(data)))


def scaled(picture: Any) -> Any:
    """Resize a Pillow image."""
    import numpy as np
    from PIL import Image

    return np.array(picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


def loader(dataset: Any, *, shuffle: bool | None) -> Any:
    """Return torch's loader as everybody sets it up."""
    from torch.utils.data import DataLoader

    return DataLoader(dataset, BATCH, shuffle=shuffle, num_workers=WORKERS, persistent_workers=True)


class Pairs:
    """Epochs of (image, label) where a loader gives something else."""

    def __init__(self, epochs: Iterable[Any], pair: Callable[[Any], tuple[Any, Any]]) -> None:
        self._epochs, self._pair = epochs, pair

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return map(self._pair, self._epochs)


class Datasets:
    """HF datasets: Parquet with an Image column, `set_transform`, torch's loader."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write."""
        from datasets import Dataset, Features, Image, Value

        columns = {"image": [{"bytes": Path(path).read_bytes(), "path": None} for path, _ in rows]}
        features = Features({"image": Image(), "label": Value("float32")})
        table = Dataset.from_dict(columns | {"label": [label for _, label in rows]}, features=features)
        table.to_parquet(out / "photos.parquet")

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open."""
        from datasets import Image, load_dataset

        os.environ["HF_HUB_OFFLINE"] = "1"
        dataset = load_dataset("parquet", data_files=f"{out}/photos.parquet", split="train", cache_dir=f"{out}/cache")
        decode = decoder(which)
        if which == "same":
            dataset = dataset.cast_column("image", Image(decode=False))

        def transform(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            images = [scaled(image) if which == "own" else decode(image["bytes"]) for image in batch["image"]]
            return {"image": images, "label": batch["label"]}

        dataset.set_transform(transform)
        return Pairs(loader(dataset, shuffle=True), lambda batch: (batch["image"], batch["label"]))


class Grain:
    """Grain over array_record, two threads."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write."""
        import struct

        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(str(out / "photos.array_record"), "group_size:1")
        for path, label in rows:
            writer.write(struct.pack("<f", label) + Path(path).read_bytes())
        writer.close()

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open."""
        import struct

        import grain
        import numpy as np

        decode = decoder(which)

        def one(data: bytes) -> tuple[Any, Any]:
            return decode(data[4:]), np.float32(struct.unpack_from("<f", data)[0])

        source = grain.sources.ArrayRecordDataSource(f"{out}/photos.array_record")
        dataset = grain.MapDataset.source(source).shuffle(seed=0).map(one)
        options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=2 * BATCH)
        return dataset.to_iter_dataset(options).batch(BATCH, drop_remainder=False)


class WebDataset:
    """WebDataset: tar files, shuffle buffer of 1,000, torch's loader."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write."""
        import webdataset as wds

        with wds.ShardWriter(
            f"{out}/%05d.tar",
            maxsize=min(SHARD_BYTES, sum(Path(path).stat().st_size for path, _ in rows) // 4),
            verbose=0,
        ) as sink:
            for number, (path, label) in enumerate(rows):
                sink.write({"__key__": f"{number:06}", "jpg": Path(path).read_bytes(), "cls.json": json.dumps(label)})
        (out / "shards").write_text(str(len(list(out.glob("*.tar")))))

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open."""
        import numpy as np
        import webdataset as wds

        count = int(os.environ.get("BENCH_SHARDS") or (Path(out) / "shards").read_text())
        decode = decoder(which)

        def sample(found: dict[str, bytes]) -> tuple[Any, Any]:
            return decode(found["jpg"]), np.float32(json.loads(found["cls.json"]))

        urls = [f"{out}/{number:05}.tar" for number in range(count)]
        dataset = wds.WebDataset(urls, shardshuffle=count, nodesplitter=None, seed=0).shuffle(1000).map(sample)
        batched = dataset.batched(BATCH, partial=True)
        return wds.WebLoader(batched, batch_size=None, num_workers=WORKERS, persistent_workers=True)


class LitData:
    """LitData: optimize(), StreamingDataset, StreamingDataLoader."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write."""
        from litdata import optimize

        optimize(fn=lit_item, inputs=rows, output_dir=str(out), num_workers=2, chunk_bytes="16MB")

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open."""
        from litdata import StreamingDataLoader, StreamingDataset
        from litdata.streaming import downloader

        decode = decoder(which)

        class Photos(StreamingDataset):  # type: ignore[misc, unused-ignore]
            def __getitem__(self, index: int) -> tuple[Any, Any]:
                item = super().__getitem__(index)
                return decode(item["image"]), item["label"]

        options: dict[str, Any] = {}
        if out.startswith("s3://"):
            keys = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_DEFAULT_REGION"}
            secrets = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
            options["storage_options"] = {name: os.environ[key] for name, key in (keys | secrets).items()}
            options["cache_dir"] = os.environ["BENCH_CACHE"]
            downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # which nobody else needs: loopback has no TLS
        dataset = Photos(out, shuffle=True, seed=0, **options)
        return StreamingDataLoader(dataset, batch_size=BATCH, num_workers=WORKERS, persistent_workers=True)


def lit_item(row: tuple[str, float]) -> dict[str, Any]:
    """Make one item of LitData's."""
    return {"image": Path(row[0]).read_bytes(), "label": row[1]}


class Mds:
    """MosaicML's streaming: MDS shards, StreamingDataset with its own shuffle, torch's loader."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write."""
        from streaming import MDSWriter

        columns = {"image": "bytes", "label": "float32"}
        with MDSWriter(out=str(out), columns=columns, size_limit=SHARD_BYTES) as writer:
            for path, label in rows:
                writer.write({"image": Path(path).read_bytes(), "label": label})

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open."""
        from streaming import StreamingDataset
        from streaming.base.util import clean_stale_shared_memory
        from torch.utils.data import DataLoader

        clean_stale_shared_memory()  # its documents: what a process that was killed leaves stops the next one
        decode = decoder(which)

        class Photos(StreamingDataset):  # type: ignore[misc, unused-ignore]
            def __getitem__(self, index: int) -> tuple[Any, Any]:
                item = super().__getitem__(index)
                return decode(item["image"]), item["label"]

        place: dict[str, Any] = {"local": out}
        if out.startswith("s3://"):
            os.environ["S3_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]
            place = {"remote": out, "local": os.environ["BENCH_CACHE"]}
        dataset = Photos(**place, shuffle=True, shuffle_seed=0, batch_size=BATCH)
        return DataLoader(dataset, BATCH, num_workers=WORKERS, persistent_workers=True)


class Files:
    """A folder of files and a list: torch's own Dataset."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write."""
        (out / "rows.json").write_text(json.dumps(rows))

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open."""
        from torch.utils.data import Dataset

        rows = json.loads((Path(out) / "rows.json").read_text())
        decode = decoder(which)

        class Photos(Dataset[Any]):
            def __len__(self) -> int:
                return len(rows)

            def __getitem__(self, index: int) -> tuple[Any, Any]:
                path, label = rows[index]
                return decode(Path(path).read_bytes()), label

        return loader(Photos(), shuffle=True)


class Dali:
    """DALI's CPU reader of TFRecord files, two threads; `own` antialiases, which is its default, and `same` does not."""

    @staticmethod
    def prepare(rows: Rows, out: Path) -> None:
        """Write nothing: it reads the project's shards."""

    @staticmethod
    def open(out: str, which: str) -> Any:
        """Open a folder of shards, with an index beside each."""
        import numpy as np
        from nvidia.dali import fn, pipeline_def, tfrecord, types

        shards = sorted(map(str, Path(out).glob("*.tfrecord")))
        indexes = [f"{shard}.index" for shard in shards]
        count = sum(len(Path(index).read_text().splitlines()) for index in indexes)
        features = {
            "image/image": tfrecord.FixedLenFeature((), tfrecord.string, ""),
            "image/label": tfrecord.FixedLenFeature([], tfrecord.float32, 0.0),
        }

        def pipe() -> Any:
            found = fn.readers.tfrecord(
                path=shards, index_path=indexes, features=features, random_shuffle=True, name="r"
            )
            images = fn.decoders.image(found["image/image"], device="cpu", output_type=types.RGB)
            size = {"size": (SIDE_PX, SIDE_PX), "interp_type": types.INTERP_LINEAR, "antialias": which == "own"}
            return fn.resize(images, **size), found["image/label"]

        built = pipeline_def(batch_size=BATCH, num_threads=WORKERS, device_id=None)(pipe)()
        built.build()

        class Epochs:
            def __iter__(self) -> Iterator[tuple[Any, Any]]:
                left = count
                while left > 0:
                    images, labels = (each.as_array() for each in built.run())
                    took = min(left, len(labels))
                    left -= took
                    yield np.asarray(images)[:took], labels[:took]

        return Epochs()


PEERS: dict[str, Any] = {
    "datasets": Datasets,
    "grain": Grain,
    "webdataset": WebDataset,
    "litdata": LitData,
    "mds": Mds,
    "files": Files,
    "dali": Dali,
}


def main() -> int:
    """Prepare a peer's files, or read them."""
    what, peer, *arguments = sys.argv[1:]
    if what == "prepare":
        rows, out = arguments
        with Path(rows).open() as file:
            inputs = [(row["path"], float(row["label"])) for row in csv.DictReader(file)]
        PEERS[peer].prepare(inputs, Path(out))
        return 0
    which, out, photos, epochs = arguments
    read(lambda: PEERS[peer].open(out, which), int(photos), int(epochs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
