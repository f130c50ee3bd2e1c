"""MDS, the shards of MosaicML's `streaming`, without its library.

In: records.  Out: `.mds` files, and the `index.json` of each split.
One file: number of records n (uint32), n + 1 offsets (uint32) of the records in the file, the columns as JSON, the records.
One record: the sizes (uint32) of its values of no fixed size, then all values, in order of the columns' names.

Source:
    mosaicml-streaming 0.13, streaming/base/format/mds/{writer,reader,encodings}.py.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from aesthetics_ops.dataset.example import Example
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.readers.exporting.container import Container, Field, Part, ShardRecords, WrittenFile

__all__ = ["Mds"]

_ID: Final = "id"
_IMAGE: Final = "image"


class Mds(Container):
    """MDS files."""

    suffix = ".mds"
    most_bytes = (1 << 32) - 1

    def write(self, part: Part, records: ShardRecords) -> None:
        """Write one file; what stands before the records tells of all of them, so their sizes are known before they are read."""
        columns = _columns(records.fields)
        config = json.dumps(_config(columns), sort_keys=True).encode()
        fixed = sum(size or 0 for _, _, size in columns)
        heads = 4 * sum(size is None for _, _, size in columns)
        sizes = [
            heads + fixed + len(photo.encode()) + jpeg
            for photo, jpeg in zip(records.ids, records.jpeg_bytes, strict=True)
        ]
        offsets = np.cumsum([0, *sizes], dtype=np.int64) + 4 + 4 * (len(sizes) + 1) + len(config)
        part.write(np.uint32(len(sizes)).tobytes() + offsets.astype(np.uint32).tobytes() + config)
        for number, example in enumerate(records.examples):
            for piece in _pieces(example, columns, records.fields):
                part.write(piece)
            if part.size != offsets[number + 1]:
                raise IntegrityError(
                    f"record {number}, id {example.id!r}, has a JPEG of {len(example.image):,} bytes, and records.parquet states "
                    f"{records.jpeg_bytes[number]:,}; run verify"
                )

    def beside_split(self, files: Sequence[WrittenFile], fields: tuple[Field, ...]) -> Mapping[str, bytes]:
        """Return the index of a split's files."""
        shards = [
            _config(_columns(fields))
            | {
                "raw_data": {
                    "basename": file.path.rpartition("/")[2],
                    "bytes": file.bytes,
                    "hashes": {},
                },
                "samples": file.records,
                "zip_data": None,
            }
            for file in files
        ]
        return {"index.json": json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode()}


def _columns(fields: tuple[Field, ...]) -> list[tuple[str, str, int | None]]:
    """Return name, encoding and fixed size of each column, in order of the names."""
    columns: list[tuple[str, str, int | None]] = [(_ID, "str", None), (_IMAGE, "jpeg", None)]
    for field in fields:
        size = np.dtype(field.dtype).itemsize
        if field.length is None:
            columns.append((field.name, field.dtype, size))
        else:
            columns.append((field.name, f"ndarray:{field.dtype}:{field.length}", size * field.length))
    return sorted(columns)


def _config(columns: Sequence[tuple[str, str, int | None]]) -> dict[str, Any]:
    names, encodings, sizes = map(list, zip(*columns, strict=True))
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": None,
        "column_names": names,
        "column_encodings": encodings,
        "column_sizes": sizes,
    }


def _pieces(
    example: Example, columns: Sequence[tuple[str, str, int | None]], fields: tuple[Field, ...]
) -> list[bytes | memoryview]:
    """Return a record in parts, so that the photo is not copied."""
    values: dict[str, bytes | memoryview] = {_ID: example.id.encode(), _IMAGE: example.image}
    values |= {field.name: np.asarray(field.value(example), field.dtype).tobytes() for field in fields}
    lengths = [len(values[name]) for name, _, size in columns if size is None]
    return [np.array(lengths, np.uint32).tobytes(), *(values[name] for name, _, _ in columns)]
