"""The objects of a version once more, from what is left of it: copies, the plan, the shards' results, the photos.

In: a version's manifest, and those of its tables that are whole.  Out: files whose sha256 is the one that the manifest
states, or why there is none.  Nothing is written to the dataset.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import Build, BuildPlan, LostPhoto
from aesthetics_ops.conversion.partition import remake_shard
from aesthetics_ops.dataset.layout import (
    BUILDS,
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    is_name,
    shard_key,
    version_key,
)
from aesthetics_ops.dataset.manifest import Manifest, Shard, StoredFile
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.recipe import Converter, recipe_digest
from aesthetics_ops.dataset.results import ShardResult
from aesthetics_ops.dataset.sidecars import read_table, stored_file
from aesthetics_ops.dataset.spilled import Spilled
from aesthetics_ops.dataset.tables import (
    PLAN,
    RECORDS,
    REJECTS,
    UNMATCHED,
    all_columns,
    parse_parquet,
    read_parquet,
    write_rows,
)
from aesthetics_ops.errors import AestheticsOpsError, IntegrityError, NoSuchVersionError, ObjectMissingError
from aesthetics_ops.publishing.documents import DOCUMENTS, Shown, render_documents
from aesthetics_ops.publishing.kept import read_kept
from aesthetics_ops.publishing.near_duplicates import group_records
from aesthetics_ops.publishing.tables import AddedRows, Inherited, MoreColumns, Outcome, join_tables, rows_of
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.versions.listing import version_names
from aesthetics_ops.versions.recipes import settings_of

__all__ = ["Remaker"]

_LOSSES: Final = [reason.value for reason in RejectReason if reason.is_loss]
_OTHER_BYTES: Final = "what can be made of it has other bytes than its manifest states (other releases of libraries, or of this program, write so)"

Made = tuple[Path, str] | str
"""A file that is the object, and what it was made from; or why there is none."""


class Remaker:
    """Makes objects of one version again."""

    def __init__(self, dataset: Store, manifest: Manifest, held: Path, scratch: Path) -> None:
        """Begin.

        Args:
            dataset: that the version is published in.
            manifest: of the version.
            held: a folder with those of its tables that are whole; what is made again is added.
            scratch: a folder for files on their way.
        """
        self._dataset = dataset
        self._manifest = manifest
        self._held = held
        self._scratch = scratch

    def table(self, file: VersionFile) -> Made:
        """Make one of the version's tables."""
        stated = (self._manifest.files or {})[file]
        made = self._copy_of(stated) or self._table(file, stated)
        if not isinstance(made, str):
            path, _ = made
            (self._held / file).write_bytes(path.read_bytes())
        return made

    def shard(self, shard: Shard) -> Made:
        """Make a shard's file."""
        stated = StoredFile(bytes=shard.bytes, sha256=shard.sha256)
        if (copied := self._copy_of(stated, shard.path)) is not None:
            return copied
        converter = self._manifest.converter
        if converter is None:
            return "its manifest does not say what converted it"
        if (rows := self._rows_of_shards.get(shard.digest)) is None:
            return f"{VersionFile.PLAN} of the version is damaged, or names no such shard"
        settings = settings_of(self._manifest)
        photos = open_store(settings.photos)
        build = Build("repair", settings, photos, (), self._dataset)
        path = self._scratch / f"{shard.digest}.tfrecord"
        made = remake_shard(build, rows, Converter(converter.version, converter.codecs), path)
        if (made.bytes, made.sha256) == (shard.bytes, shard.sha256):
            return path, f"its {rows.num_rows} photos"
        path.unlink()
        if made.digest != shard.digest:
            return f"{rows.num_rows - made.photos} of its {rows.num_rows} photos are gone or changed under {photos.url}"
        return _OTHER_BYTES

    def document(self, file: VersionFile) -> Made:
        """Make one of the documents for people and other tools."""
        stated = (self._manifest.files or {})[file]
        if (copied := self._copy_of(stated)) is not None:
            return copied
        for needed in (VersionFile.RECORDS, VersionFile.REJECTS):
            if not (self._held / needed).exists():
                return f"{needed} of the version is damaged"
        manifest = self._manifest.model_copy(update={"files": None})
        records, rejects = self._read(VersionFile.RECORDS), self._read(VersionFile.REJECTS)
        sha256 = stored_file(self._held / VersionFile.RECORDS).sha256
        photos = open_store(manifest.source.photos)
        shown = Shown(manifest, self._parent, records, sha256, rejects, self._dataset, photos)
        content = render_documents(shown, {file: DOCUMENTS[file]}).get(file)
        if content is None:
            return "it could not be made, as the log says"
        path = self._scratch / file
        path.write_bytes(content)
        return (path, "the manifest and the tables") if stored_file(path) == stated else _OTHER_BYTES

    def _table(self, file: VersionFile, stated: StoredFile) -> Made:
        if file is VersionFile.PLAN:
            return self._plan_of_build(stated)
        if file is VersionFile.NEAR_DUPLICATES:
            if not (self._held / VersionFile.RECORDS).exists():
                return f"{VersionFile.RECORDS} of the version is damaged"
            candidates, source = self._near_duplicates(), VersionFile.RECORDS.value
        else:
            if not (self._held / VersionFile.PLAN).exists():
                return f"{VersionFile.PLAN} of the version is damaged"
            if self._joined is None:
                return (
                    f"the result of a shard is gone, and no other whole version has its rows{self._without_state(file)}"
                )
            if file is VersionFile.RECORDS and self._manifest.settings.get("keep_columns") and self._kept is None:
                return "the state of its build is gone, which told what keep_columns kept of the score file"
            candidates = iter([self._joined[file is VersionFile.REJECTS].table])
            source = f"{VersionFile.PLAN} and the shards' results"
        path = self._scratch / f"made-{file}"
        for rows in candidates:
            write_rows(rows, path)
            if stored_file(path) == stated:
                return path, source
        path.unlink(missing_ok=True)
        return f"{_OTHER_BYTES}{self._without_state(file)}"

    def _without_state(self, file: VersionFile) -> str:
        is_missed = file is VersionFile.REJECTS and self._build is None
        return (
            ", and the state of its build is gone, which told lost photos and label rows without a photo"
            if is_missed
            else ""
        )

    def _copy_of(self, stated: StoredFile, key: str = "") -> tuple[Path, str] | None:
        """Find the same bytes under another key: in another version, or as a shard of another recipe."""
        for other in self._others:
            found = [version_key(other.version, VersionFile(name)) for name, held in (other.files or {}).items()
                     if held == stated and name in set(VersionFile)]  # fmt: skip
            found += [
                shard.path
                for split in other.splits.values()
                for shard in split.shards
                if (shard.bytes, shard.sha256) == (stated.bytes, stated.sha256) and shard.path != key
            ]
            for place in found:
                if (path := self._fetched(place, stated)) is not None:
                    return path, self._dataset.url_of(place)
        return None

    def _fetched(self, key: str, stated: StoredFile) -> Path | None:
        """Bring an object here if it has these bytes."""
        path = self._scratch / "copy"
        with suppress(ObjectMissingError):
            self._dataset.download(key, path)
            if stored_file(path) == stated:
                return path
            path.unlink()
        return None

    def _plan_of_build(self, stated: StoredFile) -> Made:
        """The plan is a copy of what the build left, while that is there."""
        if self._build is None:
            return "the state of its build is gone"
        for file in (BuildFile.ROWS, BuildFile.REGROUPED):
            key = build_key(self._build.build, file)
            if (path := self._fetched(key, stated)) is not None:
                return path, self._dataset.url_of(key)
        return "the state of its build holds another plan"

    @cached_property
    def _others(self) -> list[Manifest]:
        """The other versions whose manifests can be read, newest first; this one's last, for its other shards."""
        found = []
        for name in version_names(self._dataset):
            if name != self._manifest.version:
                with suppress(IntegrityError, NoSuchVersionError):
                    found.append(read_manifest(self._dataset, name))
        return [*found, self._manifest.model_copy(update={"files": None})]

    @cached_property
    def _parent(self) -> Manifest | None:
        return next((other for other in self._others if other.version == self._manifest.parent), None)

    @cached_property
    def _build(self) -> BuildPlan | None:
        """The plan of the build that made the version, while its state is there."""
        for build in self._dataset.folders(BUILDS):
            with suppress(IntegrityError):
                plan = BuildPlan.read(self._dataset, build_key(build, BuildFile.PLAN)) if is_name(build) else None
                if plan is not None and plan.build == build and self._is_of(plan):
                    return plan
        return None

    def _is_of(self, plan: BuildPlan) -> bool:
        return plan.created_at == self._manifest.created_at and self._manifest.version.endswith(f"-{plan.tag}")

    def _read(self, file: VersionFile) -> pa.Table:
        found = parse_parquet(self._held / file, name=f"{file} of version {self._manifest.version!r}")
        return all_columns(found, PLAN) if file is VersionFile.PLAN else found

    @cached_property
    def _lost(self) -> list[LostPhoto]:
        """The photos that were planned and lost, as the rejects or else the build's results tell."""
        plan = self._read(VersionFile.PLAN).select(["key", "digest"])
        if (self._held / VersionFile.REJECTS).exists():
            rejects = self._read(VersionFile.REJECTS)
            rows = rejects.filter(pc.is_in(rejects["reason"], pa.array(_LOSSES))).to_pylist()
            lost = [(row["key"], row["reason"], row["detail"]) for row in rows]
        else:
            lost = [(photo.key, photo.reason, photo.detail) for photo in self._lost_of_build()]
        held = plan.filter(pc.is_in(plan["key"], pa.array([key for key, _, _ in lost], pa.string()))).to_pylist()
        digests = {row["key"]: row["digest"] for row in held}
        return [
            LostPhoto(key=key, digest=digests[key], reason=reason, detail=detail)
            for key, reason, detail in lost
            if key in digests
        ]

    def _lost_of_build(self) -> Iterator[LostPhoto]:
        if (plan := self._build) is None:
            return
        build = Build(plan.build, plan.settings, self._dataset, (), self._dataset)
        for number in range(len(plan.partitions)):
            result = build.partition_result(plan, number)
            yield from result.lost if result is not None else ()

    @cached_property
    def _shards(self) -> list[tuple[str, str, pa.Table]]:
        """The shards of the plan: planned digest, digest that was built (empty where nothing is left), and its rows."""
        if not (self._held / VersionFile.PLAN).exists() or self._manifest.converter is None:
            return []
        converter = Converter(self._manifest.converter.version, self._manifest.converter.codecs)
        settings = settings_of(self._manifest)
        lost = pa.array([photo.key for photo in self._lost], pa.string())
        plan = self._read(VersionFile.PLAN)
        placed = plan.filter(pc.is_valid(plan["digest"]))
        codes = placed["digest"].combine_chunks().dictionary_encode().indices.to_numpy()
        starts = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
        found = []
        for first, end in zip(starts, [*starts[1:], len(codes)], strict=True):
            rows = placed.slice(first, end - first)
            planned = rows["digest"][0].as_py()
            kept = rows.filter(pc.invert(pc.is_in(rows["key"], lost))) if len(lost) else rows
            built = planned
            if kept.num_rows < rows.num_rows:
                built = recipe_digest(kept, settings, converter=converter) if kept.num_rows else ""
            found.append((planned, built, kept))
        return found

    @cached_property
    def _rows_of_shards(self) -> dict[str, pa.Table]:
        return {built: rows for _, built, rows in self._shards if built}

    @cached_property
    def _joined(self) -> tuple[Spilled, Spilled] | None:
        """The records and the rejects, made as publishing makes them; None where a shard's rows are nowhere."""
        built = {planned: digest for planned, digest, _ in self._shards}
        added, known = AddedRows(self._scratch), set[str]()
        for digest in filter(None, built.values()):
            with suppress(IntegrityError):
                # never `read_shard_result`, which withdraws a damaged one
                result = ShardResult.read(self._dataset, shard_key(digest, ShardFile.RESULT))
                if result is not None and result.digest == digest:
                    added.add(rows_of(result))
                    known.add(digest)
        added.close()
        missing = {shard_key(digest, ShardFile.RECORDS) for digest in built.values() if digest and digest not in known}
        inherited = self._rows_elsewhere(missing)
        if inherited is None:
            return None
        plan, more = self._read(VersionFile.PLAN), MoreColumns.of(self._manifest.features, self._kept)
        outcome = Outcome(built, tuple(self._lost))
        return join_tables(plan, outcome, added, inherited, self._unmatched(), more, self._scratch)

    @cached_property
    def _kept(self) -> pa.Table | None:
        """Return the kept columns of the score file, as the build left them; None where its state is gone, or none are kept."""
        if self._build is not None:
            build = Build(self._build.build, self._build.settings, self._dataset, (), self._dataset)
            with suppress(IntegrityError):
                return read_kept(build, self._build)
        return None

    def _rows_elsewhere(self, shards: set[str]) -> Inherited | None:
        """Return the rows that other whole versions have of some shards; None where one has none."""
        left = set(shards)
        records, rejects = [RECORDS.schema.empty_table()], [REJECTS.schema.empty_table()]
        for other in self._others[:-1]:
            here = {shard.path for split in other.splits.values() for shard in split.shards} & left
            if not here:
                continue
            with suppress(AestheticsOpsError):
                both = [
                    (all_columns(read_table(self._dataset, other, file), table), table)
                    for file, table in ((VersionFile.RECORDS, RECORDS), (VersionFile.REJECTS, REJECTS))
                ]
                for (rows, table), held in zip(both, (records, rejects), strict=True):
                    held.append(rows.filter(pc.is_in(rows["shard"], pa.array(sorted(here)))).select(table.names))
                left -= here
        return None if left else Inherited(frozenset(shards), pa.concat_tables(records), pa.concat_tables(rejects))

    def _unmatched(self) -> pa.Table:
        """Return the label rows that name no photo, as the build left them; none where its state is gone."""
        if self._build is not None:
            with suppress(ObjectMissingError, IntegrityError):
                return read_parquet(self._dataset, build_key(self._build.build, BuildFile.UNMATCHED))
        return UNMATCHED.schema.empty_table()

    def _near_duplicates(self) -> Iterator[pa.Table]:
        """Yield what publishing may have found: from the parent's groups or none, in one round or two."""
        records = self._read(VersionFile.RECORDS)
        distance = settings_of(self._manifest).near_duplicate_distance
        for before in self._groups_before():
            once = group_records(records, max_distance=distance, before=before).table
            yield once
            yield group_records(records, max_distance=distance, before=once).table

    def _groups_before(self) -> Sequence[pa.Table | None]:
        if self._parent is not None:
            with suppress(AestheticsOpsError):
                return [read_table(self._dataset, self._parent, VersionFile.NEAR_DUPLICATES), None]
        return [None]
