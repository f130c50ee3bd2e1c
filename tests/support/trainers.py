"""Functions that train, for tests of what is done around them: the mean colour of a photo says its score."""

from pathlib import Path
from typing import Any

import numpy as np

from aesthetics_ops import Dataset
from aesthetics_ops.training.context import Trained, TrainingContext

NOT_A_FUNCTION = 3
tries: list[str] = []  # what each call found saved


def colours(dataset: Dataset, split: str) -> Any:
    with dataset.numpy(split, batch=8, size=16) as batches:
        means = np.concatenate([images.mean(axis=(1, 2)) for images, _ in batches])
    return np.column_stack([means, np.ones(len(means))])


def fit(dataset: Dataset, context: TrainingContext) -> Trained:
    """Least squares over the mean colours, after two epochs that are read and recorded."""
    batches = dataset.numpy("train", batch=8, size=16, shuffle=True, seed=context.seed)
    context.record(batches.state_dict())
    for _ in range(2):
        for _ in batches:
            pass
        context.record(batches.state_dict())
    weights = np.linalg.lstsq(colours(dataset, "train"), dataset.open_split("train").labels, rcond=None)[0]
    path = context.directory / "model.npy"
    np.save(path, weights)
    (context.directory / "notes").mkdir()
    (context.directory / "notes" / "seed.txt").write_text(str(context.seed))
    return Trained(path, {split: colours(dataset, split) @ weights for split in context.evaluated})


def fit_at_the_second_try(dataset: Dataset, context: TrainingContext) -> Trained:
    """Dies in its second epoch, unless an earlier try saved the first."""
    saved = context.saved()
    batches = dataset.numpy("train", batch=8 if saved is None else 4, size=16, shuffle=True, seed=context.seed)
    if saved is None:
        tries.append("nothing")
        context.record(batches.state_dict())
        iterator = iter(batches)
        next(iterator)
        weights = context.directory / "weights.bin"
        for content in ("first", "second"):  # the file of before is written over
            weights.write_text(content)
            context.record(batches.state_dict())
            context.save({"reader": batches.state_dict()}, [weights])
        weights.write_text("unsaved")
        raise RuntimeError("killed in the first epoch")
    tries.append(saved.files["weights.bin"].read_text())
    batches.load_state_dict(saved.state["reader"])
    for _ in batches:
        pass
    context.record(batches.state_dict())
    return returning(dataset, context)


def returning(dataset: Dataset, context: TrainingContext, **changes: Any) -> Any:
    path = context.directory / "model.bin"
    path.write_bytes(b"model")
    rows = {split: dataset.splits[split].records for split in context.evaluated}
    given: dict[str, Any] = {"model": path, "predictions": {split: np.arange(count) for split, count in rows.items()}}
    return Trained(**given | changes)


def saving(dataset: Dataset, context: TrainingContext) -> Any:
    """Save twice on the way."""
    for number in range(2):
        weights = context.directory.parent / "weights.bin"
        weights.write_bytes(b"weights")
        context.save({"number": number}, [weights])
    return returning(dataset, context)


def nothing(dataset: Dataset, context: TrainingContext) -> Any:
    return None


def no_model(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, model=context.directory / "other.bin")


def model_elsewhere(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, model=Path(__file__))


def no_predictions(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, predictions={"train": [1]})


def too_few(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, predictions={split: [1.0] for split in context.evaluated})


def text(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, predictions={split: ["good", "bad"] for split in context.evaluated})


def not_finite(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(
        dataset, context, predictions={name: [np.nan] * dataset.splits[name].records for name in context.evaluated}
    )


def taken_name(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory / "receipt.json").write_text("{}")
    return returning(dataset, context)


def foreign_state(dataset: Dataset, context: TrainingContext) -> Any:
    state = dataset.numpy("train", size=16).state_dict()
    context.record(state | {"manifest_sha256": "0" * 64, "version": "other"})


def state_of_before(dataset: Dataset, context: TrainingContext) -> Any:
    batches = dataset.numpy("train", size=16)
    before = batches.state_dict()
    batches.set_epoch(2)
    context.record(batches.state_dict())
    context.record(before)


def unsaveable(dataset: Dataset, context: TrainingContext) -> Any:
    context.save({"weights": np.ones(3)})


def fit_without_fault(dataset: Dataset, context: TrainingContext) -> Trained:
    """Train, unless a file is there."""
    if Path(context.options["fault"]).exists():
        raise RuntimeError("the fault is there")
    return fit(dataset, context)
