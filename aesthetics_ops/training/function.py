"""The function that trains, by its import path, and what it returned, checked.

In: `module:function`.  Out: what can be called.  Promised: whatever is wrong with the path is one line.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.dataset import Dataset
from aesthetics_ops.training.context import Trained, TrainingContext
from aesthetics_ops.training.receipt import TrainingFile

__all__ = ["checked", "train_function"]

TrainFunction = Callable[[Dataset, TrainingContext], Any]


def train_function(path: str) -> TrainFunction:
    """Import the function that a setting names.

    Args:
        path: module:function.

    Raises:
        SettingsError: there is no such module or function, or the module cannot be imported.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except ImportError as error:
        raise SettingsError(
            f"train is {path!r}, and module {module!r} cannot be imported ({error}); correct the path, or install what has it where "
            "trainings run"
        ) from error
    except AttributeError as error:
        raise SettingsError(f"train is {path!r}, and module {module!r} has no {name!r}; correct the path") from error
    if not callable(found):
        raise SettingsError(f"train is {path!r}, which is a {type(found).__name__}, and no function; correct the path")
    return found  # type: ignore[no-any-return]


def checked(
    trained: Any, dataset: Dataset, context: TrainingContext, path: str
) -> tuple[Trained, dict[str, NDArray[np.float64]]]:
    """Return what a function returned, and its predictions as arrays.

    Raises:
        SettingsError: it is not what the contract says, which names the function and the rule.
    """
    if not isinstance(trained, Trained):
        raise SettingsError(
            f"{path!r} returned a {type(trained).__name__}, and not aesthetics_ops.Trained(model, predictions); "
            "docs/training.md has the contract"
        )
    model, directory = Path(trained.model).absolute(), context.directory.absolute()
    if not model.is_file() or not model.is_relative_to(directory):
        raise SettingsError(f"{path!r} returned the model {str(model)!r}, which is no file below context.directory")
    for file in TrainingFile:
        if (directory / file).exists():
            raise SettingsError(
                f"{path!r} wrote {str(file)!r} into context.directory, a name that is taken; choose another"
            )
    predictions = {split: _predictions(trained, split, dataset, path) for split in context.evaluated}
    if len({values.ndim for values in predictions.values()}) > 1:
        raise SettingsError(f"{path!r} returned scores for one split and distributions for another; predict one kind")
    return trained, predictions


def _predictions(trained: Trained, split: str, dataset: Dataset, path: str) -> NDArray[np.float64]:
    if split not in trained.predictions:
        raise SettingsError(
            f"{path!r} returned no predictions for split {split!r}; give them for each of context.evaluated"
        )
    count, ratings = dataset.splits[split].records, len(dataset.ratings)
    try:
        values = np.asarray(trained.predictions[split], np.float64)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"{path!r} returned predictions for split {split!r} that are no numbers: {error}"
        ) from error
    allowed = [(count,), *([(count, ratings)] if ratings else [])]
    if values.shape not in allowed:
        raise SettingsError(
            f"{path!r} returned predictions of shape {values.shape} for split {split!r}; the shape is "
            f"{' or '.join(map(str, allowed))}, in reading order"
        )
    if not np.isfinite(values).all():
        raise SettingsError(f"{path!r} predicts for split {split!r} what is no finite number; the training went astray")
    return values
