"""What a function that trains is given beside the dataset, and what it returns.

    def train(dataset: Dataset, context: TrainingContext) -> Trained: ...

`dataset` is the version, pulled to this machine.  The function writes its model below `context.directory`, records where its
reader stands, and returns the model's file with its predictions for each split of `context.evaluated`, in reading order.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
from pydantic import Field, field_validator

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.errors import IntegrityError, ObjectMissingError, SettingsError
from aesthetics_ops.readers.sampling.state import ReaderState
from aesthetics_ops.store import Store
from aesthetics_ops.training.receipt import TrainingFile

__all__ = ["Saved", "Trained", "TrainingContext", "require_storable"]

_log = logging.getLogger(__name__)
_STATE: Final = f"{TrainingFile.RESUME}state.json"
_OF_A_READER: Final = ("split", "where", "selection", "records", "seed", "shuffle", "block", "window", "weights")
_LONGEST_NAME: Final = 200  # bytes; file systems take 255, and stores add to a name while they write


@dataclass(frozen=True, slots=True)
class Trained:
    """What a function that trains returns.

    Attributes:
        model: the model's file, below the context's directory.
        predictions: by split, for all its records in reading order: scores, shape (n,), in the unit of `label`; or
            shares of the votes, shape (n, ratings).
    """

    model: Path
    predictions: Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, slots=True)
class Saved:
    """What an earlier try of the same training saved.

    Attributes:
        state: as it was given to `TrainingContext.save`.
        files: the files that were given with it, by their names.
    """

    state: dict[str, Any]
    files: Mapping[str, Path]


class _SavedState(Document):
    """resume/state.json: the newest that a training saved."""

    kind = "saved state of a training"
    is_sealed = True

    manifest_sha256: str
    settings: str
    number: int
    state: dict[str, Any]
    reader: tuple[dict[str, Any], ...]
    files: tuple[str, ...] = Field(description="names; they lie at resume/<number>/<name>")

    @field_validator("files")
    @classmethod
    def _are_plain(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if any(name in ("", ".", "..") or Path(name).name != name for name in files):
            raise ValueError("a file's name leads out of its folder")
        return files


@dataclass(slots=True)
class _Progress:
    """What changes while a training goes on: the states that were recorded, and the number of the newest that was saved."""

    reader: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """One training of one version.

    Attributes:
        directory: for the model and whatever else is to lie in the training's folder; empty at first.
        version: that is trained on.
        dataset_url: that it is published under.
        manifest_sha256: of its manifest.
        seed: of the settings.
        options: of the settings, as the table has them.
        evaluated: the splits that predictions are asked for: validation, and test where it has records.
        settings: digest of function, options and seed.
        folder: where the training will lie.
    """

    directory: Path
    version: str
    dataset_url: str
    manifest_sha256: str
    seed: int
    options: Mapping[str, Any]
    evaluated: Sequence[str]
    settings: str
    folder: Store = field(repr=False)
    _progress: _Progress = field(init=False, repr=False, default_factory=_Progress)

    @property
    def reader(self) -> tuple[dict[str, Any], ...]:
        """The states that were recorded."""
        return tuple(self._progress.reader)

    @property
    def receipt(self) -> dict[str, Any]:
        """What names the data, as JSON keeps it: for the metadata of a model of any format."""
        return {
            "dataset": self.dataset_url, "version": self.version, "manifest_sha256": self.manifest_sha256,
            "settings": self.settings, "seed": self.seed,
        }  # fmt: skip

    def record(self, state: Mapping[str, Any]) -> None:
        """Note where the reader of the training split stands: before the first batch, after each epoch, and after a resume.

        The receipt keeps it, so that the photos of every batch can be found again.

        Args:
            state: what its `state_dict()` returned.

        Raises:
            SettingsError: not a reader's state, of another version or another reader, or before one that was recorded.
        """
        parsed = ReaderState.parse(dict(state) if isinstance(state, Mapping) else state)
        if parsed.manifest_sha256 != self.manifest_sha256:
            raise SettingsError(
                f"the state is of version {parsed.version!r} of {parsed.dataset}, and this training is of {self.version!r} of "
                f"{self.dataset_url}; record the state of a reader of the dataset that the function was given"
            )
        before = ReaderState.parse(self.reader[-1]) if self.reader else None
        if before is not None:
            _require_one_reader(before, parsed)
        self._progress.reader.append(parsed.encoded())

    def save(self, state: Mapping[str, Any], files: Iterable[Path] = ()) -> None:
        """Save what another try of this training can go on from, in the training's folder; the newest alone is kept.

        Args:
            state: numbers and names that JSON can hold, such as the reader's state and the epoch.
            files: such as weights; they are uploaded under their names, which differ.

        Raises:
            SettingsError: JSON cannot hold the state, two files have one name, or one is no file.
            StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
        """
        try:
            plain = json.loads(json.dumps(dict(state), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"the state to be saved holds what JSON cannot: {error}; put arrays into files"
            ) from error
        paths = _files_to_save(files)
        names = [path.name for path in paths]
        progress = self._progress
        before, progress.number = progress.number, progress.number + 1
        for path in paths:  # copies, since a store of files may keep the very file, and the function may write it again
            copy = Path(shutil.copyfile(path, self.directory.parent / "saving"))
            self.folder.upload(_place(progress.number, path.name), copy)
            copy.unlink()
        saved = _SavedState(
            manifest_sha256=self.manifest_sha256, settings=self.settings, number=progress.number, state=plain,
            reader=self.reader, files=tuple(names),
        )  # fmt: skip
        self.folder.put(_STATE, saved.encoded())
        self.folder.delete(self.folder.list(f"{TrainingFile.RESUME}{before}/")["key"].to_pylist())

    def saved(self, directory: Path | None = None) -> Saved | None:
        """Return what an earlier try of this training saved, and take up what it recorded; None where there is nothing of use.

        Args:
            directory: that the files come into; by default beside the context's own.
        """
        try:
            found = _SavedState.read(self.folder, _STATE)
        except IntegrityError as error:
            _log.warning("%s; the training begins anew", error)
            return None
        if found is None:
            return None
        self._progress.number = found.number
        if (found.manifest_sha256, found.settings) != (self.manifest_sha256, self.settings):
            _log.info("what another training of this version saved is of other settings; this one begins anew")
            return None
        target = directory or self.directory.parent / "resumed"
        target.mkdir(parents=True, exist_ok=True)
        try:
            for name in found.files:
                self.folder.download(_place(found.number, name), target / name)
        except ObjectMissingError as error:
            _log.warning("%s; the training begins anew", error)
            return None
        self._progress.reader[:] = [dict(state) for state in found.reader]
        return Saved(found.state, {name: target / name for name in found.files})


def _place(number: int, name: str) -> str:
    return f"{TrainingFile.RESUME}{number}/{name}"


def _require_one_reader(before: ReaderState, after: ReaderState) -> None:
    for name in _OF_A_READER:
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            raise SettingsError(
                f"the state has {name} {now!r}, and the one before it {was!r}; record the states of one reader as it goes on"
            )
    if (after.epoch, after.position) < (before.epoch, before.position):
        raise SettingsError(
            f"the state stands at epoch {after.epoch}, position {after.position}, and the one before it at epoch {before.epoch}, "
            f"position {before.position}; record the states of one reader as it goes on"
        )


def _files_to_save(files: Iterable[Path]) -> list[Path]:
    try:
        paths = [Path(file) for file in files]
    except TypeError as error:
        raise SettingsError(f"the files to be saved are no paths: {error}; give a list of paths") from error
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise SettingsError(f"two files to be saved have one name: {', '.join(sorted(names))}; name them differently")
    for path in paths:
        if not path.is_file():
            raise SettingsError(f"{str(path)!r} is to be saved, and is no file; write it first")
        require_storable(path.name, "context.save")
    return paths


def require_storable(name: str, who: str) -> None:
    """Refuse a file's name that a store may not keep as it is.

    Raises:
        SettingsError: it is no text, holds what cannot be printed, or is too long.
    """
    if not name.isprintable() or any(len(part.encode()) > _LONGEST_NAME for part in name.split("/")) or "\\" in name:
        raise SettingsError(
            f"{who!r} gives the file {name!r}, whose name a store may not keep; use printable letters, no backslash, and at most "
            f"{_LONGEST_NAME} bytes"
        )
