"""What a training leaves beside its model: the receipt, the metrics, and the mark that says that all of it is there.

In a training's folder, one for each version, lie the model, `metrics.json`, `receipt.json` and, last, `done.json`.  From the
receipt and the version that it names follow the photos of every batch.  Pure.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import AwareDatetime, Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.sampling.state import Layout, ReaderState
from aesthetics_ops.readers.sampling.steps import Steps

__all__ = [
    "MODEL",
    "MODEL_RECEIPT",
    "Metrics",
    "SplitMetrics",
    "TrainingDone",
    "TrainingFile",
    "TrainingReceipt",
    "state_of_epoch",
]

MODEL: Final = ".keras"  # what the name of a model ends with that holds its receipt
MODEL_RECEIPT: Final = "aesthetics_ops_receipt.json"  # inside a .keras model, which is a zip archive


class TrainingFile(StrEnum):
    """The files of a training's folder, but for the model and what else its function writes."""

    METRICS = "metrics.json"
    RECEIPT = "receipt.json"
    DONE = "done.json"  # written last
    RESUME = "resume/"  # what a training that was broken off goes on from; it goes when the training is done


class TrainingReceipt(Document):
    """receipt.json, also inside a .keras model: what the model was made from."""

    kind = "receipt of a training"
    is_sealed = True

    receipt: Literal["aesthetics-ops/training"] = "aesthetics-ops/training"
    schema_version: Literal[1] = 1
    dataset: str = Field(description="URL that the dataset is published under")
    version: str
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the version's manifest")
    settings: str = Field(pattern="^[0-9a-f]{64}$", description="digest of train, options and seed")
    train: str = Field(description="the function, as module:function")
    options: dict[str, Any]
    seed: int
    model: str = Field(description="name of the model's file in the folder")
    run: str = Field(description="who trained: the run of a DAG, or a command")
    trained_at: AwareDatetime
    reader: tuple[dict[str, Any], ...] = Field(description="states of the reader, from the first batch to the last")
    packages: dict[str, str] = Field(description="releases of Python and of what was loaded")


class SplitMetrics(Document):
    """How well a model predicts the labels of one split."""

    records: int
    mae: float = Field(description="mean absolute error, in the unit of the metrics")
    mae_of_mean: float = Field(description="of who always says the mean of the training split")
    spearman: float | None = Field(description="rank correlation, -1 to 1; null where one side is all equal")
    emd: float | None = Field(description="mean earth mover's distance (r = 2) of distributions; null without")


class Metrics(Document):
    """metrics.json: how well a model does on photos that it has not seen."""

    kind = "metrics of a training"

    version: str
    unit: Literal["label", "rating"] = Field(
        description="rating: the mean of the votes, where distributions are predicted"
    )
    splits: dict[str, SplitMetrics]


class TrainingDone(Document):
    """done.json: the training of a version is finished, and these are its files."""

    kind = "mark of a finished training"
    is_sealed = True

    dataset: str
    version: str
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    settings: str = Field(pattern="^[0-9a-f]{64}$", description="as in the receipt")
    model: str
    files: dict[str, str] = Field(description="sha256 of each file of the folder, by its name")


def state_of_epoch(reader: Sequence[Mapping[str, Any]], epoch: int | None = None) -> dict[str, Any]:
    """Return the state that a reader had at the end of an epoch, or where training stopped in it.

    Args:
        reader: the states of a receipt: one where training began, one at least after each change of batch or ranks, and
            the last.
        epoch: by default the last that was read.

    Raises:
        SettingsError: the training did not read this epoch, or the receipt has no states.
    """
    states = [ReaderState.parse(dict(state)) for state in reader]
    if not states:
        raise SettingsError(
            "the receipt has no state of a reader, so its batches are not known; its function recorded none"
        )
    first, last = states[0].epoch, states[-1]
    final = last.epoch if last.position else last.epoch - 1
    number = max(final, first) if epoch is None else epoch
    if not first <= number <= final:
        had = f"it read epochs {first} to {final}" if final >= first else "it read none"
        raise SettingsError(f"the training has no epoch {number}: {had}")
    inside = [state for state in states if state.epoch == number and state.position]
    after = next((state for state in states if state.epoch > number), None)
    if after is None:
        return last.encoded()
    return _ended(after, number, inside[-1] if inside else None).encoded()


def _ended(after: ReaderState, epoch: int, inside: ReaderState | None) -> ReaderState:
    """Return the state at the end of an epoch, from one after it and the last one inside it, if there is any."""
    how = after.layouts[0][1:]
    layouts: tuple[Layout, ...] = ((0, *how),)
    if inside is not None:
        layouts = inside.layouts
        if layouts[-1][1:] != how and inside.position < inside.records:
            layouts = (*layouts, (inside.position, *how))
    start, batch, ranks, last = layouts[-1]
    steps = Steps(after.records, start, batch, ranks, last)
    return after.model_copy(update={"epoch": epoch, "position": steps.end(len(steps)), "layouts": layouts})
