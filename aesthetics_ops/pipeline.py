"""A whole build on one machine: plan, convert, validate, publish, without Airflow.

In: settings.  Out: a published version.
Each step is a function of its own, and imports its stage when it is called: who only plans does not pay for a decoder, and
TensorFlow is loaded when the first shard is read back.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from aesthetics_ops.builds import Build, BuildPlan, open_build
from aesthetics_ops.errors import InputMissingError, IntegrityError, SettingsError
from aesthetics_ops.figures import ShardReading, WorkFigures
from aesthetics_ops.machine import codec_threads
from aesthetics_ops.progress import Progress, silent
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import S3Access

if TYPE_CHECKING:
    from aesthetics_ops.conversion.partition import ConversionSummary
    from aesthetics_ops.processes.shard_reader import ShardReader
    from aesthetics_ops.publishing.publish import Published
    from aesthetics_ops.validation.partition import ValidationSummary

__all__ = ["build_dataset", "convert_build", "start_build", "validate_build"]

_log = logging.getLogger(__name__)

_MADE_ANEW: Final = 3  # times: a store that alters every upload is not tried for ever
_PARTS_OF_PROCESS: Final = 4  # so that none waits long for the last


def build_dataset(
    settings: BuildSettings,
    *,
    s3: S3Access | None = None,
    build_id: str | None = None,
    created_at: datetime | None = None,
    partitions: int | None = None,
    processes: int = 1,
    progress: Progress = silent,
) -> "Published":
    """Make a version of a dataset and publish it: all stages, on this machine.

    What an earlier build finished is not made again: a call that was interrupted goes on where it stopped, and one that finds
    nothing changed publishes nothing.

    Args:
        settings: of the build.
        s3: how to reach s3:// URLs; None leaves it to boto3: environment, profile, AWS_ENDPOINT_URL.
        build_id: names `builds/<build_id>/` in the dataset; by default made from `created_at`, and unlike any other.
        created_at: the version's name begins with this time, which has a zone; by default now.
        partitions: parts that the work is cut into at most; by default 1, and a few for each process where there are several.
        processes: how many convert and validate, each on its share of the cores; they are started anew (`processes/`), and need
            the work to have several parts.  With one, all is done in this process, part after part.
        progress: told of each partition that is converted or validated, in photos; where several processes work, of all.

    Returns:
        The version that LATEST names now, whether this call made it, and how fast it converted and read back.

    Raises:
        LabelError: the label file cannot be used.
        PlanError: there is nothing to build from.
        GateError: the version is complete, and a gate refuses it.
        PublishConflictError: another build published first.
        IntegrityError: a shard is not what its result says, though it was made anew.
        SettingsError, StoreRefusedError: a URL cannot be opened, or the store says no; several processes are asked for with `s3`,
            which stays in this one; AESTHETICS_THREADS or AESTHETICS_TASKS is no number that it may be.
        TransientError: the store gave no answer, the disk is full, or a process was killed; the same call goes on later.
    """
    from aesthetics_ops.processes.shard_reader import shard_reader
    from aesthetics_ops.publishing.publish import publish_build

    if processes > 1 and s3 is not None:
        raise SettingsError(
            "several processes reach s3:// URLs by the environment only; leave out s3, or take one process"
        )
    codec_threads()  # what the environment says wrong is said before there is a plan
    parts = partitions or (1 if processes == 1 else processes * _PARTS_OF_PROCESS)
    build, plan = start_build(settings, s3=s3, build_id=build_id, created_at=created_at, partitions=parts)
    if processes > 1 and len(plan.partitions) > 1:
        work = _work_side_by_side(build, plan, processes, progress)
        published = publish_build(build, plan)
    else:
        with nullcontext() if s3 is not None else shard_reader(build, plan) as reader:
            work = _work_alone(build, plan, progress, reader)
            published = publish_build(build, plan, read_back=iter if reader is None else reader.read_back)
    return replace(published, conversion=work.conversion, validation=work.validation)


def start_build(
    settings: BuildSettings,
    *,
    s3: S3Access | None = None,
    build_id: str | None = None,
    created_at: datetime | None = None,
    partitions: int = 1,
) -> tuple[Build, BuildPlan]:
    """Open a build and plan it; arguments and errors are those of `build_dataset`."""
    from aesthetics_ops.planning.stage import plan_build

    created_at = created_at or datetime.now(UTC)
    build = open_build(
        settings, build_id or f"local-{created_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:6]}", s3=s3
    )
    return build, plan_build(build, created_at=created_at, partitions=partitions)


def _work_side_by_side(build: Build, plan: BuildPlan, processes: int, progress: Progress) -> WorkFigures:
    """Convert and read back a plan in several processes; each photo counts twice."""
    from aesthetics_ops.processes.crew import run_build

    _load_plotting_meanwhile()
    with progress("convert, validate", 2 * sum(part.photos for part in plan.partitions), "photo") as done:
        return run_build(build, plan, processes, done)


def _work_alone(build: Build, plan: BuildPlan, progress: Progress, reader: "ShardReader | None") -> WorkFigures:
    """Convert and read back a plan in this process; where there is another, that reads shards back meanwhile."""
    if reader is None:
        made = convert_build(build, plan, progress=progress)
        meanwhile: Sequence[ShardReading] = []
    else:
        made = convert_build(build, plan, progress=progress, made=reader.read)
        _load_plotting_meanwhile()
        with progress("validate", sum(part.photos for part in plan.partitions), "photo") as done:
            reader.finish(done)
        if reader.is_at_work:
            progress = silent  # what is left to do is to find that all is done
        meanwhile = reader.readings
    again, read = _read_back(build, plan, progress, meanwhile)
    return WorkFigures.of([part.figures for part in made + again], [part.figures for part in read])


def _load_plotting_meanwhile() -> None:
    """Load what draws the report's plots while this process waits for others."""

    def load() -> None:
        with suppress(Exception):  # the report says what is wrong, where it is made
            from aesthetics_ops.report.plots import load_plotting

            load_plotting()

    threading.Thread(target=load, name="load plotting", daemon=True).start()


def convert_build(
    build: Build, plan: BuildPlan, *, progress: Progress = silent, made: Callable[[str], None] = lambda digest: None
) -> "list[ConversionSummary]":
    """Convert every partition of a plan, one after the other; `made` and errors are those of `convert_partition`."""
    from aesthetics_ops.conversion.partition import convert_partition

    summaries = []
    for number, partition in enumerate(plan.partitions):
        with progress("convert", partition.photos, "photo") as done:
            summaries.append(convert_partition(build, plan, number, progress=done, made=made))
    return summaries


def _read_back(
    build: Build, plan: BuildPlan, progress: Progress, meanwhile: Sequence[ShardReading]
) -> "tuple[list[ConversionSummary], list[ValidationSummary]]":
    """Validate a converted plan; what is not in the store as it was made, this time or by an earlier build, is made anew."""
    again: list[ConversionSummary] = []
    for _ in range(_MADE_ANEW):
        try:
            return again, validate_build(build, plan, progress=progress, meanwhile=meanwhile)
        except (InputMissingError, IntegrityError) as error:
            if error.stage != "convert":
                raise
            _log.warning("%s; that is done now", error)
        again += convert_build(build, plan, progress=progress)
    return again, validate_build(build, plan, progress=progress, meanwhile=meanwhile)


def validate_build(
    build: Build, plan: BuildPlan, *, progress: Progress = silent, meanwhile: Sequence[ShardReading] = ()
) -> "list[ValidationSummary]":
    """Read back every partition of a converted plan, one after the other; `meanwhile` and errors are those of `validate_partition`."""
    from aesthetics_ops.validation.partition import validate_partition

    summaries = []
    for number, partition in enumerate(plan.partitions):
        with progress("validate", partition.photos, "photo") as done:
            summaries.append(validate_partition(build, plan, number, progress=done, meanwhile=meanwhile))
    return summaries
