"""Turn a converted, validated build into a version, and make LATEST name it.

Account for every photo and shard, make the tables, find near-duplicates and bring them into one split, measure the gates, describe the version, write it,
and move LATEST by compare-and-swap: a reader sees the old version or the new one, whole.  Where a gate refuses, the version is
written all the same, as a candidate, and LATEST stays.  Each step is a module of its own; this one only says which comes when.

Publishing ends as done, as refused (another build was first), or as unknown (the reply was lost and could not be read
back).  Running it again is safe in all three: the version's name depends on the build alone.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.candidates import drop_candidates
from aesthetics_ops.dataset.latest import (
    drop_marks,
    mark_published,
    move_latest,
    peek_latest,
    pointer_to,
    read_latest,
)
from aesthetics_ops.dataset.layout import LATEST_KEY, BuildFile, VersionFile, build_key, version_key, version_prefix
from aesthetics_ops.dataset.manifest import Manifest, Reuse, StoredFile
from aesthetics_ops.dataset.moves import Given, Move
from aesthetics_ops.dataset.parent import building_on, is_stratified_alike
from aesthetics_ops.dataset.reading_manifests import read_manifest, read_manifest_of
from aesthetics_ops.dataset.sidecars import is_kept, put_proven, read_table, stored_file, upload_proven
from aesthetics_ops.dataset.spilled import Spilled, spill_parquet
from aesthetics_ops.dataset.statistics import contrary_copies, count_reasons
from aesthetics_ops.dataset.tables import write_rows
from aesthetics_ops.errors import GateError, IntegrityError, PublishConflictError, PublishUnknownError
from aesthetics_ops.figures import ConversionFigures, ValidationFigures
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.publishing.account import BuiltShard, account_shards, check_stored, partition_results
from aesthetics_ops.publishing.candidates import explain_refusal, keep_candidate, standing_candidate
from aesthetics_ops.publishing.describe import describe_version, fingerprint_of
from aesthetics_ops.publishing.documents import DOCUMENTS, Renderer, Shown, render_documents
from aesthetics_ops.publishing.gates import measure_gates
from aesthetics_ops.publishing.kept import has_same_columns, read_kept
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.publishing.near_duplicates import NearDuplicateGroups, group_records
from aesthetics_ops.publishing.regroup import ReadBack, regroup
from aesthetics_ops.publishing.tables import AddedRows, MoreColumns, Outcome, make_tables
from aesthetics_ops.store import Store, Swap

__all__ = ["Published", "publish_build", "published_as"]

_log = logging.getLogger(__name__)

_READINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Published:
    """How publishing ended, when it did not raise.

    Attributes:
        is_new: False when the dataset already was what this build made, and nothing was written.
        manifest: of the version that LATEST names now.
        manifest_url: where it lies.
        report_url: the page that shows it to a person; None where it could not be made.
        missing: documents that could not be made; the version's data is whole without them.
        repaired: shards of the version before that had lost an object in the store, and are made or checked again.
        conversion, validation: of the same call; None where it made or read back nothing, or only published.
    """

    is_new: bool
    manifest: Manifest
    manifest_url: str
    report_url: str | None
    missing: tuple[VersionFile, ...] = ()
    repaired: int = 0
    conversion: ConversionFigures | None = None
    validation: ValidationFigures | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """A few numbers for people and for the asset event, small enough to pass between tasks."""
        return {
            "published": self.is_new,
            "dataset": self.manifest.dataset,
            "version": self.manifest.version,
            "parent": self.manifest.parent,
            "manifest": self.manifest_url,
            "report": self.report_url,
            "missing": list(self.missing),
            "records": self.manifest.records,
            "rejected": self.manifest.accounting.rejected,
            "bytes": self.manifest.bytes,
            **self._reuse.model_dump(),
            "shards_repaired": self.repaired,
            **({"conversion": self.conversion.numbers} if self.conversion else {}),
            **({"validation": self.validation.numbers} if self.validation else {}),
        }

    @property
    def _reuse(self) -> Reuse:
        """What this build did: of a version that was there before, it reused every shard."""
        reuse = self.manifest.reuse
        if self.is_new:
            return reuse
        return Reuse(shards_total=reuse.shards_total, shards_added=0, shards_reused=reuse.shards_total)


def publish_build(
    build: Build,
    plan: BuildPlan,
    *,
    documents: Mapping[VersionFile, Renderer] = DOCUMENTS,
    read_back: ReadBack = iter,
) -> Published:
    """Publish a build, unless the dataset already is what it made.

    Args:
        build: every partition of it converted and validated.
        plan: its plan.
        documents: how to make each document that the version carries; one that fails is left out.
        read_back: as in `regroup`, for shards that are made here so that near-duplicates come into one split.

    Raises:
        InputMissingError: a partition is not converted or not validated; names it.
        IntegrityError: counts do not add up, or a shard is not in the store as its result says.
        GateError: a gate says no; names each with the measured value, the limit and examples, and the candidate that is kept.
        PublishConflictError: another build published since this one was planned.
        PublishUnknownError: the reply was lost, and LATEST could not be read back.
        ScratchSpaceError: the disk is full.
        StoreRefusedError, StoreUnavailableError: a store says no, or nothing.
    """
    with scratch_for() as scratch:
        return _publish(build, plan, documents, scratch, read_back)


def published_as(dataset: Store, manifest: Manifest) -> Published:
    """Return how publishing ended for a version that LATEST names since a person promoted it.

    Args:
        dataset: that it lies in.
        manifest: of the version.
    """
    return _found(dataset, manifest, DOCUMENTS, is_new=True, repaired=0)


def _publish(
    build: Build, plan: BuildPlan, documents: Mapping[VersionFile, Renderer], scratch: Path, read_back: ReadBack
) -> Published:
    parent = read_manifest(build.dataset, plan.parent) if plan.parent else None
    account = _account(build, plan, parent, scratch)
    repaired = _repaired(plan, account.outcome, parent)
    if parent is not None and account.is_the_same(build, parent):
        check_stored(build.dataset, account.shards)
        return _found_unchanged(build.dataset, parent, documents, repaired)
    made = _assemble(build, plan, account, parent, scratch)
    if made.near.summary.spanning_splits and not plan.names_splits:
        account = _second_round(build, plan, account, made, parent, scratch, read_back)
        if parent is not None and account.is_the_same(build, parent):
            return _found_unchanged(build.dataset, parent, documents, repaired)
        made = _assemble(build, plan, account, parent, scratch, found=made.near.table)
    candidate = made.candidate(plan, parent)
    _warn_of_copies(candidate.records, made.near.table)
    gates = measure_gates(candidate)
    if gates.refused and not candidate.records.num_rows:
        raise GateError(explain_refusal(build.dataset, gates.refused, None))
    del candidate  # what it has mapped is not held while the rest is made
    manifest = describe_version(build.dataset.url, plan, made.candidate(plan, parent), account.shards, gates.results)
    latest, etag = peek_latest(build.dataset)
    if latest is not None and latest.version == manifest.version:
        _log.info("version %s is published already, by an earlier try", manifest.version)
        mark_published(build.dataset, latest)
        drop_marks(build.dataset, plan.unreadable)
        published = read_manifest_of(build.dataset, manifest.version, latest)
        return _found(build.dataset, published, documents, is_new=True, repaired=repaired)
    if etag != plan.latest_etag:
        raise _conflict(build.dataset, manifest)
    check_stored(build.dataset, account.shards)
    if gates.refused and (standing := standing_candidate(build.dataset, manifest)) is not None:
        stands = standing.version != manifest.version
        raise GateError(
            explain_refusal(build.dataset, gates.refused, standing, stands=stands), candidate=standing.version
        )
    data = _written(build.dataset, manifest)
    if data is None:
        data = _write_version(build, manifest, parent, made, documents, scratch)
    if gates.refused:
        mark = keep_candidate(build.dataset, plan, manifest, data, gates.refused)
        raise GateError(explain_refusal(build.dataset, gates.refused, mark), candidate=mark.version)
    manifest = Manifest.parse(data, name=build.dataset.url_of(version_key(manifest.version, VersionFile.MANIFEST)))
    _swap_latest(build.dataset, manifest, data, plan)
    return _found(build.dataset, manifest, documents, is_new=True, repaired=repaired)


def _written(dataset: Store, meant: Manifest) -> bytes | None:
    """Return the manifest of an earlier try, which wrote it all and could not move LATEST; None where it is not whole.

    What is whole is not written twice.  What is not, nobody has read: LATEST never named it.  A candidate of this build, of before
    a gate's limit was changed, is written anew, and is a candidate no more.
    """
    version = meant.version
    key = version_key(version, VersionFile.MANIFEST)
    stored = Manifest.stored(dataset, key)
    if stored is None:
        return None
    try:
        manifest = Manifest.parse(stored.data, name=dataset.url_of(key))
    except IntegrityError as error:
        _log.warning("%s; an earlier try wrote it, and version %s is written anew", error, version)
        return None
    if manifest.gates != meant.gates:
        drop_candidates(dataset, [version])
        return None
    for file, expected in (manifest.files or {}).items():
        if manifest.version != version or not is_kept(dataset, f"{version_prefix(version)}{file}", expected):
            _log.warning(
                "%s%s is not what its manifest says; version %s is written anew", version_prefix(version), file, version
            )
            return None
    return bytes(stored.data)


def _write_version(
    build: Build,
    manifest: Manifest,
    parent: Manifest | None,
    made: "_Assembled",
    documents: Mapping[VersionFile, Renderer],
    scratch: Path,
) -> bytes:
    """Write the version's own files, the manifest last, each proven to be there as meant; return the manifest's bytes."""
    files = _write_tables(build.dataset, manifest.version, made, scratch)
    records, rejects = made.records.table, made.rejects.table
    shown = Shown(manifest, parent, records, files[VersionFile.RECORDS].sha256, rejects, build.dataset, build.photos)
    for file, content in render_documents(shown, documents).items():
        files[file] = put_proven(build.dataset, version_key(manifest.version, file), content)
    data = manifest.model_copy(
        update={"files": {str(file): files[file] for file in VersionFile if file in files}}
    ).encoded()
    put_proven(build.dataset, version_key(manifest.version, VersionFile.MANIFEST), data)
    return data


@dataclass(frozen=True, slots=True)
class _Account:
    """What the build's shards are.

    Attributes:
        plan: Parquet file of PLAN.schema.
        kept: key, and columns of the score file that the records keep; None where none are.
        outcome: what became of the planned shards.
        shards: of the version, in reading order.
        added: rows of the shards that the parent does not have.
    """

    plan: Path
    kept: pa.Table | None
    outcome: Outcome
    shards: list[BuiltShard]
    added: AddedRows

    def is_the_same(self, build: Build, parent: Manifest) -> bool:
        """Say whether the parent holds exactly this, its near-duplicates searched and its splits made as the settings ask."""
        if not is_stratified_alike(parent, build.settings):
            return False
        if parent.settings["near_duplicate_distance"] != build.settings.near_duplicate_distance:
            return False
        if parent.fingerprint != fingerprint_of(self.shards):
            return False
        return has_same_columns(build.dataset, parent, build.settings.keep_columns, self.kept)


def _account(build: Build, plan: BuildPlan, parent: Manifest | None, scratch: Path) -> _Account:
    """Read the plan and what became of it; the plan's file stays in `scratch`, for the version."""
    outcome = partition_results(build, plan)
    key = build_key(build.id, BuildFile.ROWS)
    for _ in range(_READINGS):
        build.dataset.download(key, scratch / VersionFile.PLAN)
        if plan.is_of(stored_file(scratch / VersionFile.PLAN).sha256):
            break
    else:
        raise IntegrityError(
            f"{build.dataset.url_of(key)} is not the plan that was made; plan the build again, finished shards are kept",
            stage="plan",
        )
    return _accounted(build, scratch / VersionFile.PLAN, read_kept(build, plan), outcome, parent, scratch)


def _accounted(
    build: Build, plan: Path, kept: pa.Table | None, outcome: Outcome, parent: Manifest | None, scratch: Path
) -> _Account:
    added = AddedRows(scratch)
    return _Account(plan, kept, outcome, account_shards(build, plan, outcome, parent, added), added)


def _repaired(plan: BuildPlan, outcome: Outcome, parent: Manifest | None) -> int:
    """Return how many shards of the parent lacked an object in the store when this build was planned."""
    if parent is None:
        return 0
    held = {shard.digest for split in parent.splits.values() for shard in split.shards}
    # a shard that lost a photo is planned each night, and made under the name of what is left
    return sum(
        outcome.digest(digest) == digest and digest in held for part in plan.partitions for digest in part.shards
    )


def _second_round(
    build: Build,
    plan: BuildPlan,
    account: _Account,
    made: "_Assembled",
    parent: Manifest | None,
    scratch: Path,
    read_back: ReadBack,
) -> _Account:
    """Bring every group of near-duplicates into one split; the plan's file in `scratch` becomes that of the new rows."""
    again = scratch / "again"
    again.mkdir()
    rows = spill_parquet(scratch / VersionFile.PLAN, scratch / "first_round.arrow", name="the plan").table
    tables = (made.records.table, made.rejects.table)
    regrouped = regroup(build, plan, rows, account.outcome, tables, made.near.table, again, read_back)
    write_rows(regrouped.rows, scratch / VersionFile.PLAN)
    return _accounted(build, scratch / VersionFile.PLAN, account.kept, regrouped.outcome, parent, scratch)


@dataclass(frozen=True, slots=True)
class _Assembled:
    """What the version is to be.

    Attributes:
        near: its near-duplicates.
        records, rejects: its tables.
    """

    near: NearDuplicateGroups
    records: Spilled
    rejects: Spilled

    def candidate(self, plan: BuildPlan, parent: Manifest | None) -> Candidate:
        """Return what the gates measure, its tables mapped anew."""
        rejects = self.rejects.table
        return Candidate(
            plan.settings,
            self.records.table,
            rejects,
            count_reasons(rejects),
            self.near.summary,
            parent,
            plan.label_rows,
            plan.label_range,
        )


def _assemble(
    build: Build,
    plan: BuildPlan,
    account: _Account,
    parent: Manifest | None,
    scratch: Path,
    found: pa.Table | None = None,
) -> _Assembled:
    """Make the version's tables; `found` are the groups that this build has found already."""
    more = MoreColumns.of(plan.features, account.kept)
    records, rejects = make_tables(build, account.plan, account.outcome, account.added, parent, more, scratch)
    near = _near_duplicates(build.dataset, plan.settings.near_duplicate_distance, records.table, parent, found)
    return _Assembled(near, records, rejects)


def _near_duplicates(
    dataset: Store, asked: int | None, records: pa.Table, parent: Manifest | None, found_before: pa.Table | None
) -> NearDuplicateGroups:
    """Return the near-duplicates among the version's records."""
    before = found_before
    # groups that were found with a larger distance are looked for anew
    if (
        before is None
        and parent is not None
        and asked is not None
        and (parent.settings["near_duplicate_distance"] or 0) <= asked
    ):
        with building_on(parent.version):
            before = read_table(dataset, parent, VersionFile.NEAR_DUPLICATES)
    near = group_records(records, max_distance=asked, before=before)
    found = near.summary
    if found.max_distance != asked:
        _log.warning(
            "too many photos are alike within near_duplicate_distance %s, so %s was taken; lower the setting",
            asked, found.max_distance,
        )  # fmt: skip
    _log.info("%d groups of near-duplicates, %d span splits", found.groups, found.spanning_splits)
    return near


def _warn_of_copies(records: pa.Table, alike: pa.Table) -> None:
    """Say which photos are alike to the byte and have different scores, where no ETag told it to the plan."""
    count, examples = contrary_copies(records, alike)
    if count:
        _log.warning(
            "%d records hold the JPEG of another and have another label, such as %s; correct the scores, or leave one of each out",
            count, "; ".join(examples),
        )  # fmt: skip


def _write_tables(dataset: Store, version: str, made: _Assembled, scratch: Path) -> dict[VersionFile, StoredFile]:
    """Write the version's tables, and the build's plan as it is; return what the manifest says of each."""
    made.records.write_parquet(scratch / VersionFile.RECORDS)
    made.rejects.write_parquet(scratch / VersionFile.REJECTS)
    write_rows(made.near.table, scratch / VersionFile.NEAR_DUPLICATES)
    files = {}
    for file in (VersionFile.PLAN, VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.NEAR_DUPLICATES):
        files[file] = upload_proven(dataset, version_key(version, file), scratch / file)
        if file is not VersionFile.PLAN:
            (scratch / file).unlink()
    return files


def _swap_latest(dataset: Store, manifest: Manifest, data: bytes, plan: BuildPlan) -> None:
    """Make LATEST name this version, or say which of the other two ends it was."""
    move = Move.now("publish", Given(f"build {plan.build}"), previous=plan.parent)
    pointer = pointer_to(manifest.version, data, move)
    ending = move_latest(dataset, pointer, expected_etag=plan.latest_etag, compares=plan.compares)
    match ending:
        case Swap.DONE:
            mark_published(dataset, pointer)
            drop_marks(dataset, plan.unreadable)
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


def _found_unchanged(dataset: Store, parent: Manifest, documents: Collection[VersionFile], repaired: int) -> Published:
    _log.info(
        "nothing changed: version %s already holds exactly this; %d shards that lacked an object are made or checked again",
        parent.version, repaired,
    )  # fmt: skip
    return _found(dataset, parent, documents, is_new=False, repaired=repaired)


def _found(
    dataset: Store, manifest: Manifest, documents: Collection[VersionFile], *, is_new: bool, repaired: int
) -> Published:
    """Return how it ended for a version that lies in the store already, with the documents that it has."""
    missing = {file for file in documents if dataset.head(version_key(manifest.version, file)) is None}
    manifest_url, report_url = (
        dataset.url_of(version_key(manifest.version, file)) for file in (VersionFile.MANIFEST, VersionFile.REPORT)
    )
    has_report = VersionFile.REPORT not in missing
    report = report_url if has_report else None
    return Published(is_new, manifest, manifest_url, report, tuple(sorted(missing)), repaired)
