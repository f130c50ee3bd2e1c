"""Read a version whole and compare it with what it says of itself."""

import hashlib
import logging
from pathlib import Path

import pyarrow.compute as pc

from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest, Shard, read_manifest
from aesthetics_ops.dataset.tables import read_parquet
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.store import Store

__all__ = ["verify_version"]

_log = logging.getLogger(__name__)


def verify_version(dataset: Store, version: str | None = None) -> Manifest:
    """Read a version whole and compare it with what it says of itself.

    Every shard's size, sha256 and CRCs, every record's framing and id, and the sidecars' counts are checked.  Images
    are not decoded again: their bytes are those that were, when the version was validated.

    Raises:
        NoSuchVersionError: there is no such version.
        IntegrityError: names what differs.
    """
    manifest = read_manifest(dataset, version)
    try:
        records = read_parquet(dataset, version_key(manifest.version, VersionFile.RECORDS))
        rejects = read_parquet(dataset, version_key(manifest.version, VersionFile.REJECTS))
        planned = read_parquet(dataset, version_key(manifest.version, VersionFile.PLAN)).num_rows
    except ObjectMissingError as error:
        raise IntegrityError(f"version {manifest.version!r} is incomplete: {error}") from error
    left_out = sum(manifest.rejects.values())
    if (records.num_rows, rejects.num_rows, planned) != (manifest.records, left_out, manifest.source.listed):
        raise IntegrityError(
            f"version {manifest.version!r} lists {records.num_rows} records, {rejects.num_rows} rejects and {planned} photos, "
            f"its manifest {manifest.records}, {left_out} and {manifest.source.listed}"
        )
    with scratch_for() as scratch:
        for split in manifest.splits.values():
            for shard in split.shards:
                expected = records.filter(pc.equal(records["shard"], shard.path))["id"].to_pylist()
                _verify_shard(dataset, shard, expected, scratch / "shard.tfrecord")
    return manifest


def _verify_shard(dataset: Store, shard: Shard, ids: list[str], path: Path) -> None:
    name = dataset.url_of(shard.path)
    try:
        dataset.download(shard.path, path)
    except ObjectMissingError as error:
        raise IntegrityError(f"shard {name} is missing; {_repair(dataset, shard)}") from error
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != shard.sha256:
            raise IntegrityError(
                f"shard {name} has sha256 {sha256}, its manifest says {shard.sha256}; {_repair(dataset, shard)}"
            )
        file.seek(0)
        found = [decode_example(record).id for record in read_records(file)]
    if found != ids:
        raise IntegrityError(f"shard {name} holds {len(found)} records that are not the {len(ids)} of records.parquet")
    _log.info("shard %s: %d records, as the manifest says", shard.digest[:12], len(found))


def _repair(dataset: Store, shard: Shard) -> str:
    return (
        f"to make it anew delete {dataset.url_of(shard_key(shard.digest, ShardFile.RESULT))} and the .validated.json beside it, "
        "then build again while its photos are there unchanged, or roll back"
    )
