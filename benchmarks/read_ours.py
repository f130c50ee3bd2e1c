"""This project's readers for the benchmark.

    .venv/bin/python benchmarks/read_ours.py DATASET READER [--photos N] [--epochs N] [...]

DATASET is a URL or a pulled directory.  READER is numpy, torch, torch-loader, tf, keras or grain, and prints what
`reading.read` says.  `pull` brings the dataset to `--directory` twice, `index` opens its table, `state` writes a reader's state half
an epoch in to `--state`, and `resume` goes on there; each prints what it took.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from measure import anonymous_bytes
from reading import BATCH, SIDE_PX, read

SPLIT: Final = "train"
WORKERS: Final = 2

Options = dict[str, Any]


def options_of(arguments: argparse.Namespace) -> Options:
    """Return what every reader of a dataset is asked."""
    from aesthetics_ops.readers.pixels import Pixels

    shuffle = arguments.shuffle if arguments.shuffle == "block" else arguments.shuffle == "true"
    found: Options = {
        "batch": BATCH,
        "shuffle": shuffle,
        "seed": 0,
        "pixels": Pixels(SIDE_PX, "squash", arguments.antialias),
    }
    for name in ("directory", "cache", "ahead", "threads"):
        value = getattr(arguments, name)
        if value is not None:
            found[name] = value
    return found


def open_dataset(url: str) -> Any:
    """Import this project and open a dataset."""
    from aesthetics_ops.readers.dataset import open_dataset

    return open_dataset(url)


def numpy(dataset: Any, options: Options) -> Any:
    """Batches of numpy arrays."""
    return dataset.numpy(SPLIT, **options)


def torch(dataset: Any, options: Options) -> Any:
    """Batches of torch tensors, decoded by threads."""
    return dataset.torch(SPLIT, **options)


def torch_loader(dataset: Any, options: Options) -> Any:
    """Torch's DataLoader, two workers."""
    return dataset.torch_loader(SPLIT, num_workers=WORKERS, persistent_workers=True, **options)


def tensorflow(dataset: Any, options: Options) -> Any:
    """A tf.data.Dataset."""
    return dataset.tf(SPLIT, **options)


def keras(dataset: Any, options: Options) -> Any:
    """A Keras PyDataset, batch by batch."""
    batches = dataset.keras(SPLIT, **options)

    class Epochs:
        def __iter__(self) -> Iterator[Any]:
            return map(batches.__getitem__, range(len(batches)))

    return Epochs()


def grain(dataset: Any, options: Options) -> Any:
    """Grain's MapDataset of batches, made by Grain's threads."""
    return dataset.grain(SPLIT, **options).to_iter_dataset()


READERS: Final[dict[str, Callable[[Any, Options], Any]]] = {
    "numpy": numpy,
    "torch": torch,
    "torch-loader": torch_loader,
    "tf": tensorflow,
    "keras": keras,
    "grain": grain,
}


def pull(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pull twice."""
    dataset = open_dataset(arguments.dataset)
    found: dict[str, Any] = {}
    for name in ("", "again_"):
        started, cpu = time.perf_counter(), time.process_time()
        pulled = dataset.pull(arguments.directory, splits=[SPLIT], connections=arguments.connections)
        found |= {
            f"{name}wall_seconds": time.perf_counter() - started,
            f"{name}cpu_seconds": time.process_time() - cpu,
            f"{name}bytes": pulled.downloaded_bytes,
        }
    return found


def index(arguments: argparse.Namespace) -> dict[str, Any]:
    """Open the index of all records."""
    dataset = open_dataset(arguments.dataset)
    before, started, cpu = anonymous_bytes(os.getpid()), time.perf_counter(), time.process_time()
    records = dataset.open_split(SPLIT)
    found = len(records.labels)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - started
    grown = anonymous_bytes(os.getpid()) - before
    held = records.reader.index
    kept = sum(getattr(held, name).nbytes for name in held.__dataclass_fields__)
    return {"indexed": found, "cpu_seconds": cpu, "wall_seconds": wall, "bytes": kept, "grown": grown}


def state(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read half an epoch and write where that is."""
    batches = numpy(open_dataset(arguments.dataset), options_of(arguments))
    for number, _ in enumerate(batches, 1):
        if number >= len(batches) // 2:
            break
    Path(arguments.state).write_text(json.dumps(batches.state_dict()))
    return {"batches": number}


def resume(arguments: argparse.Namespace) -> dict[str, Any]:
    """Go on from a state: seconds from loading it to the first batch, and from before the import."""
    started = time.perf_counter()
    batches = numpy(open_dataset(arguments.dataset), options_of(arguments))
    batches.load_state_dict(json.loads(Path(arguments.state).read_text()))
    opened = time.perf_counter()
    images, _ = next(iter(batches))
    done = time.perf_counter()
    return {"resume_seconds": done - opened, "wall_seconds": done - started, "batch": len(images)}


def _dataset(arguments: argparse.Namespace) -> Any:
    """Open the dataset, or what is made of it first."""
    if arguments.copy:
        copy = Path(arguments.copy)
        copy.mkdir()
        for path in Path(arguments.dataset).iterdir():
            os.link(path, copy / path.name)
        return open_dataset(str(copy))
    dataset = open_dataset(arguments.dataset)
    if arguments.pull:
        dataset.pull(arguments.directory, splits=[SPLIT])
    return dataset


STEPS: Final = {"pull": pull, "index": index, "state": state, "resume": resume}


def main() -> int:
    """Do what is asked, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("reader", choices=[*READERS, *STEPS])
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--antialias", default="fast")
    parser.add_argument("--shuffle", choices=["true", "false", "block"], default="true")
    parser.add_argument("--directory")
    parser.add_argument("--cache")
    parser.add_argument("--ahead", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--copy", help="read a copy of the directory, made of links, so that a cache is its own")
    parser.add_argument("--pull", action="store_true", help="pull to --directory first")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--state")
    parser.add_argument("--first", action="store_true")
    arguments = parser.parse_args()
    if arguments.reader in STEPS:
        print("\n" + json.dumps(STEPS[arguments.reader](arguments)))
        return 0
    read(
        lambda: READERS[arguments.reader](_dataset(arguments), options_of(arguments)),
        arguments.photos,
        arguments.epochs,
        first_only=arguments.first,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
