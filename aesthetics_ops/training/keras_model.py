"""The function that trains by default: a small Keras model from scratch, on the CPU in seconds for a small dataset.

It learns the distribution of the votes by the earth mover's distance where records have one, else the label by its squared
error.  It is there to show that data, order and receipt hold together, and as something to begin with; name a function of your
own for a model that is to be good.
Promised: equal data, options, seed and releases give equal weights on one machine's CPU; a training that was broken off goes
on with the epoch after the last whole one.
"""

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.machine import quiet_stderr
from aesthetics_ops.parsing import parse_model
from aesthetics_ops.readers.dataset import Dataset
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.training.context import Trained, TrainingContext

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet_stderr():
    import keras  # type: ignore[import-untyped]

__all__ = ["KerasOptions", "earth_movers_distance", "train"]


class KerasOptions(BaseModel):
    """What [NAME.training.options] may say for this function."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(10, ge=1, le=10_000, description="passes over the training split")
    batch: int = Field(32, ge=1, le=65_536, description="photos of a step")
    size: int = Field(96, ge=16, le=1_024, description="height and width that photos are trained at, px")
    learning_rate: float = Field(0.003, gt=0, le=1, description="of Adam")
    flip: bool = Field(True, description="mirror half of the photos")
    labels: Literal["auto", "label", "distribution"] = Field(
        "auto", description="what is learned; auto takes the distribution of votes where records have it"
    )


def train(dataset: Dataset, context: TrainingContext) -> Trained:
    """Train a small model, and predict the splits that are asked for.

    Args:
        dataset: the version, pulled.
        context: of this training; its options are those of `KerasOptions`.

    Raises:
        SettingsError: an option is wrong, or a distribution is asked for where there is none.
    """
    options = parse_model(KerasOptions, dict(context.options), "training.options")
    labels = _labels(dataset, options)
    keras.utils.set_random_seed(context.seed)
    pixels = Pixels(options.size, flip=options.flip)
    batches = dataset.numpy("train", batch=options.batch, pixels=pixels, shuffle=True, seed=context.seed, labels=labels)
    model, begun = _begin(dataset, context, options, labels)
    if begun:
        batches.load_state_dict(begun["reader"])
    context.record(batches.state_dict())
    for epoch in range(begun.get("epochs", 0), options.epochs):
        losses = [float(model.train_on_batch(images, targets)) for images, targets in batches]
        print(f"epoch {epoch + 1} of {options.epochs}: loss {losses[-1]:.4f}", flush=True)  # noqa: T201 - the task's log
        context.record(batches.state_dict())
        weights = context.directory.parent / "newest.keras"
        model.save(weights)
        context.save({"epochs": epoch + 1, "reader": batches.state_dict()}, [weights])
    path = context.directory / "model.keras"
    named = keras.Model(model.inputs, model.outputs, name=f"trained_on_{context.version}")  # loads without this module
    named.save(path)
    predictions = {split: _predict(named, dataset, split, options) for split in context.evaluated}
    return Trained(path, predictions)


def _labels(dataset: Dataset, options: KerasOptions) -> str:
    if options.labels == "auto":
        return "distribution" if dataset.ratings else "label"
    if options.labels not in dataset.label_names:
        raise SettingsError(
            f"training.options: labels is {options.labels!r}, but version {dataset.version!r} has no votes; it has "
            f"{', '.join(dataset.label_names)}: take 'auto' or 'label'"
        )
    return options.labels


def _begin(
    dataset: Dataset, context: TrainingContext, options: KerasOptions, labels: str
) -> tuple[Any, dict[str, Any]]:
    """Return the model, new or as an earlier try left it, and what that try saved."""
    saved = context.saved()
    if saved is not None:
        return keras.models.load_model(saved.files["newest.keras"]), saved.state
    records = dataset.open_split("train")
    targets = records.labels_as(labels)
    records.close()
    model = _model(options.size, targets)
    loss = "mean_squared_error" if labels == "label" else earth_movers_distance
    model.compile(optimizer=keras.optimizers.Adam(options.learning_rate), loss=loss)
    return model, {}


def _model(size: int, targets: NDArray[np.floating]) -> Any:
    """Return a model that at first predicts near the mean of the targets, shape (n,) or (n, ratings)."""
    layers = keras.layers
    inputs = keras.Input((size, size, 3), dtype="uint8")
    found = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for filters in (16, 32, 64):
        found = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(found)
    found = layers.GlobalAveragePooling2D()(found)
    if targets.ndim == 1:
        outputs = layers.Rescaling(float(targets.std()), offset=float(targets.mean()))(layers.Dense(1)(found))
        outputs = layers.Flatten()(outputs)
    else:
        likely = keras.initializers.Constant(np.log(targets.mean(axis=0) + 1e-4).tolist())
        outputs = layers.Dense(targets.shape[1], activation="softmax", bias_initializer=likely)(found)
    return keras.Model(inputs, outputs)


@keras.saving.register_keras_serializable("aesthetics_ops")  # type: ignore[untyped-decorator]
def earth_movers_distance(labels: Any, predicted: Any) -> Any:
    """Return the earth mover's distance (r = 2) of two distributions, shape (b, ratings), for each photo: shape (b,)."""
    ops = keras.ops
    apart = ops.cumsum(ops.cast(labels, predicted.dtype) - predicted, axis=-1)
    return ops.sqrt(ops.mean(ops.square(apart), axis=-1) + 1e-12)


def _predict(model: Any, dataset: Dataset, split: str, options: KerasOptions) -> NDArray[np.floating]:
    with dataset.numpy(split, batch=options.batch, size=options.size) as batches:
        found = np.concatenate([np.asarray(model.predict_on_batch(images)) for images, _ in batches])
    return found[:, 0] if found.shape[1] == 1 else found
