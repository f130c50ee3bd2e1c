"""A process that TensorFlow reads in comes to its end, wherever training stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from tests.support.paths import ROOT

# Batches are slow, so that TensorFlow waits for one when the process ends.
SLOW = """
import sys, time
from aesthetics_ops import Pixels, open_dataset
from aesthetics_ops.readers.batches import Begun

def slow(self, result=Begun.result):
    time.sleep(0.3)
    return result(self)

Begun.result = slow
dataset = open_dataset(sys.argv[1])
options = {"pixels": Pixels(16), "batch": 7}
"""
FIT = """
data = dataset.keras("train", **options)
import keras

class Failing(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise ValueError("training failed")

model = keras.Sequential([keras.layers.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(data, shuffle=False, verbose=0, callbacks=[Failing()])
"""
ITERATED = """
batches = iter(dataset.tf("train", **options).prefetch(2))
next(batches)
"""


@pytest.mark.parametrize(
    ("program", "status", "last"),
    [(FIT, 1, "ValueError: training failed"), (ITERATED, 0, "")],
    ids=["a callback of fit fails", "an iterator is left"],
)
def test_a_process_ends(tmp_path: Path, program: str, status: int, last: str) -> None:
    url = f"{tmp_path.as_uri()}/dataset/"
    SyntheticDataset(open_store(url)).publish(synthetic_photos(100))
    env = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", SLOW + program, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300, env=env)
    assert done.returncode == status, done.stderr
    assert last in done.stderr
