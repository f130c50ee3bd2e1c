"""`croissant.json`: what a version says of itself to other tools, as JSON-LD.

In: the manifest.  Out: text.  Pure: equal input gives equal bytes.
Croissant knows no TFRecord, so the shards are files there, and `records.parquet` is what its loaders can read.

Source:
    MLCommons, Croissant Format Specification 1.1 (2026).
"""

import json
from typing import Any

import pyarrow as pa

from aesthetics_ops.dataset.croissant import CROISSANT, CROISSANT_CONTEXT, identifier
from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.tables import RECORDS, Column, record_columns
from aesthetics_ops.report.card import dataset_name
from aesthetics_ops.urls import split_urls

__all__ = ["render_croissant"]


def render_croissant(
    manifest: Manifest, *, records_sha256: str | None = None, schema: pa.Schema = RECORDS.schema
) -> str:
    """Return `croissant.json`, which lies beside the manifest: its URLs are relative to it.

    Args:
        manifest: of the version.
        records_sha256: of `records.parquet`, in hex; the specification asks for it, and some loaders insist.
        schema: of `records.parquet`.
    """
    document = {
        "@context": CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CROISSANT,
        "name": dataset_name(manifest),
        "description": (
            f"{manifest.records:,} photos with aesthetic scores, as JPEG in TFRecords. Version {manifest.version}. "
            "The record set is the index of the shards; the photos are in the TFRecord files."
        ),
        "url": manifest.dataset,
        "identifier": manifest.version,
        "version": f"{manifest.created_at:%Y%m%d%H%M%S}.0.0",  # any version may change any record
        "datePublished": manifest.created_at.isoformat(),
        "license": "unknown",
        "creator": {"@type": "sc:Organization", "name": f"the owner of {manifest.dataset}"},
        "keywords": ["aesthetics", "image quality", "photos", "TFRecord"],
        "prov:wasDerivedFrom": [{"@id": url} for url in (manifest.source.photos, *split_urls(manifest.source.labels))],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"aesthetics-ops {manifest.software.get('aesthetics-ops', '')}".rstrip(),
        },
        "distribution": [_index_file(records_sha256), *_shard_files(manifest)],
        "recordSet": [_splits(manifest), _records(schema)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _index_file(sha256: str | None) -> dict[str, Any]:
    index: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": "records.parquet",
        "name": "records.parquet",
        "description": "One row per record: where it is, its score and its source.",
        "contentUrl": "records.parquet",
        "encodingFormat": "application/x-parquet",
    }
    return index if sha256 is None else index | {"sha256": sha256}


def _shard_files(manifest: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": shard.path,
            "name": shard.path.rpartition("/")[2],
            "description": f"{split}, {shard.records:,} records",
            "contentUrl": f"../../{shard.path}",
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/x-tfrecord",
            "sha256": shard.sha256,
        }
        for split, content in manifest.splits.items()
        for shard in content.shards
    ]


def _splits(manifest: Manifest) -> dict[str, Any]:
    """Return the enumeration of the splits, with Croissant's own names for them."""
    kinds = dict(zip(SPLITS, ("cr:TrainingSplit", "cr:ValidationSplit", "cr:TestSplit"), strict=True))
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "The splits of the dataset.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": "sc:URL"},
        ],
        "data": [{"splits/name": name, "splits/url": kinds[name]} for name in manifest.splits],
    }


def _records(schema: pa.Schema) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "records",
        "name": "records",
        "description": "Every record of the version, in the order in which the shards hold them.",
        "key": {"@id": "records/id"},
        "field": [_field(column) for column in record_columns(schema)],
    }


def _field(column: Column) -> dict[str, Any]:
    is_list = pa.types.is_list(column.type)
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"records/{identifier(column.name)}",
        "name": column.name,
        "description": column.description,
        "dataType": _data_type(column.type.value_type if is_list else column.type),
        "source": {"fileObject": {"@id": "records.parquet"}, "extract": {"column": column.name}},
    }
    if is_list:
        field |= {"isArray": True, "arrayShape": "-1"}
    if column.name == "split":
        field["references"] = {"field": {"@id": "splits/name"}}
    return field


def _data_type(kind: pa.DataType) -> str:
    """Return Croissant's name for the type of a column's values."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
