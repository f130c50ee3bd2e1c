"""What the tasks of a dataset's training DAG do: find the version, pin it, train on it.

The first task is light; the second alone imports what trains.  A permanent error fails at once, in one line.
"""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from aesthetics_ops.airflow.access import open_configured, s3_access
from aesthetics_ops.airflow.tasks import failing_in_one_line
from aesthetics_ops.errors import TrainingFailedError

if TYPE_CHECKING:
    from aesthetics_ops.config import DatasetConfig
    from aesthetics_ops.training.stage import Training
    from aesthetics_ops.training_settings import TrainingSettings

__all__ = ["choose", "train"]

_log = logging.getLogger(__name__)


def choose(config: "DatasetConfig") -> dict[str, Any]:
    """Find the version to train on and pin it; return what `train` needs.  Skipped where it was trained on."""
    context = cast(dict[str, Any], get_current_context())
    settings = _settings(config)
    with failing_in_one_line(config):
        from aesthetics_ops.training.stage import assign, keep_version

        dataset = open_configured(config)
        assignment = assign(dataset, _asked(context), settings, s3=s3_access(config))
        if assignment.is_done:
            raise AirflowSkipException(_done(assignment.version, assignment.folder))
        name = keep_version(dataset, assignment, run=_run(context))
        _log.info(
            "version %s is pinned by %s; the training will lie in %s", assignment.version, name, assignment.folder
        )
    return asdict(assignment)


def train(config: "DatasetConfig", chosen: dict[str, Any]) -> dict[str, Any]:
    """Train on the version that was chosen.  Skipped where that was done meanwhile."""
    context = cast(dict[str, Any], get_current_context())
    # a function that is told to end may save what it has: as long as Airflow gives it
    with failing_in_one_line(config, seconds_to_end=None):
        from aesthetics_ops.training.stage import Assignment, train_version

        try:
            done = train_version(Assignment(**chosen), _settings(config), run=_run(context), s3=s3_access(config))
        except TrainingFailedError as error:
            if isinstance(error.__cause__, AirflowException):  # the function speaks to Airflow: skip, or fail for good
                raise error.__cause__ from None
            raise
    if not done.is_new:
        raise AirflowSkipException(_done(done.assignment.version, done.assignment.folder))
    for line in _metrics(done):
        _log.info(line)
    return {"version": done.assignment.version, "model": done.model, **done.metrics.model_dump(mode="json")}


def _asked(context: dict[str, Any]) -> str | None:
    """Return the version that the run names, or its newest event; None: neither does."""
    if named := context["params"].get("version"):
        return str(named)
    triggering = context.get("triggering_asset_events") or {}
    events = sorted((event for events in triggering.values() for event in events), key=lambda event: event.timestamp)
    versions = [str(event.extra["version"]) for event in events if (event.extra or {}).get("version")]
    if len(versions) > 1:
        _log.info(
            "%d versions since the last run; the newest alone is trained on: %s", len(versions), ", ".join(versions)
        )
    if not versions:
        _log.info("the run names no version, so it is the one that LATEST names")
    return versions[-1] if versions else None


def _settings(config: "DatasetConfig") -> "TrainingSettings":
    assert config.training is not None  # noqa: S101 - its DAG is made where there is one
    return config.training


def _run(context: dict[str, Any]) -> str:
    return f"{context['dag'].dag_id} {context['dag_run'].run_id}"


def _done(version: str, folder: str) -> str:
    return f"version {version} was trained on with these settings: {folder}; nothing is done"


def _metrics(done: "Training") -> list[str]:
    """Return what the model is worth, a line for each split."""
    lines = [f"model {done.model}"]
    for split, found in done.metrics.splits.items():
        numbers = {"MAE": found.mae, "MAE of the mean": found.mae_of_mean, "Spearman": found.spearman, "EMD": found.emd}
        shown = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items() if value is not None)
        lines.append(f"{split}, {found.records} photos: {shown}")
    return lines
