"""Write down what a version is: its manifest.

In: the plan, the shards, the tables, and what the gates measured.  Out: the manifest, all its counts checked.
"""

import hashlib
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from aesthetics_ops.builds import BuildPlan
from aesthetics_ops.dataset.documents import problems_of
from aesthetics_ops.dataset.layout import SPLITS, version_name
from aesthetics_ops.dataset.manifest import (
    Accounting,
    ConverterOf,
    GateResult,
    Manifest,
    Reuse,
    Shard,
    Source,
    Split,
    Stratification,
    Validation,
)
from aesthetics_ops.dataset.statistics import (
    image_statistics,
    jpeg_statistics,
    label_statistics,
    score_statistics,
    vote_statistics,
)
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.publishing.account import BuiltShard
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.rejects import RejectReason

__all__ = ["describe_version", "fingerprint_of"]

_SOFTWARE: Final = (
    "aesthetics-ops", "numpy", "obstore", "opencv-python-headless", "pillow", "pillow-heif", "pyarrow", "simplejpeg",
)  # fmt: skip
_release = cache(version)  # it reads files


def fingerprint_of(shards: Sequence[BuiltShard]) -> str:
    """Return the sha256, in hex, over the recipes of a version: equal content, equal fingerprint."""
    return hashlib.sha256("".join(f"{shard.split}:{shard.digest}\n" for shard in shards).encode()).hexdigest()


def describe_version(
    dataset_url: str,
    plan: BuildPlan,
    candidate: Candidate,
    shards: Sequence[BuiltShard],
    gates: tuple[GateResult, ...],
) -> Manifest:
    """Return the manifest of the version to be.

    Args:
        dataset_url: that it is published under.
        plan: of the build.
        candidate: its tables, and the version before.
        shards: in reading order; those without records, too.
        gates: what they measured.

    Raises:
        IntegrityError: photos, label rows or records do not add up.
    """
    try:
        return _manifest(dataset_url, plan, candidate, shards, gates)
    except ValidationError as error:
        raise IntegrityError(
            f"build {plan.build!r} does not add up, so it is not published: {problems_of(error)}"
        ) from error


def _manifest(
    dataset_url: str,
    plan: BuildPlan,
    candidate: Candidate,
    shards: Sequence[BuiltShard],
    gates: tuple[GateResult, ...],
) -> Manifest:
    fingerprint = fingerprint_of(shards)
    entries = [shard.entry for shard in shards if shard.entry is not None]
    low, high = plan.label_range or (None, None)
    return Manifest(
        dataset=dataset_url,
        version=version_name(plan.created_at, fingerprint, plan.tag),
        parent=plan.parent,
        created_at=plan.created_at,
        source=_source(plan),
        settings=plan.settings.model_dump(mode="json"),
        settings_digest=plan.settings.digest,
        software={name: _release(name) for name in _SOFTWARE} | {"python": platform.python_version()},
        features=plan.features,
        accounting=_accounting(plan, candidate),
        rejects=dict(candidate.reasons),
        transforms=_count_transforms(candidate.records),
        splits=_splits(shards),
        labels=label_statistics(candidate.records["label"], plan.settings.label_scale, low, high),
        votes=vote_statistics(candidate.records),
        extra_scores=score_statistics(candidate.records),
        images=image_statistics(candidate.records),
        jpegs=jpeg_statistics(candidate.records),
        reuse=_reuse(entries, candidate.parent),
        near_duplicates=candidate.near_duplicates,
        gates=gates,
        validation=_validation(shards),
        fingerprint=fingerprint,
        stratification=None if plan.split_edges is None else Stratification(edges=plan.split_edges),
        converter=ConverterOf(version=plan.converter_version, codecs=plan.codecs),
    )


def _source(plan: BuildPlan) -> Source:
    return Source(
        photos=plan.settings.photos,
        listed=plan.listed,
        bytes=plan.listed_bytes,
        labels=plan.settings.labels,
        labels_etag=plan.labels_etag,
        label_rows=plan.label_rows,
        label_columns=plan.label_columns,
        matched_by=plan.matched_by,
        ratings=plan.ratings,
        inventory=plan.inventory,
    )


def _accounting(plan: BuildPlan, candidate: Candidate) -> Accounting:
    unmatched = candidate.reasons.get(RejectReason.LABEL_WITHOUT_PHOTO, 0)
    return Accounting(
        listed=plan.listed,
        converted=candidate.records.num_rows,
        rejected=sum(candidate.reasons.values()) - unmatched,
        label_rows=plan.label_rows,
        matched=plan.label_rows - plan.unmatched,
        unmatched=unmatched,
    )


def _count_transforms(records: pa.Table) -> dict[str, int]:
    """Return how many records each transform was done to, the most frequent first."""
    counts = pc.value_counts(pc.list_flatten(records["transforms"])).to_pylist()
    return {row["values"]: row["counts"] for row in sorted(counts, key=lambda row: -row["counts"])}


def _splits(shards: Sequence[BuiltShard]) -> dict[str, Split]:
    splits = {}
    for name in SPLITS:
        entries = tuple(shard.entry for shard in shards if shard.split == name and shard.entry is not None)
        splits[name] = Split(
            records=sum(entry.records for entry in entries), bytes=sum(entry.bytes for entry in entries), shards=entries
        )
    return splits


def _reuse(entries: Sequence[Shard], parent: Manifest | None) -> Reuse:
    inherited = {entry.digest for split in parent.splits.values() for entry in split.shards} if parent else set()
    reused = sum(entry.digest in inherited for entry in entries)
    return Reuse(shards_total=len(entries), shards_added=len(entries) - reused, shards_reused=reused)


def _validation(shards: Sequence[BuiltShard]) -> Validation:
    return Validation(
        records=sum(shard.validation.records for shard in shards),
        decoded=sum(shard.validation.decoded for shard in shards),
    )
