"""Compare what a manifest states beside counts with what the version and its own settings give.

In: the manifest, and the version's files in the store and on this machine.  Out: nothing, or the first difference, by field.
What a manifest states of the world alone is taken as it is: the software, the score file's ETag and its columns, the parent,
the range of the scores, and what gates measured against the parent.
"""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow.compute as pc

from aesthetics_ops.dataset.example import features_with
from aesthetics_ops.dataset.latest import peek_latest, promotion_of, published_sha256
from aesthetics_ops.dataset.layout import DOCUMENTS, LATEST_KEY, SPLITS, VersionFile, published_key, version_prefix
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store
from aesthetics_ops.versions.recipes import settings_of
from aesthetics_ops.versions.rows import VersionTables

__all__ = ["check_objects", "check_promotion", "check_statements"]

_PHASH: Final = "^[0-9a-f]{16}$"
_ALWAYS: Final = features_with(())
_LATE_SETTINGS: Final[frozenset[str]] = frozenset()  # that releases which state files did not know from the first on


def check_statements(tables: VersionTables) -> None:
    """Compare what a manifest states of itself with its settings, its tables and its documents.

    Args:
        tables: of the version; the version's other files lie beside them.

    Raises:
        IntegrityError: the first difference; names the object and the field.
    """
    manifest, name = tables.manifest, f"{VersionFile.MANIFEST} of version {tables.manifest.version!r}"
    _check_completeness(name, manifest)
    _check_features(name, manifest)
    _check_settings(name, manifest)
    _check_examples(name, tables)
    for rows in tables.batches(VersionFile.RECORDS, ["phash"]):
        if not pc.all(pc.match_substring_regex(rows["phash"], _PHASH)).as_py() and rows.num_rows:
            raise IntegrityError(f"{tables.name(VersionFile.RECORDS)}: a phash is not 16 hex digits")
    for document in DOCUMENTS:
        if (manifest.files or {}).get(document) is not None and manifest.version.encode() not in (
            tables.folder / document
        ).read_bytes():
            raise IntegrityError(
                f"{document} of version {manifest.version!r} does not name the version: it is that of another"
            )


def check_objects(dataset: Store, manifest: Manifest) -> None:
    """Make sure that nothing lies among a version's objects that its manifest does not state.

    Raises:
        IntegrityError: names what does.
    """
    if manifest.files is None:
        return
    prefix = version_prefix(manifest.version)
    for key in dataset.list(prefix)["key"].to_pylist():
        if (name := key.removeprefix(prefix)) not in manifest.files and name != VersionFile.MANIFEST:
            raise IntegrityError(
                f"{dataset.url_of(key)!r} lies among the objects of version {manifest.version!r}, and its manifest says "
                "nothing of it; readers pass it over: find out who wrote it, then delete it"
            )


def check_promotion(dataset: Store, manifest: Manifest) -> None:
    """Make sure that a version which gates refuse was promoted, where LATEST names it or named it.

    Raises:
        IntegrityError: nobody did; names the gate.
    """
    refusing = next((gate for gate in manifest.gates if not gate.passed), None)
    if refusing is None:
        return
    latest = peek_latest(dataset)[0]
    is_latest = latest is not None and latest.version == manifest.version
    if not is_latest and published_sha256(dataset, manifest.version) is None:
        return  # a candidate, which says itself what refuses it
    if promotion_of(dataset, manifest.version, latest) is None:
        key = LATEST_KEY if is_latest else published_key(manifest.version)
        raise IntegrityError(
            f"{dataset.url_of(key)} names version {manifest.version!r}, which {refusing.name} refuses (measured "
            f"{refusing.measured:g}, limit {refusing.limit:g}), and no promotion of it is noted: `aesthetics-ops rollback` goes to "
            "another version"
        )


def _check_completeness(name: str, manifest: Manifest) -> None:
    """A release that notes the files notes the rest, too; what is left out would not be compared."""
    if manifest.files is None:
        return
    for field in ("converter", "jpegs"):
        if getattr(manifest, field) is None:
            raise IntegrityError(f"{name} states files and no {field}, which every release that states files does")
    for setting in BuildSettings.model_fields:
        if setting not in manifest.settings and setting not in _LATE_SETTINGS:
            raise IntegrityError(
                f"{name} states files and no settings.{setting}, which every release that states files does"
            )
    if not manifest.gates:
        raise IntegrityError(f"{name} states no gates")
    for split in manifest.splits:
        if split not in SPLITS:
            raise IntegrityError(f"{name} has splits.{split}, and a version has {', '.join(SPLITS)} at most")


def _check_features(name: str, manifest: Manifest) -> None:
    """Features that this release knows are as records have them; those of every record are there."""
    known = features_with(manifest.source.ratings, has_votes=True, extra_scores=settings_of(manifest).extra_scores)
    for feature in sorted({*manifest.features, *_ALWAYS}.intersection(known)):
        _equal(f"{name}: features.{feature}", manifest.features.get(feature), "records have", known[feature])


def _check_settings(name: str, manifest: Manifest) -> None:
    """What is stated beside the settings, and decided by them, is what they say."""
    said: Mapping[str, Any] = manifest.settings
    for field, found, setting in (
        ("dataset", manifest.dataset, "dataset"),
        ("source.photos", manifest.source.photos, "photos"),
        ("source.labels", manifest.source.labels, "labels"),
        ("labels.scale", manifest.labels.scale, "label_scale"),
        *((f"gates.{number}.limit, {gate.name},", gate.limit, gate.name) for number, gate in enumerate(manifest.gates)),
    ):
        if setting in said and said[setting] is not None:
            _equal(f"{name}: {field}", found, f"settings.{setting} is", said[setting])
    allowed, taken = said.get("near_duplicate_distance"), manifest.near_duplicates.max_distance
    if "near_duplicate_distance" in said and taken is not None and (allowed is None or taken > allowed):
        raise IntegrityError(
            f"{name}: near_duplicates.max_distance {taken} is more than settings.near_duplicate_distance {allowed}"
        )
    if (manifest.labels.source_min is None) != (manifest.labels.source_max is None):
        raise IntegrityError(f"{name}: one of labels.source_min and labels.source_max is null")
    for number, gate in enumerate(manifest.gates):
        if gate.name == "min_records":
            _equal(f"{name}: gates.{number}.measured, {gate.name},", gate.measured, "records", manifest.records)


def _check_examples(name: str, tables: VersionTables) -> None:
    """The near-duplicates that the manifest shows are some of the table's."""
    wanted = {photo for group in tables.manifest.near_duplicates.examples for photo in group}
    for rows in tables.batches(VersionFile.NEAR_DUPLICATES, ["id"]) if wanted else ():
        wanted.difference_update(rows["id"].to_pylist())
    if wanted:
        raise IntegrityError(
            f"{name}: near_duplicates.examples names {min(wanted)!r}, which is not in {VersionFile.NEAR_DUPLICATES}"
        )


def _equal(field: str, found: Any, of: str, expected: Any) -> None:
    if found != expected:
        raise IntegrityError(f"{field} is {found!r}, and {of} {expected!r}")
