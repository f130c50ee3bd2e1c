"""Turn a converted, validated build into a version: account for every photo, pass the gates, flip LATEST.

Order: sidecars, manifest, then LATEST by compare-and-swap, so a reader sees the old version or the new one, whole.
Publishing ends as done, as refused (another build was first), or as unknown (the reply was lost and could not be read
back).  Running it again is safe in all three: the version's name depends on the build alone.
"""

import hashlib
import logging
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from aesthetics_ops.build import Build, BuildRecord, LostPhoto, put_rows, read_parquet
from aesthetics_ops.card import render_card, render_croissant
from aesthetics_ops.conversion import read_shard_result
from aesthetics_ops.duplicates import NearDuplicateGroups, group_records
from aesthetics_ops.errors import (
    GateError,
    InputMissingError,
    IntegrityError,
    PublishConflictError,
    PublishUnknownError,
)
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.manifest import (
    LATEST_KEY,
    SPLITS,
    Accounting,
    GateResult,
    Images,
    Labels,
    LatestPointer,
    Manifest,
    Reuse,
    Shard,
    Source,
    Split,
    Validation,
    read_latest,
    read_manifest,
    shard_key,
    version_key,
)
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report import render_report
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sidecars import ShardRows, make_sidecars, rows_of
from aesthetics_ops.store import Store, Swap
from aesthetics_ops.tfrecord import FEATURES
from aesthetics_ops.validation import read_verdict

__all__ = ["Published", "publish_build"]

# Left out on purpose or for nothing to be mended: these do not count against max_reject_fraction.
_EXPECTED_REJECTS: Final = (
    RejectReason.NOT_A_PHOTO,
    RejectReason.UNLABELLED,
    RejectReason.EXCLUDED,
    RejectReason.DUPLICATE_PHOTO,
    RejectReason.LABEL_WITHOUT_PHOTO,
)
_QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_SOFTWARE: Final = (
    "aesthetics-ops", "numpy", "obstore", "opencv-python-headless", "pillow", "pillow-heif", "pyarrow", "simplejpeg",
)  # fmt: skip
_READS: Final = 16
# of the plan: the rest, distributions above all, is not looked at here
_PLAN_COLUMNS: Final = ("key", "etag", "size", "id", "split", "digest", "label", "reason", "detail")
_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard of the version to be, in reading order; `facts` is None for one without records."""

    split: str
    digest: str
    facts: Shard | None


def publish_build(build: Build, record: BuildRecord) -> Published:
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


def _publish(build: Build, record: BuildRecord, scratch: Path) -> Published:
    parent = read_manifest(build.dataset, record.parent) if record.parent else None
    made, lost = _partition_results(build, record)
    build.dataset.download(build.key("plan.parquet"), scratch / "plan.parquet")
    plan = pq.read_table(scratch / "plan.parquet", columns=list(_PLAN_COLUMNS), read_dictionary=["split", "digest"])
    shards, results = _shards(build, plan, made, parent)
    fingerprint = hashlib.sha256("".join(f"{shard.split}:{shard.digest}\n" for shard in shards).encode()).hexdigest()
    if parent is not None and parent.fingerprint == fingerprint and _is_searched(parent, record.settings):
        _log.info("nothing changed: version %s already holds exactly this", parent.version)
        return _published(build.dataset, parent, is_new=False)
    records, rejects = make_sidecars(build, plan, made, lost, results, parent)
    near = _near_duplicates(build, record, records, parent)
    manifest = _manifest(build, record, shards, records, rejects, near, parent, fingerprint)
    latest = read_latest(build.dataset)
    if latest is not None and latest[0].version == manifest.version:
        _log.info("version %s is published already, by an earlier try", manifest.version)
        return _published(build.dataset, manifest, is_new=True)
    if (latest[1] if latest else None) != record.latest_etag:
        raise _conflict(build.dataset, manifest)
    _check_stored(build.dataset, shards)
    del plan, results
    _write_version(
        build, manifest, parent, {"records": records, "rejects": rejects, "near_duplicates": near.table}, scratch
    )
    _swap_latest(build.dataset, manifest, record)
    return _published(build.dataset, manifest, is_new=True)


def _published(dataset: Store, manifest: Manifest, *, is_new: bool) -> Published:
    urls = [dataset.url_of(version_key(manifest.version, name)) for name in ("manifest.json", "report.html")]
    return Published(is_new, manifest, *urls)


def _partition_results(build: Build, record: BuildRecord) -> tuple[dict[str, str], list[LostPhoto]]:
    """Return what planned digests became, for the shards of partitions, and the photos lost on the way."""
    made: dict[str, str] = {}
    lost: list[LostPhoto] = []
    for partition in range(len(record.partitions)):
        outcome = build.partition_result(record, partition)
        if outcome is None:
            raise InputMissingError(
                f"partition {partition} of build {build.id!r} is not converted; "
                f"run download_and_convert --map-index {partition} and validate --map-index {partition} first"
            )
        made.update(outcome.shards)
        lost += outcome.lost
    return made, lost


def _shards(
    build: Build, plan: pa.Table, made: dict[str, str], parent: Manifest | None
) -> tuple[list[_Shard], dict[str, ShardRows]]:
    """Return the version's shards in order, and the rows of those that the parent does not have."""
    inherited = {shard.digest: shard for split in parent.splits.values() for shard in split.shards} if parent else {}
    order = [(split, made.get(digest, digest)) for split, digest in _planned(plan)]
    order = [(split, digest) for split, digest in order if digest]
    with ThreadPoolExecutor(_READS) as pool:
        new = [digest for _, digest in order if digest not in inherited]
        results = dict(zip(new, pool.map(lambda digest: _checked_result(build, digest), new), strict=True))
    shards = [
        _Shard(split, digest, inherited[digest] if digest in inherited else results[digest][0])
        for split, digest in order
    ]
    return shards, {digest: rows for digest, (_, rows) in results.items()}


def _planned(plan: pa.Table) -> list[tuple[str, str]]:
    """Return split and digest of the planned shards, whose rows stand together, in order."""
    digests = plan["digest"].combine_chunks()
    codes = digests.indices.fill_null(-1).to_numpy()
    first = np.flatnonzero(np.diff(codes, prepend=-1) * (codes >= 0))
    rows = plan.select(["split", "digest"]).take(pa.array(first)).to_pylist()
    return [(row["split"], row["digest"]) for row in rows]


def _checked_result(build: Build, digest: str) -> tuple[Shard | None, ShardRows]:
    result = read_shard_result(build.dataset, digest)
    if result is None:
        raise InputMissingError(f"shard {digest} of build {build.id!r} has no result; run download_and_convert first")
    verdict = read_verdict(build.dataset, digest)
    if verdict is None or verdict.sha256 != result.sha256:
        raise InputMissingError(
            f"shard {digest} of build {build.id!r} was not read back; run validate for its partition first"
        )
    if not verdict.records == verdict.decoded == result.records:
        raise IntegrityError(
            f"shard {digest} holds {result.records} records, but {verdict.records} were read back and {verdict.decoded} decoded"
        )
    path = shard_key(digest, ".tfrecord")
    facts = (
        Shard(path=path, records=result.records, bytes=result.bytes, sha256=result.sha256, crc32c=result.crc32c)
        if result.records
        else None
    )
    return facts, rows_of(result)


def _manifest(
    build: Build,
    record: BuildRecord,
    shards: list[_Shard],
    records: pa.Table,
    rejects: pa.Table,
    near: NearDuplicateGroups,
    parent: Manifest | None,
    fingerprint: str,
) -> Manifest:
    reasons = {row["values"]: row["counts"] for row in pc.value_counts(rejects["reason"]).to_pylist()}
    left_out = sum(count for reason, count in reasons.items() if reason != RejectReason.LABEL_WITHOUT_PHOTO)
    gates = _pass_gates(record, records.num_rows, reasons, rejects, parent)
    inherited = {shard.digest for split in parent.splits.values() for shard in split.shards} if parent else set()
    written = [shard for shard in shards if shard.facts is not None]
    reused = sum(shard.digest in inherited for shard in written)
    low, high = record.label_range or (None, None)
    transforms = pc.value_counts(pc.list_flatten(records["transforms"])).to_pylist()
    try:
        return Manifest(
            dataset=build.dataset.url,
            version=f"{record.created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{fingerprint[:8]}",
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
            labels=_label_statistics(records["label"], record.settings.label_scale, low, high),
            images=_image_statistics(records),
            reuse=Reuse(shards_total=len(written), shards_built=len(written) - reused, shards_reused=reused),
            near_duplicates=near.summary,
            gates=gates,
            validation=Validation(
                records=sum(shard.facts.records for shard in written if shard.facts),
                decoded=sum(shard.facts.records for shard in written if shard.facts),
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
    build: Build, record: BuildRecord, records: pa.Table, parent: Manifest | None
) -> NearDuplicateGroups:
    """Return the near-duplicates among the version's records; the next plan puts each group into one split."""
    asked = record.settings.near_duplicate_distance
    before = None
    # groups that were found with a larger distance are looked for anew
    if parent is not None and asked is not None and (parent.settings["near_duplicate_distance"] or 0) <= asked:
        before = read_parquet(build.dataset, version_key(parent.version, "near_duplicates.parquet"))
    near = group_records(records, max_distance=asked, before=before)
    found = near.summary
    if found.max_distance != asked:
        _log.warning(
            "too many photos are alike within near_duplicate_distance %s, so %s was taken; lower the setting",
            asked, found.max_distance,
        )  # fmt: skip
    _log.info("%d groups of near-duplicates, %d span splits", found.groups, found.spanning_splits)
    return near


def _splits(shards: list[_Shard]) -> dict[str, Split]:
    splits = {}
    for name in SPLITS:
        facts = tuple(shard.facts for shard in shards if shard.split == name and shard.facts is not None)
        splits[name] = Split(
            records=sum(shard.records for shard in facts), bytes=sum(shard.bytes for shard in facts), shards=facts
        )
    return splits


def _label_statistics(column: pa.ChunkedArray, scale: str, low: float | None, high: float | None) -> Labels:
    values = column.to_numpy().astype(np.float64)
    counts, edges = np.histogram(values, bins=20)
    return Labels(
        min=values.min(),
        max=values.max(),
        mean=values.mean(),
        std=values.std(),
        histogram={"edges": tuple(edges.tolist()), "counts": tuple(counts.tolist())},
        scale=scale,
        source_min=low,
        source_max=high,
    )


def _image_statistics(records: pa.Table) -> Images:
    quantiles = {
        name: tuple(np.quantile(records[name].to_numpy(), _QUANTILES).tolist()) for name in ("width", "height", "bytes")
    }
    pixels = pc.sum(pc.multiply(records["width"], records["height"])).as_py()
    return Images(quantiles=_QUANTILES, **quantiles, total_pixels=pixels)


def _pass_gates(
    record: BuildRecord, converted: int, reasons: dict[str, int], rejects: pa.Table, parent: Manifest | None
) -> tuple[GateResult, ...]:
    """Measure every gate; raise one error that names all that refuse."""
    settings = record.settings
    unwanted = {reason: count for reason, count in reasons.items() if reason not in _EXPECTED_REJECTS}
    candidates = converted + sum(unwanted.values())
    before = parent.records if parent else 0
    gates = (
        GateResult(name="max_reject_fraction", measured=1 - converted / candidates, limit=settings.max_reject_fraction),
        GateResult(
            name="max_shrink_fraction",
            measured=max(0.0, 1 - converted / before) if before else 0.0,
            limit=settings.max_shrink_fraction,
        ),
        GateResult(name="min_records", measured=converted, limit=settings.min_records),
    )
    counts = ", ".join(f"{count} {reason}" for reason, count in unwanted.items())
    keys = (
        rejects.filter(pc.is_in(rejects["reason"], pa.array(list(unwanted), pa.string())))["key"]
        .slice(0, 3)
        .to_pylist()
    )
    words = {
        "max_reject_fraction": f"{candidates - converted} of {candidates} labelled photos could not be used ({counts}; for example {keys})",
        "max_shrink_fraction": f"{converted} records, {before} in version {parent.version if parent else None}",
        "min_records": f"{converted} records",
    }
    refusals = [
        f"{gate.name} allows {gate.limit:g}, measured {gate.measured:.4g}: {words[gate.name]}"
        for gate in gates
        if (gate.measured < gate.limit if gate.name == "min_records" else gate.measured > gate.limit)
    ]
    if refusals:
        raise GateError(
            f"not published; {'; '.join(refusals)}; mend the photos or scores, or change the gate's setting"
        )
    return gates


def _check_stored(dataset: Store, shards: list[_Shard]) -> None:
    """Compare every shard's size in the store with what the manifest is about to promise."""
    listing = dataset.list("shards/")
    sizes = dict(zip(listing["key"].to_pylist(), listing["size"].to_pylist(), strict=True))
    for shard in shards:
        if shard.facts is not None and (found := sizes.get(shard.facts.path)) != shard.facts.bytes:
            is_not = "is not in the store" if found is None else f"has {found} bytes in the store"
            raise IntegrityError(
                f"shard {dataset.url_of(shard.facts.path)} {is_not}, its result says {shard.facts.bytes} bytes; delete {dataset.url_of(shard_key(shard.digest, '.json'))} and the .validated.json beside it, "
                "then build again"
            )


def _write_version(
    build: Build, manifest: Manifest, parent: Manifest | None, tables: dict[str, pa.Table], scratch: Path
) -> None:
    """Write the version's own files, the manifest last; each table becomes `<name>.parquet`, the plan is the build's."""
    dataset = build.dataset
    report = render_report(manifest, parent, tables["records"], tables["rejects"], dataset=dataset, photos=build.photos)
    dataset.upload(version_key(manifest.version, "plan.parquet"), scratch / "plan.parquet")
    sha256 = {
        name: put_rows(dataset, version_key(manifest.version, f"{name}.parquet"), table, scratch)
        for name, table in tables.items()
    }
    files = {
        "report.html": report.encode(),
        "README.md": render_card(manifest).encode(),
        "croissant.json": render_croissant(manifest, records_sha256=sha256["records"]).encode(),
        "manifest.json": _manifest_bytes(manifest),
    }
    for name, content in files.items():
        dataset.put(version_key(manifest.version, name), content)


def _manifest_bytes(manifest: Manifest) -> bytes:
    return manifest.model_dump_json(indent=1).encode() + b"\n"


def _swap_latest(dataset: Store, manifest: Manifest, record: BuildRecord) -> None:
    """Make LATEST name this version, or say which of the other two ends it was."""
    pointer = LatestPointer(
        version=manifest.version,
        manifest=version_key(manifest.version, "manifest.json"),
        sha256=hashlib.sha256(_manifest_bytes(manifest)).hexdigest(),
    )
    swap = dataset.swap if record.compares else dataset.replace
    match swap(LATEST_KEY, pointer.model_dump_json(indent=1).encode() + b"\n", record.latest_etag):
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
