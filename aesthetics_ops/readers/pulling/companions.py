"""What other tools want beside the shards of a pulled directory: DALI an index of each, TFDS two documents.

In: a manifest, its table of records.  Out: `SHARD.idx`, or `features.json` and `dataset_info.json`.
Promised: they are of the version that the directory holds.  They go before its shards go, and come after the new ones came.

Source:
    NVIDIA DALI, tools/tfrecord2idx: per record a line "offset size", of the framed record.
    TensorFlow Datasets 4.9, core/proto/dataset_info.proto and feature.proto, as `save_config` writes them.
"""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.example import EXTRA_SCORE, FEATURES
from aesthetics_ops.dataset.layout import PULLED_MANIFEST, pulled_shard_name, split_of_pulled_shard
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.errors import SettingsError

__all__ = ["COLUMNS", "TOOLS", "companions_of", "drop_companions", "refuse_foreign", "tools_in"]

TOOLS: Final = ("dali", "tfds")
COLUMNS: Final = ("split", "shard", "offset", "length")
"""Of the table of records, what an index is made of."""

_INDEX: Final = ".idx"
_INFO: Final = "dataset_info.json"
_FEATURES: Final = "features.json"
_MARK: Final = "in a directory that aesthetics-ops pulled"
_TFDS: Final = "tensorflow_datasets.core.features."


def tools_in(directory: Path) -> set[str]:
    """Return the tools that a pulled directory has been made ready for."""
    names = [path.name for path in directory.iterdir()]
    found = {"dali"} if any(_is_index(name) for name in names) else set()
    return found | ({"tfds"} if _INFO in names and _is_ours(directory) else set())


def refuse_foreign(directory: Path, tools: Collection[str]) -> None:
    """Refuse to replace the documents of a dataset that TFDS made.

    Raises:
        SettingsError: they are there.
    """
    if "tfds" not in tools or not directory.is_dir() or _is_ours(directory):
        return
    for name in (_INFO, _FEATURES):
        if (directory / name).exists():
            raise SettingsError(
                f"{str(directory / name)!r} is in the way, and no pull has made it; move it away, or name another directory"
            )


def drop_companions(directory: Path) -> None:
    """Delete what belongs to the version that the directory holds no longer."""
    names = {_INFO, _FEATURES} if _is_ours(directory) else set()
    for path in list(directory.iterdir()):
        if _is_index(path.name) or path.name in names:
            path.unlink()


def companions_of(
    manifest: Manifest, table: pa.Table, splits: Collection[str], tools: Collection[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file.

    Args:
        manifest: of the version.
        table: COLUMNS of records.parquet, all splits.
        splits: that the directory holds.
        tools: some of TOOLS.
    """
    for split in splits if "dali" in tools else ():
        rows = table.filter(pc.equal(table["split"], split))
        shards = manifest.splits[split].shards
        at = 0
        for number, shard in enumerate(shards):
            places = rows.slice(at, shard.records)
            at += shard.records
            pairs = zip(places["offset"].to_pylist(), places["length"].to_pylist(), strict=True)
            lines = "".join(f"{offset} {length}\n" for offset, length in pairs)
            yield pulled_shard_name(split, number, len(shards)) + _INDEX, lines.encode()
    if "tfds" in tools:
        yield _FEATURES, _encoded(_tfds_features(manifest))
        yield _INFO, _encoded(_tfds_info(manifest, splits))


def _is_index(name: str) -> bool:
    return name.endswith(_INDEX) and split_of_pulled_shard(name.removesuffix(_INDEX)) is not None


def _is_ours(directory: Path) -> bool:
    try:
        return _MARK in (directory / _INFO).read_text()
    except (OSError, ValueError):
        return False


def _encoded(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _tfds_info(manifest: Manifest, splits: Collection[str]) -> dict[str, Any]:
    name = manifest.dataset.rstrip("/").rpartition("/")[2]
    return {
        "name": "".join(letter if letter.isalnum() else "_" for letter in name.lower()) or "dataset",
        "version": "1.0.0",  # TFDS wants three numbers; the description names the version
        "description": f"Version {manifest.version} of {manifest.dataset}, {_MARK}; {PULLED_MANIFEST} is beside it.",
        "fileFormat": "tfrecord",
        "moduleName": "aesthetics_ops",
        "splits": [
            {
                "name": split,
                "filepathTemplate": "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}",
                "numBytes": str(manifest.splits[split].bytes),
                "shardLengths": [str(shard.records) for shard in manifest.splits[split].shards],
            }
            for split in splits
        ],
    }


def _tfds_features(manifest: Manifest) -> dict[str, Any]:
    """Return every feature under the name that it has in the records."""
    known = manifest.features
    names = [name for name in FEATURES if name in known and name != "image/distribution"]
    if manifest.source.ratings:
        names += [name for name in ("image/distribution", "image/label_std", "image/votes") if name in known]
    names += [name for name in known if name.startswith(EXTRA_SCORE)]
    features = {name: _tfds_feature(name, known[name]) for name in names}
    return {
        "pythonClassName": f"{_TFDS}features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }


def _tfds_feature(name: str, kind: dict[str, Any]) -> dict[str, Any]:
    if name == "image/image":
        shape = {"dimensions": ["-1", "-1", "3"]}
        image = {"shape": shape, "dtype": "uint8", "encodingFormat": "jpeg"}
        return {"pythonClassName": f"{_TFDS}image_feature.Image", "image": image}
    if kind["dtype"] == "bytes":
        return {"pythonClassName": f"{_TFDS}text_feature.Text", "text": {}}
    tensor = {"dtype": kind["dtype"], "encoding": "none"}
    if kind["shape"] == [1]:
        return {"pythonClassName": f"{_TFDS}scalar.Scalar", "tensor": tensor | {"shape": {}}}
    dimensions = [str(size) for size in kind["shape"]]
    return {
        "pythonClassName": f"{_TFDS}tensor_feature.Tensor",
        "tensor": tensor | {"shape": {"dimensions": dimensions}},
    }
