"""Train on one published version, once.

In: a dataset, one of its versions, and what the configuration says.  Out: a folder for the version, with model, metrics and
receipt, and a mark that is written last.
Promised: a version is pinned before it is trained on; it is not trained on twice with one function, options and seed; a training
that failed leaves no mark, and the next try trains, from what was saved where something was.
"""

import copy
import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version as release_of
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.errors import IntegrityError, LabelError, NoSuchSplitError, ObjectMissingError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.readers.dataset import Dataset, open_dataset
from aesthetics_ops.store import S3Access, Store, open_store
from aesthetics_ops.training.context import TrainingContext
from aesthetics_ops.training.finding import embed_receipt
from aesthetics_ops.training.function import called, checked, files_left, train_function
from aesthetics_ops.training.metrics import mean_rating, split_metrics
from aesthetics_ops.training.pins import keep_newest, pin_training
from aesthetics_ops.training.receipt import Metrics, TrainingDone, TrainingFile, TrainingReceipt
from aesthetics_ops.training_settings import TrainingSettings
from aesthetics_ops.versions.pointing import published_version

__all__ = ["Assignment", "Training", "assign", "keep_version", "train_version"]

_log = logging.getLogger(__name__)

_FRAMEWORKS: Final = ("numpy", "keras", "tensorflow", "torch", "jax", "cv2", "simplejpeg")
_UPLOADS: Final = 2  # of a file that the store does not hold as it was sent


@dataclass(frozen=True, slots=True)
class Assignment:
    """A version that is to be trained on.

    Attributes:
        dataset: URL.
        version: its name.
        manifest_sha256: of its manifest.
        folder: URL that the training will lie under.
        is_done: a finished training of the same data, function, options and seed lies there.
    """

    dataset: str
    version: str
    manifest_sha256: str
    folder: str
    is_done: bool


@dataclass(frozen=True, slots=True)
class Training:
    """A training that is finished.

    Attributes:
        assignment: what was trained on.
        is_new: False: it was there already, and nothing was done.
        metrics: of its model.
        model: URL of its model.
    """

    assignment: Assignment
    is_new: bool
    metrics: Metrics
    model: str


def assign(
    dataset: Store, version: str | None, settings: TrainingSettings, *, s3: S3Access | None = None
) -> Assignment:
    """Find the version to train on, and whether that was done.

    Args:
        dataset: that it is published in.
        version: its name, or that of a pointer; None and `LATEST` stand for the one that LATEST names.
        settings: with their URL.
        s3: how to reach s3:// URLs.

    Raises:
        NoSuchVersionError: there is no such version any more, or it is a candidate, which was not published.
        NoSuchSplitError: it has no records to train on, or none to validate with.
        IntegrityError, PublishConflictError: as `published_version`.
    """
    manifest, pointer = published_version(dataset, "LATEST" if version is None else version)
    _require_split(manifest, "train", "nothing can be trained on it")
    _require_split(manifest, "validation", "no model of it could be judged")
    folder = f"{settings.url}{manifest.version}/"
    lies = open_store(folder, s3=s3)
    is_done = _is_done(_marked(lies), lies, pointer.sha256, settings)
    return Assignment(dataset.url, manifest.version, pointer.sha256, folder, is_done)


def keep_version(dataset: Store, assignment: Assignment, *, run: str) -> str:
    """Pin a version, so that no expiry deletes it under its model; return the pin's name.

    Raises:
        NoSuchVersionError, PublishConflictError: it is being deleted.
    """
    return pin_training(dataset, assignment.version, assignment.folder, run=run).name


def train_version(
    assignment: Assignment, settings: TrainingSettings, *, run: str, s3: S3Access | None = None
) -> Training:
    """Train on a version, unless that was done.

    Args:
        assignment: of `assign`.
        settings: the same.
        run: who trains, for the receipt.
        s3: how to reach s3:// URLs.

    Raises:
        SettingsError: the function cannot be imported, refuses its options, or returns or leaves what it may not.
        TrainingFailedError: it raised something of its own.
        LabelError: all labels of the training split are equal.
        NoSuchVersionError: the version has expired meanwhile.
        IntegrityError: the version's manifest is not the one that was assigned, or a shard is damaged.
        ScratchSpaceError: the disk has no room for the version.
    """
    folder = open_store(assignment.folder, s3=s3)
    done = _marked(folder)
    if done is not None and _is_done(done, folder, assignment.manifest_sha256, settings):
        metrics = Metrics.read(folder, TrainingFile.METRICS)
        if metrics is not None:
            return Training(assignment, False, metrics, folder.url_of(done.model))
    function = train_function(settings.train)
    with _pulled(assignment, settings, s3) as (dataset, directory):
        _require_labels(dataset)
        context = TrainingContext(
            directory, assignment.version, dataset.manifest.dataset, assignment.manifest_sha256, settings.seed,
            copy.deepcopy(settings.options), _evaluated(dataset.manifest), settings.digest, folder,
        )  # fmt: skip
        _log.info(
            "training on version %s: %s, seed %d, options %s",
            context.version,
            settings.train,
            context.seed,
            context.options,
        )
        returned = called(function, dataset, context, settings.train)
        model, predictions = checked(returned, dataset, context, settings.train)
        files = files_left(context, settings.train)
        metrics = _measured(dataset, predictions)
        receipt = _receipt(context, settings, model, run)
        embed_receipt(model, receipt)
        _upload(folder, files, receipt, metrics)
    if settings.keep_pins is not None and settings.url is not None:
        gone = keep_newest(
            open_store(assignment.dataset, s3=s3), assignment.version, settings.url, count=settings.keep_pins, run=run
        )
        if gone:
            _log.info("pins of older trainings that went: %s", ", ".join(gone))
    return Training(assignment, True, metrics, folder.url_of(receipt.model))


def _marked(folder: Store) -> TrainingDone | None:
    try:
        return TrainingDone.read(folder, TrainingFile.DONE)
    except IntegrityError as error:
        _log.warning("%s; the version is trained on again", error)
        return None


def _is_done(done: TrainingDone | None, folder: Store, manifest_sha256: str, settings: TrainingSettings) -> bool:
    """Say whether a mark is of this training, and every file that it names is there."""
    if done is None or (done.manifest_sha256, done.settings) != (manifest_sha256, settings.digest):
        return False
    gone = sorted({*done.files} - set(folder.list()["key"].to_pylist()))
    if gone:
        _log.warning(
            "%s has a mark, and %s is gone (%d of %d files); the version is trained on again",
            folder.url, gone[0], len(gone), len(done.files),
        )  # fmt: skip
    return not gone


def _require_split(manifest: Manifest, split: str, end: str) -> None:
    if split not in manifest.splits or not manifest.splits[split].records:
        there = ", ".join(f"{found.records:,} {name}" for name, found in manifest.splits.items() if found.records)
        raise NoSuchSplitError(
            f"version {manifest.version!r} of {manifest.dataset} has no records in split {split!r} ({there or 'nothing'}), so {end}; give "
            "the split a share in the dataset's settings"
        )


def _evaluated(manifest: Manifest) -> tuple[str, ...]:
    return tuple(name for name in ("validation", "test") if name in manifest.splits and manifest.splits[name].records)


@contextmanager
def _pulled(assignment: Assignment, settings: TrainingSettings, s3: S3Access | None) -> Iterator[tuple[Dataset, Path]]:
    """Give the version, pulled to this machine, and an empty directory for what the function writes."""
    published = open_dataset(assignment.dataset, assignment.version, s3=s3)
    if published.source.manifest_sha256 != assignment.manifest_sha256:
        raise IntegrityError(
            f"version {assignment.version!r} of {assignment.dataset} has another manifest than when it was chosen; clear the task that "
            "chose it"
        )
    size = sum(split.bytes for split in published.splits.values())
    with scratch_for(0 if settings.directory else size) as scratch:
        place = Path(settings.directory) if settings.directory else scratch / "version"
        brought = published.pull(place)
        _log.info("version %s lies in %s, %.1f MB of it new", published.version, place, brought.downloaded_bytes / 1e6)
        directory = scratch / "training"
        directory.mkdir()
        yield open_dataset(place), directory


def _require_labels(dataset: Dataset) -> None:
    labels = dataset.records("train")["label"]
    ends = pc.min_max(labels).as_py()
    if ends["min"] == ends["max"]:
        raise LabelError(
            f"all {len(labels):,} labels of the training split of version {dataset.version!r} are {ends['min']:g}, so there is nothing to "
            "learn; look which column they come from: `aesthetics-ops show`"
        )


def _measured(dataset: Dataset, predictions: dict[str, NDArray[np.float64]]) -> Metrics:
    kind = "distribution" if next(iter(predictions.values())).ndim == 2 else "label"
    ratings = np.asarray(dataset.ratings) if kind == "distribution" else None
    labels = {}
    for split in ("train", *predictions):
        records = dataset.open_split(split)
        labels[split] = records.labels_as(kind)
        records.close()
    trained = labels["train"] if ratings is None else mean_rating(labels["train"], ratings)
    mean = float(np.mean(trained, dtype=np.float64))
    splits = {
        split: split_metrics(values, labels[split], trained_mean=mean, ratings=ratings)
        for split, values in predictions.items()
    }
    return Metrics(version=dataset.version, unit="label" if ratings is None else "rating", splits=splits)


def _receipt(context: TrainingContext, settings: TrainingSettings, model: Path, run: str) -> TrainingReceipt:
    releases = {"python": platform.python_version(), "aesthetics-ops": release_of("aesthetics-ops")}
    loaded = {name: sys.modules[name] for name in _FRAMEWORKS if name in sys.modules}
    releases |= {name: str(module.__version__) for name, module in loaded.items() if hasattr(module, "__version__")}
    if not context.reader:
        _log.warning(
            "%s recorded no state of its reader, so nobody can say which photos its batches held; call context.record",
            settings.train,
        )
    return TrainingReceipt(
        dataset=context.dataset_url, version=context.version, manifest_sha256=context.manifest_sha256, settings=settings.digest,
        train=settings.train, options=dict(settings.options), seed=settings.seed, run=run, trained_at=datetime.now(UTC),
        model=model.absolute().relative_to(context.directory.absolute()).as_posix(), reader=context.reader, packages=releases,
    )  # fmt: skip


def _upload(folder: Store, files: dict[str, Path], receipt: TrainingReceipt, metrics: Metrics) -> None:
    """Bring a training to its place: the mark of another one goes first, also of one that ended meanwhile; its own comes last."""
    before = _marked(folder)
    documents: dict[str, bytes] = {TrainingFile.METRICS: metrics.encoded(), TrainingFile.RECEIPT: receipt.encoded()}
    digests = {name: _sha256(path) for name, path in files.items()}
    digests |= {str(name): sha256(data).hexdigest() for name, data in documents.items()}
    if before is not None:
        folder.delete([TrainingFile.DONE])
    with scratch_for(
        max(sum(map(len, documents.values())), *(path.stat().st_size for path in files.values()))
    ) as scratch:
        for name, data in documents.items():
            files[name] = scratch / name
            files[name].write_bytes(data)
        for name, path in files.items():
            _upload_whole(folder, name, path, digests[name], scratch / "read-back")
    done = TrainingDone(
        dataset=receipt.dataset, version=receipt.version, manifest_sha256=receipt.manifest_sha256, settings=receipt.settings,
        model=receipt.model, files=digests,
    )  # fmt: skip
    folder.put(TrainingFile.DONE, done.encoded())
    there = set(folder.list()["key"].to_pylist())
    stale = {*before.files} & there - {*digests} if before is not None else set()
    folder.delete([*stale, *(key for key in there if key.startswith(TrainingFile.RESUME))])


def _upload_whole(folder: Store, name: str, path: Path, digest: str, back: Path) -> None:
    """Upload a file and read it back; once more where the store holds something else."""
    for _ in range(_UPLOADS):
        folder.upload(name, path)
        with suppress(ObjectMissingError):
            folder.download(name, back)
            same = _sha256(back) == digest
            back.unlink()
            if same:
                return
    raise IntegrityError(
        f"{folder.url_of(name)} was written {_UPLOADS} times, and the store holds something else: it, or something before it, changes "
        "what is uploaded; the training is not marked as done"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
