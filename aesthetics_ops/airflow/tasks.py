"""What the tasks of a dataset's DAG do: open the build of their run, call their stage, return a small summary.

A permanent error fails a task at once, with the command that runs the stage which has to come first; any other error is
Airflow's to retry.  Stages are imported in the tasks, since Airflow imports this module whenever it parses the DAG file.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from airflow.sdk import Asset, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from aesthetics_ops.airflow.access import open_configured, s3_access
from aesthetics_ops.airflow.ending import SECONDS_TO_END, ending_at_signals
from aesthetics_ops.airflow.lineage import emit_lineage
from aesthetics_ops.airflow.log import (
    count_photos,
    gauge_figures,
    gauge_version,
    say_partition,
    say_settings,
    say_version,
)
from aesthetics_ops.airflow.notices import keep_news, keep_problem
from aesthetics_ops.errors import (
    GateError,
    InputMissingError,
    IntegrityError,
    NoSuchVersionError,
    PermanentError,
    TransientError,
)

if TYPE_CHECKING:
    from aesthetics_ops.builds import Build, BuildPlan
    from aesthetics_ops.config import DatasetConfig
    from aesthetics_ops.dataset.candidates import CandidateMark
    from aesthetics_ops.dataset.manifest import Manifest
    from aesthetics_ops.store import S3Access, Store

__all__ = [
    "Question",
    "download_and_convert",
    "expire",
    "failing_in_one_line",
    "plan",
    "promote",
    "publish",
    "question",
    "take_answer",
    "validate",
]

_log = logging.getLogger(__name__)

_TASK_OF_STAGE: Final = {"plan": "plan", "convert": "download_and_convert", "validate": "validate"}
_GRACE: Final = timedelta(days=1)  # what LATEST or a pointer named so lately, somebody may still read
_MAPPED: Final = frozenset({"download_and_convert", "validate"})


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What a run of the DAG gives each of its tasks.

    Attributes:
        values: of the settings, from the trigger form or the conf.
        build_id: made from the run's date, so that each task finds it alone.
        s3: how to reach s3:// URLs.
    """

    values: dict[str, Any]
    build_id: str
    s3: "S3Access"

    def open_dataset(self) -> "Store":
        """Open the store that the run publishes into."""
        from aesthetics_ops.store import open_store

        return open_store(self.values["dataset"], s3=self.s3)

    def resume(self) -> "tuple[Build, BuildPlan]":
        """Open the build as `plan` left it."""
        from aesthetics_ops.builds import resume_build

        return resume_build(self.values["dataset"], self.build_id, s3=self.s3)


def plan(config: "DatasetConfig", *, partitions: int) -> dict[str, Any]:
    """Plan the build of this run, in as many parts as it has mapped tasks.

    Args:
        config: of the dataset.
        partitions: mapped tasks that the DAG has where this worker parses it.  The run's own number counts where it is
            known: the scheduler, whose environment may differ, has made its tasks already.
    """
    with _attempt(config) as attempt:
        from aesthetics_ops.builds import open_build
        from aesthetics_ops.planning.stage import plan_build
        from aesthetics_ops.settings import parse_settings

        settings = parse_settings(attempt.values, where="trigger form or conf")
        say_settings(settings, attempt.build_id)
        build = open_build(settings, attempt.build_id, s3=attempt.s3)
        partitions = _mapped_in_this_run() or partitions
        return plan_build(build, created_at=datetime.now(UTC), partitions=partitions).summary


def download_and_convert(config: "DatasetConfig", partition: int) -> dict[str, Any]:
    """Make the shards of one partition."""
    with _partition(config, partition) as (build, record, number):
        from aesthetics_ops.conversion.partition import convert_partition

        say_partition(record, number, "making")
        summary = convert_partition(build, record, number)
        count_photos(config.name, summary)
        gauge_figures(config.name, "conversion", number, summary.figures.numbers)
        return summary.numbers


def validate(config: "DatasetConfig", partition: int) -> dict[str, float]:
    """Read the shards of one partition back."""
    with _partition(config, partition) as (build, record, number):
        from aesthetics_ops.validation.partition import validate_partition

        say_partition(record, number, "reading back")
        summary = validate_partition(build, record, number)
        gauge_figures(config.name, "validation", number, summary.figures.numbers)
        return summary.numbers


def publish(config: "DatasetConfig", latest: Asset, sent: Any, event: Any) -> dict[str, Any]:
    """Publish the build.  Skipped where nothing changed.  Where a person is asked about what gates refuse, it ends well all the same.

    Args:
        config: of the dataset.
        latest: the asset that a new version updates.
        sent: its events so far, as `inlet_events` gives them; each has the summary of a version in its `extra`.
        event: takes its next one, as `outlet_events` gives it for an alias.  It gets one if the run built the table's own
            dataset, and the version has none yet: a publish that is cleared and runs again starts no training twice.
    """
    with _attempt(config) as attempt:
        from aesthetics_ops.publishing.publish import publish_build

        build, record = attempt.resume()
        _log.info(
            "accounting for %d photos and looking for near-duplicates; nothing more is said until that is done",
            record.listed,
        )
        try:
            published = publish_build(build, record)
        except GateError as error:
            if error.candidate is None or not config.airflow.ask_on_refusal:
                raise
            _log.warning("%s; task 'ask' asks a person", error)
            return _refused(build.dataset.url, error)
    manifest = published.manifest
    say_version(manifest)
    if not published.is_new:
        repaired = f"; {published.repaired} of its shards were repaired" if published.repaired else ""
        raise AirflowSkipException(f"nothing changed since version {manifest.version}{repaired}")
    _send(config, manifest, published.summary, latest, sent, event)
    return published.summary


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked of a version that a gate refused.

    Attributes:
        url: of the dataset.
        manifest: of the version.
        mark: of the candidate; None where LATEST names it already, so that there is nothing to ask.
        refusal: the line that `publish` ended with.
    """

    url: str
    manifest: "Manifest"
    mark: "CandidateMark | None"
    refusal: str


def question(config: "DatasetConfig") -> Question:
    """Return what a person is to be asked.  Skipped where no gate refused.

    Where nothing says how `publish` ended, as under `tasks test`, the build is published once more: it finds its candidate.
    """
    with _attempt(config) as attempt:
        from aesthetics_ops.publishing.publish import publish_build
        from aesthetics_ops.versions.promote import candidate_to_promote

        ended = get_current_context()["ti"].xcom_pull(task_ids="publish")
        if ended is None:
            build, record = attempt.resume()
            try:
                ended = publish_build(build, record).summary
            except GateError as error:
                if error.candidate is None:
                    raise
                ended = _refused(attempt.values["dataset"], error)
        if "refused" not in ended:
            raise AirflowSkipException("no gate refused, so nobody is asked")
        dataset = attempt.open_dataset()
        manifest, mark = candidate_to_promote(dataset, ended["version"])
        return Question(dataset.url, manifest, mark, ended["refused"])


def take_answer(config: "DatasetConfig", version: str, event: Mapping[str, Any], *, approve: str) -> dict[str, str]:
    """Return who approved a version, and why; any other answer, and none in time, fails the task.

    Args:
        config: of the dataset.
        version: that was asked about.
        event: the answer, as Airflow gives it.
        approve: the option that approves.
    """
    from aesthetics_ops.dataset.moves import MOST_CHARACTERS, Given

    with failing_in_one_line(config):
        stays = f"this run publishes nothing, version {version!r} stays as it is"
        if "error" in event:
            why = f"nobody answered within {config.airflow.answer_within_h:g} hours"
            if event.get("error_type") != "timeout":
                why = f"no answer: {event['error']}"
            raise GateError(f"not published: {why}; {stays}", candidate=version)
        user = event.get("responded_by_user") or {}
        by = str(user.get("name") or user.get("id") or "somebody whom Airflow does not name")
        said = (event.get("params_input") or {}).get("reason")
        reason = "" if said is None else str(said).strip()[:MOST_CHARACTERS]  # the API lets more pass than the form
        if list(event["chosen_options"]) != [approve]:
            why = f": {' '.join(reason.split())}" if reason else ""
            raise GateError(f"not published: {by} rejected it{why}; {stays}", candidate=version)
        given = Given.of(by, reason or f"approved in Airflow by {by}")
    _log.info("version %s is approved by %s: %s", version, given.by, given.reason)
    return {"version": version, "by": given.by, "reason": given.reason}


def promote(config: "DatasetConfig", latest: Asset, sent: Any, event: Any) -> dict[str, Any]:
    """Publish the candidate that a person approved.  Arguments are those of `publish`."""
    with _attempt(config) as attempt:
        from aesthetics_ops.dataset.moves import Given
        from aesthetics_ops.publishing.publish import published_as
        from aesthetics_ops.versions.promote import promote

        approved = get_current_context()["ti"].xcom_pull(task_ids="ask")
        if not isinstance(approved, dict):
            raise GateError(
                "nobody has approved a version in this run; clear 'ask' and answer it, or without Airflow: `aesthetics-ops promote "
                f"{attempt.values['dataset']} VERSION --reason TEXT`"
            )
        dataset = attempt.open_dataset()
        manifest = promote(dataset, approved["version"], Given(approved["by"], approved["reason"]))
        published = published_as(dataset, manifest)
    say_version(manifest)
    _send(config, manifest, published.summary, latest, sent, event)
    return published.summary


def expire(config: "DatasetConfig") -> dict[str, Any]:
    """Delete what the table's retention lets go, and say why the rest stays.  Skipped where nothing was ever published."""
    days = config.airflow.expire_older_than_days
    with failing_in_one_line(config):
        from aesthetics_ops.versions.expire import expire_versions

        try:
            expired = expire_versions(
                open_configured(config),
                keep=config.airflow.expire_keep,
                older_than=None if days is None else timedelta(days=days),
                grace=_GRACE,
                now=datetime.now(UTC),
            )
        except NoSuchVersionError as error:
            raise AirflowSkipException(str(error)) from None
    for version, why in expired.stays.items():
        _log.info("%s stays: %s", version, "; ".join(why))
    summary = {
        "dataset": config.build.dataset, "versions": list(expired.versions), "candidates": list(expired.candidates),
        "builds": len(expired.builds), "objects": expired.objects, "bytes": expired.bytes,
    }  # fmt: skip
    _log.info("deleted: %s", summary)
    return summary


def _refused(url: str, error: GateError) -> dict[str, Any]:
    """Return what `publish` returns of a refusal that a person is asked about."""
    return {"published": False, "dataset": url, "version": error.candidate, "refused": str(error)}


def _send(
    config: "DatasetConfig", manifest: "Manifest", summary: dict[str, Any], latest: Asset, sent: Any, event: Any
) -> None:
    """Send the event of a new version, unless it has one, or is another dataset's; the last three are those of `publish`."""
    emit_lineage(manifest, f"{manifest.dataset}LATEST.json")
    if manifest.dataset != config.build.dataset:
        _log.info("no event of %s: this run built %s", latest.uri, manifest.dataset)
    elif any(earlier.extra.get("version") == manifest.version for earlier in sent.after(f"{manifest.created_at}")):
        _log.info("no second event of %s: version %s has one", latest.uri, manifest.version)
    else:
        gauge_version(config.name, manifest)
        event.add(latest, extra=summary)
        keep_news(cast(dict[str, Any], get_current_context()), summary)


def _mapped_in_this_run() -> int:
    """Return how many mapped tasks the scheduler made for this run; 0 where none are made yet, as under `tasks test`."""
    context = get_current_context()
    task = _TASK_OF_STAGE["convert"]
    return context["ti"].get_ti_count(
        dag_id=context["dag"].dag_id, task_ids=[task], run_ids=[context["dag_run"].run_id]
    )


@contextmanager
def _attempt(config: "DatasetConfig") -> Iterator[_Attempt]:
    """Give a task what its run says; fail it at once where no retry can help."""
    from aesthetics_ops.dataset.layout import build_id_from

    context = cast(dict[str, Any], get_current_context())
    run = context["dag_run"]
    with failing_in_one_line(config):
        build_id = build_id_from(f"{run.logical_date:%Y-%m-%dT%H%M%S}" if run.logical_date else run.run_id)
        yield _Attempt(dict(context["params"]) | dict(run.conf or {}), build_id, s3_access(config))


@contextmanager
def failing_in_one_line(config: "DatasetConfig", *, seconds_to_end: float | None = SECONDS_TO_END) -> Iterator[None]:
    """Make of what a task raises one message, kept for the notifiers; say whether a retry can help.

    Args:
        config: of the dataset.
        seconds_to_end: that the task has for ending after a signal; None: as long as it takes.
    """
    context = cast(dict[str, Any], get_current_context())
    try:
        with ending_at_signals(context, seconds_to_end):
            yield
    except PermanentError as error:
        message = f"{error}{_what_to_run(error, config.name, context['dag_run'])}"
        keep_problem(context, error, message)
        _log.debug("what led to the failure", exc_info=True)
        raise AirflowFailException(message) from None
    except TransientError as error:
        keep_problem(context, error, str(error))
        _log.debug("what led to the failure", exc_info=True)
        raise AirflowException(str(error)) from None
    except AirflowException:  # a skip, or said already
        raise
    except Exception as error:  # nobody foresaw it: Airflow shows all of it
        keep_problem(context, error, repr(error))
        raise


@contextmanager
def _partition(config: "DatasetConfig", partition: int) -> Iterator[tuple["Build", "BuildPlan", int]]:
    """Give a mapped task its build and its partition; skip it when the plan has less work than tasks.

    The partition is the task's number in the run.  Its argument comes from the DAG as this worker parses it, which may
    have fewer mapped tasks than the scheduler made.
    """
    with _attempt(config) as attempt:
        build, record = attempt.resume()
        context = cast(dict[str, Any], get_current_context())
        partition = partition if context["ti"].map_index < 0 else context["ti"].map_index
        if partition >= len(record.partitions):
            context["holds"] = f"{partition}: empty"
            raise AirflowSkipException(
                f"the work is worth {len(record.partitions)} partitions; number {partition} has none"
            )
        part = record.partitions[partition]
        context["holds"] = (
            f"{partition}: {len(part.shards)} shards, {part.photos} photos, {part.source_bytes / 1e6:.1f} MB"
        )
        yield build, record, partition


def _what_to_run(error: PermanentError, dag_id: str, run: Any) -> str:
    """Return the command that runs the stage which an error asks for; empty where it asks for none."""
    if not isinstance(error, InputMissingError | IntegrityError) or error.stage is None:
        return ""
    task = _TASK_OF_STAGE[error.stage]
    date = run.logical_date
    when = run.run_id if date is None else f"{date:%Y-%m-%dT%H:%M:%S}".removesuffix("T00:00:00")
    number = "N" if error.partition is None else error.partition
    index = f" --map-index {number}" if task in _MAPPED else ""
    return f" (clear {task!r} in this run; or alone: airflow tasks test {dag_id} {task} {when}{index})"
