"""Turn a converted, validated build into a version: account for every photo, pass the gates, flip LATEST.

Order: tables, manifest, then LATEST by compare-and-swap, so a reader sees the old version or the new one, whole.
Publishing ends as done, as refused (another build was first), or as unknown (the reply was lost and could not be read
back).  Running it again is safe in all three: the version's name depends on the build alone.
"""

import hashlib
import logging
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.example import FEATURES
from aesthetics_ops.dataset.latest import move_latest, read_latest
from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    SPLITS,
    BuildFile,
    VersionFile,
    build_key,
    version_key,
    version_name,
)
from aesthetics_ops.dataset.manifest import (
    Accounting,
    Manifest,
    Reuse,
    Source,
    Split,
    Validation,
    read_manifest,
)
from aesthetics_ops.dataset.tables import put_rows, read_parquet
from aesthetics_ops.errors import (
    IntegrityError,
    PublishConflictError,
    PublishUnknownError,
)
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.publishing.account import BuiltShard, account_shards, check_stored, partition_results
from aesthetics_ops.publishing.gates import pass_gates
from aesthetics_ops.publishing.near_duplicates import NearDuplicateGroups, group_records
from aesthetics_ops.publishing.statistics import image_statistics, label_statistics
from aesthetics_ops.publishing.tables import make_tables
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.card import render_card
from aesthetics_ops.report.croissant import render_croissant
from aesthetics_ops.report.page import render_report
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, Swap

__all__ = ["Published", "publish_build"]

_log = logging.getLogger(__name__)

_SOFTWARE: Final = (
    "aesthetics-ops", "numpy", "obstore", "opencv-python-headless", "pillow", "pillow-heif", "pyarrow", "simplejpeg",
)  # fmt: skip

# of the plan: the rest, distributions above all, is not looked at here
_PLAN_COLUMNS: Final = ("key", "etag", "size", "id", "split", "digest", "label", "reason", "detail")


@dataclass(frozen=True, slots=True)
class Published:
    """How publishing ended, when it did not raise.

    Attributes:
        is_new: False when the dataset already was what this build made, and nothing was written.
        manifest: of the version that LATEST names now.
        manifest_url: where it lies.
        report_url: the page that shows it to a person.
    """

    is_new: bool
    manifest: Manifest
    manifest_url: str
    report_url: str

    @property
    def summary(self) -> dict[str, Any]:
        """A few numbers for people and for the asset event, small enough to pass between tasks."""
        return {
            "published": self.is_new,
            "version": self.manifest.version,
            "parent": self.manifest.parent,
            "manifest": self.manifest_url,
            "report": self.report_url,
            "records": self.manifest.records,
            "rejected": self.manifest.accounting.rejected,
            "bytes": self.manifest.bytes,
            **self.manifest.reuse.model_dump(),
        }


def publish_build(build: Build, record: BuildPlan) -> Published:
    """Publish a build, unless the dataset already is what it made.

    Args:
        build: every partition of it converted and validated.
        record: its plan.

    Raises:
        InputMissingError: a partition is not converted or not validated; names it.
        IntegrityError: counts do not add up, or a shard is not in the store as its result says.
        GateError: a gate says no; names each with the measured value, the limit and examples.
        PublishConflictError: another build published since this one was planned.
        PublishUnknownError: the reply was lost, and LATEST could not be read back.
        ScratchSpaceError: the disk is full.
        StoreRefusedError, StoreUnavailableError: a store says no, or nothing.
    """
    with scratch_for() as scratch:
        return _publish(build, record, scratch)


def _publish(build: Build, record: BuildPlan, scratch: Path) -> Published:
    parent = read_manifest(build.dataset, record.parent) if record.parent else None
    made, lost = partition_results(build, record)
    build.dataset.download(build_key(build.id, BuildFile.ROWS), scratch / "plan.parquet")
    plan = pq.read_table(scratch / "plan.parquet", columns=list(_PLAN_COLUMNS), read_dictionary=["split", "digest"])
    shards, results = account_shards(build, plan, made, parent)
    fingerprint = hashlib.sha256("".join(f"{shard.split}:{shard.digest}\n" for shard in shards).encode()).hexdigest()
    if parent is not None and parent.fingerprint == fingerprint and _is_searched(parent, record.settings):
        _log.info("nothing changed: version %s already holds exactly this", parent.version)
        return _published(build.dataset, parent, is_new=False)
    records, rejects = make_tables(build, plan, made, lost, results, parent)
    near = _near_duplicates(build, record, records, parent)
    manifest = _manifest(build, record, shards, records, rejects, near, parent, fingerprint)
    latest = read_latest(build.dataset)
    if latest is not None and latest[0].version == manifest.version:
        _log.info("version %s is published already, by an earlier try", manifest.version)
        return _published(build.dataset, manifest, is_new=True)
    if (latest[1] if latest else None) != record.latest_etag:
        raise _conflict(build.dataset, manifest)
    check_stored(build.dataset, shards)
    del plan, results
    _write_version(
        build,
        manifest,
        parent,
        {VersionFile.RECORDS: records, VersionFile.REJECTS: rejects, VersionFile.NEAR_DUPLICATES: near.table},
        scratch,
    )
    _swap_latest(build.dataset, manifest, record)
    return _published(build.dataset, manifest, is_new=True)


def _published(dataset: Store, manifest: Manifest, *, is_new: bool) -> Published:
    urls = [dataset.url_of(version_key(manifest.version, name)) for name in (VersionFile.MANIFEST, VersionFile.REPORT)]
    return Published(is_new, manifest, *urls)


def _manifest(
    build: Build,
    record: BuildPlan,
    shards: list[BuiltShard],
    records: pa.Table,
    rejects: pa.Table,
    near: NearDuplicateGroups,
    parent: Manifest | None,
    fingerprint: str,
) -> Manifest:
    reasons = {row["values"]: row["counts"] for row in pc.value_counts(rejects["reason"]).to_pylist()}
    left_out = sum(count for reason, count in reasons.items() if reason != RejectReason.LABEL_WITHOUT_PHOTO)
    gates = pass_gates(record, records.num_rows, reasons, rejects, parent)
    inherited = {shard.digest for split in parent.splits.values() for shard in split.shards} if parent else set()
    written = [shard for shard in shards if shard.facts is not None]
    reused = sum(shard.digest in inherited for shard in written)
    low, high = record.label_range or (None, None)
    transforms = pc.value_counts(pc.list_flatten(records["transforms"])).to_pylist()
    try:
        return Manifest(
            dataset=build.dataset.url,
            version=version_name(record.created_at, fingerprint),
            parent=record.parent,
            created_at=record.created_at,
            source=Source(
                photos=record.settings.photos,
                listed=record.listed,
                bytes=record.listed_bytes,
                labels=record.settings.labels,
                labels_etag=record.labels_etag,
                label_rows=record.label_rows,
                inventory=record.inventory,
            ),
            settings=record.settings.model_dump(mode="json"),
            settings_digest=record.settings.digest,
            software={name: version(name) for name in _SOFTWARE} | {"python": platform.python_version()},
            features=FEATURES,
            accounting=Accounting(
                listed=record.listed,
                converted=records.num_rows,
                rejected=left_out,
                label_rows=record.label_rows,
                matched=record.label_rows - record.unmatched,
                unmatched=reasons.get(RejectReason.LABEL_WITHOUT_PHOTO, 0),
            ),
            rejects=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
            transforms={row["values"]: row["counts"] for row in sorted(transforms, key=lambda row: -row["counts"])},
            splits=_splits(written),
            labels=label_statistics(records["label"], record.settings.label_scale, low, high),
            images=image_statistics(records),
            reuse=Reuse(shards_total=len(written), shards_added=len(written) - reused, shards_reused=reused),
            near_duplicates=near.summary,
            gates=gates,
            validation=Validation(
                records=sum(shard.validation.records for shard in shards),
                decoded=sum(shard.validation.decoded for shard in shards),
            ),
            fingerprint=fingerprint,
        )
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))} {problem['msg']}" for problem in error.errors())
        raise IntegrityError(f"build {build.id!r} does not add up, so it is not published: {problems}") from error


def _is_searched(parent: Manifest, settings: BuildSettings) -> bool:
    """Whether the parent's near-duplicates are those that these settings ask for."""
    return bool(parent.settings["near_duplicate_distance"] == settings.near_duplicate_distance)


def _near_duplicates(
    build: Build, record: BuildPlan, records: pa.Table, parent: Manifest | None
) -> NearDuplicateGroups:
    """Return the near-duplicates among the version's records; the next plan puts each group into one split."""
    asked = record.settings.near_duplicate_distance
    before = None
    # groups that were found with a larger distance are looked for anew
    if parent is not None and asked is not None and (parent.settings["near_duplicate_distance"] or 0) <= asked:
        before = read_parquet(build.dataset, version_key(parent.version, VersionFile.NEAR_DUPLICATES))
    near = group_records(records, max_distance=asked, before=before)
    found = near.summary
    if found.max_distance != asked:
        _log.warning(
            "too many photos are alike within near_duplicate_distance %s, so %s was taken; lower the setting",
            asked, found.max_distance,
        )  # fmt: skip
    _log.info("%d groups of near-duplicates, %d span splits", found.groups, found.spanning_splits)
    return near


def _splits(shards: list[BuiltShard]) -> dict[str, Split]:
    splits = {}
    for name in SPLITS:
        facts = tuple(shard.facts for shard in shards if shard.split == name and shard.facts is not None)
        splits[name] = Split(
            records=sum(shard.records for shard in facts), bytes=sum(shard.bytes for shard in facts), shards=facts
        )
    return splits


def _write_version(
    build: Build, manifest: Manifest, parent: Manifest | None, tables: dict[VersionFile, pa.Table], scratch: Path
) -> None:
    """Write the version's own files, the manifest last; each table becomes `<name>.parquet`, the plan is the build's."""
    dataset = build.dataset
    report = render_report(
        manifest, parent, tables[VersionFile.RECORDS], tables[VersionFile.REJECTS], dataset=dataset, photos=build.photos
    )
    dataset.upload(version_key(manifest.version, VersionFile.PLAN), scratch / "plan.parquet")
    sha256 = {
        file: put_rows(dataset, version_key(manifest.version, file), table, scratch) for file, table in tables.items()
    }
    files = {
        VersionFile.REPORT: report.encode(),
        VersionFile.CARD: render_card(manifest).encode(),
        VersionFile.CROISSANT: render_croissant(manifest, records_sha256=sha256[VersionFile.RECORDS]).encode(),
        VersionFile.MANIFEST: manifest.encoded(),
    }
    for name, content in files.items():
        dataset.put(version_key(manifest.version, name), content)


def _swap_latest(dataset: Store, manifest: Manifest, record: BuildPlan) -> None:
    """Make LATEST name this version, or say which of the other two ends it was."""
    ending = move_latest(
        dataset, manifest.version, manifest.encoded(), expected_etag=record.latest_etag, compares=record.compares
    )
    match ending:
        case Swap.DONE:
            _log.info("published version %s: %d records", manifest.version, manifest.records)
        case Swap.REFUSED:
            raise _conflict(dataset, manifest)
        case Swap.UNKNOWN:
            raise PublishUnknownError(
                f"the reply to writing {dataset.url_of(LATEST_KEY)} was lost and it could not be read back; "
                f"run publish again: it looks for version {manifest.version!r} first"
            )


def _conflict(dataset: Store, manifest: Manifest) -> PublishConflictError:
    latest = read_latest(dataset)
    return PublishConflictError(
        f"{dataset.url_of(LATEST_KEY)} names version {latest[0].version if latest else None!r}, not {manifest.parent!r} as when "
        "this build was planned: another build published first; run this one again, finished shards are kept"
    )
