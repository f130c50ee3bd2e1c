"""Batches as a tf.data.Dataset.

In: `Batches`.  Out: the same, bit for bit, as tensors over the memory that the photos were decoded into.  TensorFlow
neither decodes nor resizes: its decoder differs by up to 9 levels from every other, and its resize does not antialias.
Promised: one iteration is one epoch; shapes and, but for the rest of an epoch, the number of batches are known; nothing is
read ahead of what is asked for, so that the state of `Batches` is that of the training loop.
"""

import os
import weakref
from collections.abc import Iterator
from typing import Any, Unpack

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.machine import quiet_stderr
from aesthetics_ops.readers.batches import Batches
from aesthetics_ops.readers.dataset import Dataset
from aesthetics_ops.readers.ending import end_iterators_at_exit
from aesthetics_ops.readers.options import ReadOptions
from aesthetics_ops.readers.targets import one_of

__all__ = ["as_tf", "read_tf"]


def read_tf(dataset: Dataset, split: str, **options: Unpack[ReadOptions]) -> Any:
    """Return a split as a tf.data.Dataset: the reader "tf", as `Dataset.tf` describes it."""
    return as_tf(dataset.numpy(split, **options))


def as_tf(batches: Batches) -> Any:
    """Return batches as a tf.data.Dataset of (images, labels).

    images: uint8, shape (b, height, width, 3), sRGB; where photos keep their shape, one photo at a time, (height, width, 3);
    where nothing is to be decoded, JPEGs, tf.string, shape (b,).  labels: float32, shape (b,), or (); or what
    `labels` asked for, a dict where it was a list.

    `batches` keeps the position, and is an attribute of what is returned: `batches.state_dict()` is where training stands, if
    nothing after this dataset prefetches; else `batches.sampler.state_dict(n)`, n batches of this epoch being trained on.  A
    state is loaded into `batches` before this call.

    Args:
        batches: not to be iterated over by others meanwhile.

    Raises:
        SettingsError: at an iteration: a state was loaded since, and the number of batches is no longer the promised one.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import tensorflow as tf
    end_iterators_at_exit()

    steps, whole = batches.sampler.steps, batches.sampler.whole_steps
    count = len(steps) if len(steps) == len(whole) else None
    is_batched = batches.pixels is None or batches.pixels.shape is not None
    size = (steps.uniform and whole.uniform,) if is_batched else ()
    if batches.pixels is None:
        images = tf.TensorSpec(size, tf.string)
    else:
        images = tf.TensorSpec((*size, *(batches.pixels.shape or (None, None, 3))), tf.uint8)

    weak = weakref.ref(batches)  # TensorFlow never lets go of a generator function

    def epoch() -> Iterator[Any]:
        batches = weak()
        if batches is None:
            raise SettingsError("the tf.data.Dataset that these batches belong to is gone; keep it while it is read")
        if count is not None and len(batches) != count:
            raise SettingsError(
                f"{len(batches)} batches are left in the epoch, and the tf.data.Dataset was made for {count}; load a "
                "state before as_tf"
            )
        return iter(batches) if is_batched else _one_by_one(batches)

    specs: Any = {name: tf.TensorSpec((*size, *shape), dtype) for name, (shape, dtype) in batches.targets.kinds.items()}
    labels = specs[batches.targets.names[0]] if batches.targets.is_one else specs
    data = tf.data.Dataset.from_generator(epoch, output_signature=(images, labels))
    if is_batched and count is not None:
        data = data.apply(tf.data.experimental.assert_cardinality(count))
    data = data.with_options(_chosen(tf))
    data.batches = batches
    return data


def _chosen(tf: Any) -> Any:
    """Return the options of what is read here, and of what is made of it where nobody chooses others.

    An iterator that is tuned waits at its end for the tuner's next turn (TensorFlow 2.21), 10, 20, 40 ms and so on apart: up to
    half of an epoch.  What AUTOTUNE stands for is one call per core then.
    """
    chosen = tf.data.Options()
    chosen.autotune.enabled = False
    chosen.experimental_optimization.inject_prefetch = False
    return chosen


def _one_by_one(batches: Batches) -> Iterator[Any]:
    for images, labels in batches:
        yield from ((image, one_of(labels, number)) for number, image in enumerate(images))
