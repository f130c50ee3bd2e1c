"""The receipt of a training, wherever one points at it: a folder, the receipt itself, or a .keras model.

In: a URL or a path.  Out: a `TrainingReceipt`; or, for a batch of any epoch, the photos that it held.
Promised: what has no receipt, or a receipt of other data, is refused in one line.
"""

import io
import shutil
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from aesthetics_ops.errors import IntegrityError, NoSuchVersionError, ObjectMissingError, SettingsError
from aesthetics_ops.readers.dataset import Dataset, open_dataset
from aesthetics_ops.readers.sampling.replay import Replayed, replay
from aesthetics_ops.store import S3Access, Store, open_store
from aesthetics_ops.training.receipt import (
    MODEL,
    MODEL_RECEIPT,
    TrainingDone,
    TrainingFile,
    TrainingReceipt,
    state_of_epoch,
)
from aesthetics_ops.urls import as_url

__all__ = ["embed_receipt", "find_receipt", "replay_training"]

_TIME: Final = (1980, 1, 1, 0, 0, 0)  # so that equal receipts make equal archives


def embed_receipt(model: Path, receipt: TrainingReceipt) -> None:
    """Put a receipt into a model, where its format has room: a .keras archive.  Keras passes over it."""
    if model.suffix == MODEL and zipfile.is_zipfile(model):
        with zipfile.ZipFile(model) as archive:
            has_one = MODEL_RECEIPT in archive.namelist()
        if has_one:  # of the model that this one was copied from
            _take_out(model, MODEL_RECEIPT)
        with zipfile.ZipFile(model, "a") as archive:
            archive.writestr(zipfile.ZipInfo(MODEL_RECEIPT, _TIME), receipt.encoded())


def _take_out(path: Path, name: str) -> None:
    new = path.with_name(f".{uuid.uuid4().hex}")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(new, "w") as copy:
        for entry in archive.infolist():
            if entry.filename != name:
                with archive.open(entry) as source, copy.open(entry, "w") as target:
                    shutil.copyfileobj(source, target)
    new.replace(path)


def find_receipt(what: str | Path, *, s3: S3Access | None = None) -> TrainingReceipt:
    """Return the receipt that a training left.

    Args:
        what: URL or path of a training's folder, of a receipt (.json), or of a .keras model.
        s3: how to reach s3:// URLs.

    Raises:
        SettingsError: a model without a receipt, which this project has not trained.
        IntegrityError: the receipt is damaged, or of another training than the folder.
        ObjectMissingError: there is nothing of that name, or the training is not finished.
    """
    text = str(what)
    url = as_url(text if "://" in text or text.startswith("~") else str(Path(text).absolute()))
    name = url.rstrip("/").rpartition("/")[2]
    if not name.endswith((MODEL, ".json")):
        _require_folder(url)
        return _in_folder(open_store(url.rstrip("/") + "/", s3=s3))
    folder = open_store(url.rstrip("/").removesuffix(name), s3=s3)
    key = unquote(name) if url.startswith("file://") else name
    data = bytes(folder.get(key).data)
    if name.endswith(".json"):
        return TrainingReceipt.parse(data, name=folder.url_of(name))
    return _in_model(data, folder.url_of(name))


def _require_folder(url: str) -> None:
    if url.startswith("file://") and Path(unquote(url.removeprefix("file://"))).is_file():
        raise SettingsError(
            f"{url} is a file, and neither a receipt nor a {MODEL} model, so what it was made from is not known; give the training's "
            f"folder, or its {TrainingFile.RECEIPT}"
        )


def _in_folder(folder: Store) -> TrainingReceipt:
    done = TrainingDone.read(folder, TrainingFile.DONE)
    if done is None:
        raise ObjectMissingError(
            f"{folder.url} has no finished training: {TrainingFile.DONE} is missing; give the folder of one version, its "
            f"{TrainingFile.RECEIPT}, or a {MODEL} model; with a dataset give --state or --training"
        )
    receipt = TrainingReceipt.read(folder, TrainingFile.RECEIPT)
    if receipt is None:
        raise ObjectMissingError(
            f"{folder.url_of(TrainingFile.RECEIPT)} is missing; its model, if it is {MODEL}, holds it too"
        )
    if (receipt.version, receipt.manifest_sha256, receipt.settings) != (
        done.version,
        done.manifest_sha256,
        done.settings,
    ):
        raise IntegrityError(
            f"{folder.url_of(TrainingFile.RECEIPT)} is of another training than {TrainingFile.DONE} beside it: of version "
            f"{receipt.version!r}, and that of {done.version!r}; its model, if it is {MODEL}, holds the right one"
        )
    return receipt


def _in_model(data: bytes, name: str) -> TrainingReceipt:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.read(MODEL_RECEIPT)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SettingsError(
            f"{name} has no receipt, so what it was trained on is not known; only models that this project's training left name it"
        ) from error
    return TrainingReceipt.parse(found, name=f"the receipt inside {name}")


def replay_training(
    what: str | Path | TrainingReceipt,
    *,
    dataset: str | Dataset | None = None,
    epoch: int | None = None,
    batch: int | None = None,
    rank: int | None = None,
    s3: S3Access | None = None,
) -> Replayed:
    """Return the photos that a batch of a training held.

    Args:
        what: as for `find_receipt`, or a receipt.
        dataset: where the version lies now; by default where the receipt says.
        epoch: from 0; by default the last.
        batch: its number in the epoch, from 0; by default the last.
        rank: whose photos; by default all ranks'.
        s3: how to reach s3:// URLs.

    Raises:
        SettingsError: a foreign model; a receipt of another dataset; a manifest that differs; no such epoch, batch or rank.
        NoSuchVersionError: the version is gone.
        IntegrityError, ObjectMissingError: as `find_receipt`.
    """
    receipt = what if isinstance(what, TrainingReceipt) else find_receipt(what, s3=s3)
    state = state_of_epoch(receipt.reader, epoch)
    for name in ("version", "manifest_sha256"):
        if state[name] != getattr(receipt, name):
            raise SettingsError(
                f"the receipt has {name} {getattr(receipt, name)!r}, and its reader's state {state[name]!r}; it was altered"
            )
    opened = _opened(receipt, dataset, lambda url: open_dataset(url, receipt.version, s3=s3))
    return replay(opened, state, batch=batch, rank=rank, s3=s3)


def _opened(receipt: TrainingReceipt, dataset: str | Dataset | None, open_url: Callable[[str], Dataset]) -> Dataset:
    given = dataset if dataset is not None else receipt.dataset
    try:
        opened = given if isinstance(given, Dataset) else open_url(given)
    except NoSuchVersionError as error:
        if dataset is None:
            raise NoSuchVersionError(
                f"{error}; the model was trained on version {receipt.version!r} of {receipt.dataset}, which is gone: its batches "
                "cannot be found again"
            ) from error
        raise NoSuchVersionError(
            f"{error}; the receipt is of version {receipt.version!r} of {receipt.dataset}: give that dataset"
        ) from error
    found = opened.manifest.dataset
    if opened.source.manifest_sha256 != receipt.manifest_sha256:
        whose = "" if found == receipt.dataset else f" of another dataset, {found},"
        raise SettingsError(
            f"version {opened.version!r}{whose} has a manifest of sha256 {opened.source.manifest_sha256}, and the receipt is of version "
            f"{receipt.version!r} of {receipt.dataset}, sha256 {receipt.manifest_sha256}; give the dataset that it names"
        )
    return opened
