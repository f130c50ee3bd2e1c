"""Parquet as Hugging Face's `datasets` reads it: a column `image` that its users get as pictures.

In: records.  Out: Parquet files with `id`, `image` (bytes and no path), `label` and whatever else records have, and
`croissant.json`, by which Croissant's loaders read them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.dataset.croissant import CROISSANT, CROISSANT_CONTEXT, identifier
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.readers.exporting.container import Container, Field, Part, ShardRecords, WrittenFile

__all__ = ["Parquet"]

_GROUP_BYTES: Final = 8 << 20  # of JPEGs in a row group: what a reader has to hold for one row
_GROUP_ROWS: Final = 1_000
_JPEG: Final = "image.bytes"


class Parquet(Container):
    """Parquet files."""

    suffix = ".parquet"

    def beside_splits(
        self, manifest: Manifest, files: Mapping[str, Sequence[WrittenFile]], fields: tuple[Field, ...]
    ) -> Mapping[str, bytes]:
        """Return a Croissant document of the files, by which its loaders give records with pictures."""
        document = {
            "@context": CROISSANT_CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": CROISSANT,
            "name": f"{manifest.dataset.rstrip('/').rpartition('/')[2]}-parquet",
            "description": f"Photos with aesthetic scores, of version {manifest.version}, as Parquet.",
            "url": manifest.dataset,
            "identifier": manifest.version,
            "version": f"{manifest.created_at:%Y%m%d%H%M%S}.0.0",
            "datePublished": manifest.created_at.isoformat(),
            "license": "unknown",
            "creator": {"@type": "sc:Organization", "name": f"the owner of {manifest.dataset}"},
            "distribution": [_files_of(split) for split in files],
            "recordSet": [_record_set(split, fields) for split in files],
        }
        return {"croissant.json": (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()}

    def write(self, part: Part, records: ShardRecords) -> None:
        """Write one Parquet file, a row group at a time."""
        schema = _schema(records.fields)
        plain = [name for name in _leaves(schema) if name != _JPEG]
        options: dict[str, Any] = {
            "compression": {**dict.fromkeys(plain, "zstd"), _JPEG: "none"},
            "use_dictionary": False,
            "write_statistics": plain,
        }
        with pa.PythonFile(part, mode="w") as sink, pq.ParquetWriter(sink, schema, **options) as writer:
            rows: list[Example] = []
            size = 0
            for example in records.examples:
                rows.append(example)
                size += len(example.image)
                if size >= _GROUP_BYTES or len(rows) >= _GROUP_ROWS:
                    writer.write_table(_table(rows, records.fields, schema))
                    rows, size = [], 0
            if rows:
                writer.write_table(_table(rows, records.fields, schema))


def _files_of(split: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{split}-files",
        "name": f"{split}-files",
        "includes": f"{split}/*.parquet",
        "encodingFormat": "application/x-parquet",
    }


def _record_set(split: str, fields: tuple[Field, ...]) -> dict[str, Any]:
    kinds = {"id": "sc:Text", "image": "sc:ImageObject"}
    kinds |= {field.name: "sc:Float" if field.dtype == "float32" else "sc:Integer" for field in fields}
    lists = {field.name for field in fields if field.length is not None}
    found = []
    for name, kind in kinds.items():
        source: dict[str, Any] = {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": name}}
        if name == "image":
            source["transform"] = {"jsonPath": "bytes"}
        field: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{split}/{identifier(name)}",
            "name": name,
            "dataType": kind,
            "source": source,
        }
        found.append(field | ({"isArray": True, "arrayShape": "-1"} if name in lists else {}))
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "key": {"@id": f"{split}/id"}, "field": found}


def _schema(fields: tuple[Field, ...]) -> pa.Schema:
    image = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    columns = [pa.field("id", pa.string()), pa.field("image", image)]
    features: dict[str, Any] = {"id": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}}
    for field in fields:
        kind = {"float32": pa.float32(), "int64": pa.int64()}[field.dtype]
        columns.append(pa.field(field.name, kind if field.length is None else pa.list_(kind)))
        value = {"dtype": field.dtype, "_type": "Value"}
        listed = {"feature": value, "length": -1, "_type": "Sequence"}
        features[field.name] = value if field.length is None else listed
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the names of the columns as Parquet counts them."""
    names = []
    for field in schema:
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{child.name}" for child in field.type]
        else:
            names.append(f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name)
    return names


def _table(rows: Sequence[Example], fields: tuple[Field, ...], schema: pa.Schema) -> pa.Table:
    jpegs = pa.array([bytes(row.image) for row in rows], pa.binary())  # pyarrow 26 never lets go of a memoryview
    image = pa.StructArray.from_arrays(
        [jpegs, pa.nulls(len(rows), pa.string())], fields=list(schema.field("image").type)
    )
    columns = [pa.array([row.id for row in rows], pa.string()), image]
    columns += [pa.array([field.value(row) for row in rows], schema.field(field.name).type) for field in fields]
    return pa.table(columns, schema=schema)
