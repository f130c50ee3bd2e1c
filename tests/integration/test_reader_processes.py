"""Readers in processes of their own: Keras trains, Grain's workers read, several fill one cache, and each comes to its end."""

import gc
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aesthetics_ops import Dataset, Pixels, open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from tests.support.memory import own_bytes
from tests.support.paths import ROOT


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    url = f"{tmp_path.as_uri()}/dataset/"
    SyntheticDataset(open_store(url)).publish(synthetic_photos(100))
    return open_dataset(url)


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300, env=env)


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
def test_a_process_of_tensorflow_ends_wherever_training_stopped(
    dataset: Dataset, program: str, status: int, last: str
) -> None:
    done = run([sys.executable, "-c", SLOW + program, dataset.manifest.dataset], KERAS_BACKEND="tensorflow")
    assert done.returncode == status, done.stderr
    assert last in done.stderr


# Prints the labels that the loss saw, batch by batch.
FIT_TWICE = """
import json, sys
from aesthetics_ops import Pixels, open_dataset

data = open_dataset(sys.argv[1]).keras("train", pixels=Pixels(16, flip=True), batch=7, shuffle=True, seed=3)
import keras

class Loss(keras.losses.Loss):
    def call(self, labels, scores):
        if not isinstance(labels, keras.KerasTensor):
            seen.append(keras.ops.convert_to_numpy(labels).ravel().tolist())
        return keras.ops.square(labels - scores)

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 4:
            states.append(data.state_dict(batch + 1))

seen, states, answer = [], [], {}
model = keras.Sequential([
    keras.layers.Input((16, 16, 3), dtype="uint8"), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
    keras.layers.Dense(1),
])
model.compile("sgd", Loss(), run_eagerly=True)
model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[Stop()])
answer["epochs"] = seen[-2 * len(data):]
seen.clear()
model.fit(data, epochs=2, steps_per_epoch=4, shuffle=False, verbose=0)
answer["cut"] = seen[-8:]
data.load_state_dict(json.loads(json.dumps(states[0])))
seen.clear()
model.fit(data, epochs=2, shuffle=False, verbose=0)
answer["resumed"] = seen[-2 * len(data):]
data.load_state_dict(states[0])
try:
    model.fit(data, epochs=2, verbose=0)
except Exception as error:
    answer["shuffled"] = str(error)
print(json.dumps(answer))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_fit_sees_each_record_once_an_epoch_in_the_samplers_order(dataset: Dataset, backend: str) -> None:
    done = run([sys.executable, "-c", FIT_TWICE, dataset.manifest.dataset], KERAS_BACKEND=backend)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    batches = dataset.numpy("train", pixels=Pixels(16, flip=True), batch=7, shuffle=True, seed=3)
    expected = [labels.tolist() for _ in range(4) for _, labels in batches]
    assert seen["epochs"] == expected[:24]
    for epoch in (seen["epochs"][:12], seen["epochs"][12:]):
        assert sorted(label for batch in epoch for label in batch) == sorted(dataset.open_split("train").labels)
    assert seen["cut"] == expected[24:32]
    assert seen["resumed"] == expected[5:29]
    assert "out of turn; give fit shuffle=False" in seen["shuffled"]


WORKERS = """
import json, sys
import grain
from aesthetics_ops import Pixels, open_dataset

if __name__ == "__main__":
    pixels = Pixels(16, "random_crop", flip=True)
    data = open_dataset(sys.argv[1]).grain("train", pixels=pixels, batch=7, shuffle=True, seed=3)
    workers = grain.MultiprocessingOptions(num_workers=2)
    read = data.repeat(2).to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)).mp_prefetch(workers)
    print(json.dumps([[int(images.sum()), labels.tolist()] for images, labels in read]))
"""


def test_two_worker_processes_of_grain_give_the_batches_of_numpy(dataset: Dataset, tmp_path: Path) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    done = run([sys.executable, str(script), dataset.manifest.dataset])
    assert done.returncode == 0, done.stderr
    batches = dataset.numpy("train", pixels=Pixels(16, "random_crop", flip=True), batch=7, shuffle=True, seed=3)
    expected = [[int(images.sum()), labels.tolist()] for _ in range(2) for images, labels in batches]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


SIZE = 24


def summed(dataset: Dataset, place: Path) -> int:
    read = dataset.numpy("train", batch=16, size=SIZE, shuffle=True, directory=place, cache="uint8")
    return sum(int(images.sum()) for images, _ in read)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_fill_one_cache_at_once(dataset: Dataset, tmp_path: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    answer = context.Queue()
    children = [context.Process(target=put_summed, args=(dataset, tmp_path / "place", answer)) for _ in range(3)]
    for child in children:
        child.start()
    found = [answer.get(timeout=300) for _ in children]
    for child in children:
        child.join(60)
    assert found == [summed(dataset, tmp_path / "place")] * 3
    sizes = [path.stat().st_size for path in (tmp_path / "place").glob("pixels-*/*.u8")]
    assert sum(sizes) == 80 * SIZE * SIZE * 3


def put_summed(dataset: Dataset, place: Path, answer: "multiprocessing.Queue[int]") -> None:
    answer.put(summed(dataset, place))


def test_every_instruction_set_gives_the_same_pixels(tmp_path: Path) -> None:
    """OpenCV rounds halves in its vector code and next to it differently, so nothing may lie half-way."""
    noise = np.random.default_rng(0).integers(0, 256, (301, 403, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg", quality=98, subsampling=0)
    code = """
import sys
from hashlib import sha256
from pathlib import Path
from aesthetics_ops.readers.pixels import Pixels, decode
jpeg = Path(sys.argv[1]).read_bytes()
for mode in ("fine", "fast", "none"):
    for fit in ("squash", "random_crop"):
        digest = sha256()
        for size in range(3, 230, 3):
            digest.update(decode(jpeg, Pixels(size, fit, mode), draw=size).tobytes())
        print(mode, fit, digest.hexdigest())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "noise.jpg")]
    features = ("", "AVX512-SKX", "AVX512-SKX,AVX2,FMA3,AVX,FP16", "AVX512-SKX,AVX2,FMA3,AVX,FP16,SSE4.2,SSE4.1,SSSE3")
    environments = [{"OPENCV_CPU_DISABLE": off} for off in features] + [{"OPENCV_IPP": "disabled"}]
    found = {
        subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment
        ).stdout
        for environment in environments
    }
    assert len(found) == 1


def sizes_over_epochs(dataset: Dataset, answer: "multiprocessing.Queue[list[int]]") -> None:
    data = dataset.tf("train", pixels=Pixels(224, flip=True), batch=16, shuffle=True)
    sizes = []
    for _ in range(24):
        for _images, _labels in data:
            pass
        gc.collect()
        sizes.append(own_bytes())
    answer.put(sizes)


def test_memory_of_tensorflow_is_flat_over_epochs(dataset: Dataset) -> None:
    """In a process of its own: what other tests left behind in this one's heap grows meanwhile."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=sizes_over_epochs, args=(dataset, answer))
    child.start()
    sizes = answer.get(timeout=300)
    child.join(60)
    assert max(sizes[4:]) <= 1.05 * min(sizes[3:5]), sizes
