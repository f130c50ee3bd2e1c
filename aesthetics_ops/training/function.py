"""The function that trains: by its import path, how it is called, and what it returned, checked.

In: `module:function`.  Out: what it returned.  Promised: whatever is wrong with the path, the function or what it returns is one
line that names the function; what the function raises is told with the place in its file.
"""

import inspect
import logging
import os
import traceback
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.errors import AestheticsOpsError, SettingsError, TrainingFailedError
from aesthetics_ops.readers.dataset import Dataset
from aesthetics_ops.training.context import Trained, TrainingContext, require_storable
from aesthetics_ops.training.receipt import MODEL, TrainingFile

__all__ = ["called", "checked", "files_left", "train_function"]

TrainFunction = Callable[[Dataset, TrainingContext], Any]

_log = logging.getLogger(__name__)
_MOST_CHARACTERS: Final = 500  # of what a function raised
_SUM_OF_SHARES: Final = (0.99, 1.01)  # float16 comes no nearer to 1
_LEAST_SHARE: Final = -1e-6


def train_function(path: str) -> TrainFunction:
    """Import the function that a setting names.

    Args:
        path: module:function.

    Raises:
        SettingsError: there is no such module or function, the module cannot be imported, or the function cannot be called with a
            dataset and a context.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except AttributeError as error:
        if error.name == name:
            raise SettingsError(
                f"train is {path!r}, and module {module!r} has no {name!r}; correct the path"
            ) from error
        raise _not_imported(path, module, error) from error
    except (Exception, SystemExit) as error:  # the module is the user's, and may raise anything
        raise _not_imported(path, module, error) from error
    if not callable(found) or inspect.isclass(found):
        raise SettingsError(f"train is {path!r}, which is a {type(found).__name__}, and no function; correct the path")
    if inspect.iscoroutinefunction(found):
        raise SettingsError(f"train is {path!r}, which is an async function; name one that returns when it has trained")
    try:
        inspect.signature(found).bind("dataset", "context")
    except ValueError:
        pass  # native code does not say what it takes
    except TypeError as error:
        raise SettingsError(
            f"train is {path!r}, which cannot be called with a dataset and a context: {error}; write def {name}(dataset, context)"
        ) from error
    return found  # type: ignore[no-any-return]


def called(function: TrainFunction, dataset: Dataset, context: TrainingContext, path: str) -> Any:
    """Call a function that trains, and return what it returned.

    Raises:
        AestheticsOpsError: the function met one, such as a store that gives no answer.
        TrainingFailedError: it raised anything else, or ended the program.  Signals pass.
    """
    try:
        return function(dataset, context)
    except AestheticsOpsError:
        raise
    except (Exception, SystemExit, GeneratorExit) as error:
        _log.info("what led to the failure of %s", path, exc_info=True)
        frames = traceback.extract_tb(error.__traceback__)[1:]
        own = [frame for frame in frames if frame.filename == frames[0].filename]
        place = f", in line {own[-1].lineno} of {own[-1].filename!r}" if own else ""
        raise TrainingFailedError(
            f"{path!r} raised {_in_one_line(error)}{place}; nothing is marked as done: correct the function, or try again where it met "
            "what passes"
        ) from error


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _not_imported(path: str, module: str, error: BaseException) -> SettingsError:
    what = " ".join(str(error).split()) if isinstance(error, ImportError) else _in_one_line(error)
    return SettingsError(
        f"train is {path!r}, and module {module!r} cannot be imported ({what}); correct the path or the module, or install what has it "
        "where trainings run, or name its folder in PYTHONPATH there"
    )


def checked(
    trained: Any, dataset: Dataset, context: TrainingContext, path: str
) -> tuple[Path, dict[str, NDArray[np.float64]]]:
    """Return the model's file and the predictions as arrays, of what a function returned.

    Raises:
        SettingsError: it is not what the contract says, which names the function and the rule.
    """
    if not isinstance(trained, Trained):
        raise SettingsError(
            f"{path!r} returned a {type(trained).__name__}, and not aesthetics_ops.Trained(model, predictions); "
            "docs/training.md has the contract"
        )
    model = _model(trained.model, context.directory, path)
    if not isinstance(trained.predictions, Mapping):
        raise SettingsError(
            f"{path!r} returned predictions that are a {type(trained.predictions).__name__}, and no dict; give an array for each of "
            "context.evaluated, by its name"
        )
    predictions = {split: _predictions(trained.predictions, split, dataset, path) for split in context.evaluated}
    if len({values.ndim for values in predictions.values()}) > 1:
        raise SettingsError(f"{path!r} returned scores for one split and distributions for another; predict one kind")
    return model, predictions


def _model(given: Any, directory: Path, path: str) -> Path:
    try:
        model = Path(os.path.normpath(Path(given).absolute()))
    except TypeError as error:
        raise SettingsError(
            f"{path!r} returned a {type(given).__name__} for a model; give the path of its file below context.directory"
        ) from error
    if not model.is_file() or not model.is_relative_to(directory.absolute()):
        raise SettingsError(f"{path!r} returned the model {str(model)!r}, which is no file below context.directory")
    if model.suffix == MODEL and not zipfile.is_zipfile(model):
        raise SettingsError(f"{path!r} returned the model {str(model)!r}, which is no whole {MODEL} archive")
    return model


def files_left(context: TrainingContext, path: str) -> dict[str, Path]:
    """Return what a function left in its directory and will be uploaded, by name.

    Raises:
        SettingsError: a name is taken or cannot be an object's, or something is no file, or leads out of the directory.
    """
    for file in TrainingFile:
        if os.path.lexists(context.directory / file.rstrip("/")):
            raise SettingsError(
                f"{path!r} wrote {str(file)!r} into context.directory, a name that is taken; choose another"
            )
    files, whole = {}, context.directory.resolve()
    for found in sorted(context.directory.rglob("*")):
        name = found.relative_to(context.directory).as_posix()
        if found.is_dir() and not found.is_symlink():
            continue
        if not found.is_file() or not found.resolve().is_relative_to(whole):
            raise SettingsError(
                f"{path!r} left {name!r} in context.directory, which is no file, or a link that leads out; copy what is to be uploaded"
            )
        require_storable(name, path)
        files[name] = found
    return files


def _predictions(given: Mapping[str, Any], split: str, dataset: Dataset, path: str) -> NDArray[np.float64]:
    if split not in given:
        raise SettingsError(
            f"{path!r} returned no predictions for split {split!r}; give them for each of context.evaluated"
        )
    count, ratings = dataset.splits[split].records, len(dataset.ratings)
    try:
        raw = np.asarray(given[split])
        if raw.dtype.kind in "cmMSU":
            raise TypeError(f"their type is {raw.dtype}")
        values = raw.astype(np.float64)
    except Exception as error:  # an array of the user's framework may raise anything
        raise SettingsError(
            f"{path!r} returned predictions for split {split!r} that are no numbers: {_in_one_line(error)}"
        ) from error
    allowed = [(count,), *([(count, ratings)] if ratings else [])]
    if values.shape not in allowed:
        raise SettingsError(
            f"{path!r} returned predictions of shape {values.shape} for split {split!r}; the shape is "
            f"{' or '.join(map(str, allowed))}, in reading order"
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(values.astype(np.float32)).all():
            raise SettingsError(
                f"{path!r} predicts for split {split!r} what is no finite number of 32 bits; the training went astray"
            )
    if values.ndim == 2:
        _require_shares(values, split, path)
    return values


def _require_shares(values: NDArray[np.float64], split: str, path: str) -> None:
    least, sums = values.min(), values.sum(axis=1)
    if least < _LEAST_SHARE or sums.min() < _SUM_OF_SHARES[0] or sums.max() > _SUM_OF_SHARES[1]:
        raise SettingsError(
            f"{path!r} predicts for split {split!r} distributions that are no shares: the least is {least:g}, and sums go from "
            f"{sums.min():g} to {sums.max():g}; shares are 0 or more, and those of a photo sum up to 1, as of a softmax"
        )
