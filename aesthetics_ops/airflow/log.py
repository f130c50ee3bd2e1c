"""What a task's log says of a build, and what Airflow's metrics count of it.

In: settings, the plan, what a stage did.  Out: lines for an operator, and numbers for StatsD or OpenTelemetry where Airflow
sends its own there.
Promised: numbers that cannot be sent cost a line, and no task.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from aesthetics_ops.builds import BuildPlan
    from aesthetics_ops.conversion.partition import ConversionSummary
    from aesthetics_ops.dataset.manifest import Manifest
    from aesthetics_ops.settings import BuildSettings

__all__ = [
    "count_photos",
    "gauge_figures",
    "gauge_version",
    "in_words",
    "say_partition",
    "say_settings",
    "say_version",
    "without_addresses",
]

_log = logging.getLogger(__name__)

_PREFIX: Final = "aesthetics"
_ADDRESS: Final = re.compile(r"\S*[/?&@]\S*")


def say_settings(settings: "BuildSettings", build_id: str) -> None:
    """Say what is built from what, and which settings are not the defaults; then that a listing may take long."""
    _log.info(
        "photos %s, scores %s, dataset %s, build %s", settings.photos, settings.labels, settings.dataset, build_id
    )
    fields = type(settings).model_fields
    others = [
        f"{name} = {value!r}"
        for name, value in settings
        if name not in ("photos", "labels", "dataset") and value != fields[name].default
    ]
    _log.info("settings that differ from the defaults: %s", ", ".join(others) or "none")
    _log.info(
        "listing the photos and reading the scores; nothing more is said until that is done, minutes for millions of photos"
    )


def say_partition(plan: "BuildPlan", number: int, doing: str) -> None:
    """Say how much work a mapped task has, before its first shard is done."""
    part = plan.partitions[number]
    _log.info(
        "partition %d: %s %d shards with %d photos, %.1f MB; a line follows for each shard",
        number, doing, len(part.shards), part.photos, part.source_bytes / 1e6,
    )  # fmt: skip


def say_version(manifest: "Manifest") -> None:
    """Say what a version holds, what was left out and why, and what its gates measured."""
    _log.info(
        "version %s: %d records, %.1f MB, made of %d listed photos; left out: %s",
        manifest.version, manifest.records, manifest.bytes / 1e6, manifest.accounting.listed, in_words(manifest.rejects),
    )  # fmt: skip
    for gate in manifest.gates:
        bound = f"at {gate.bound}" if gate.bound else "limit"
        _log.info("gate %s: measured %.4g, %s %g %s", gate.name, gate.measured, bound, gate.limit, gate.unit)


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts by reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {reason}" for reason, count in ordered if count) or "none"


def count_photos(dag_id: str, summary: "ConversionSummary") -> None:
    """Say and count the photos that a task read, and those of them that it left out."""
    _log.info(
        "%d of %d shards made by this task, %d photos read, %d copied from the version before, left out: %s",
        summary.built, summary.shards, summary.photos, summary.copied, in_words(summary.rejected),
    )  # fmt: skip
    with _sending():
        stats.incr(f"{_PREFIX}.photos", summary.photos, tags={"dag_id": dag_id})
        stats.incr(f"{_PREFIX}.photos_rejected", sum(summary.rejected.values()), tags={"dag_id": dag_id})


def gauge_figures(dag_id: str, stage: str, partition: int, numbers: Mapping[str, float]) -> None:
    """Give the figures of a task as gauges; those of a task that found nothing to do are not given.

    Args:
        dag_id: of the task.
        stage: "conversion" or "validation".
        partition: that the task worked on.
        numbers: by name.
    """
    if not numbers["seconds"]:
        return
    with _sending():
        for name, value in numbers.items():
            stats.gauge(f"{_PREFIX}.{stage}.{name}", value, tags={"dag_id": dag_id, "partition": str(partition)})


def gauge_version(dag_id: str, manifest: "Manifest") -> None:
    """Count a new version, and give what it holds as gauges."""
    numbers = {"records": manifest.records, "rejects": manifest.accounting.rejected, "bytes": manifest.bytes}
    with _sending():
        stats.incr(f"{_PREFIX}.versions", 1, tags={"dag_id": dag_id})
        for name, value in numbers.items():
            stats.gauge(f"{_PREFIX}.{name}", value, tags={"dag_id": dag_id})


@contextmanager
def _sending() -> Iterator[None]:
    """Let numbers be sent; what was done stands, whatever becomes of them."""
    try:
        yield
    except Exception as error:  # of a client that anyone may replace
        _log.warning("Airflow's metrics did not take this task's numbers: %s", type(error).__name__)


def without_addresses(error: Exception) -> str:
    """Return what another's code says in an error, without words that may be part of a URL: these may hold a password or a key."""
    return _ADDRESS.sub("...", " ".join(str(error).split()))
