"""Functions that train as nobody should: they raise, end the program, return what is no model, or leave odd files."""

import os
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from aesthetics_ops import Dataset
from aesthetics_ops.training.context import TrainingContext
from aesthetics_ops.training.receipt import MODEL_RECEIPT
from tests.support.trainers import returning


def two_lines(dataset: Dataset, context: TrainingContext) -> Any:
    raise ValueError("the first line\nand the second")


def no_text(dataset: Dataset, context: TrainingContext) -> Any:
    raise ValueError


def missing_file(dataset: Dataset, context: TrainingContext) -> Any:
    return Path("/nowhere/weights.bin").read_bytes()


def missing_option(dataset: Dataset, context: TrainingContext) -> Any:
    return context.options["epochs"]


def below(dataset: Dataset, context: TrainingContext) -> Any:
    return np.linalg.inv(np.zeros((2, 2)))


def no_memory(dataset: Dataset, context: TrainingContext) -> Any:
    raise MemoryError


def ends_well(dataset: Dataset, context: TrainingContext) -> Any:
    sys.exit(0)


def ends_badly(dataset: Dataset, context: TrainingContext) -> Any:
    sys.exit("usage: train FILE")


def skips(dataset: Dataset, context: TrainingContext) -> Any:
    from airflow.sdk.exceptions import AirflowSkipException

    raise AirflowSkipException("too few photos are new")


def killed_once(dataset: Dataset, context: TrainingContext) -> Any:
    """Save something, then get a signal; the next try goes on from there."""
    saved = context.saved()
    if saved is None:
        context.save({"epoch": 1}, [Path(__file__)])
        os.kill(os.getpid(), context.options["signal"])
        threading.Event().wait(60)
    assert saved is not None
    assert saved.state == {"epoch": 1}
    return returning(dataset, context)


def closes_stdout(dataset: Dataset, context: TrainingContext) -> Any:
    sys.stdout.close()
    return returning(dataset, context)


def too_deep(dataset: Dataset, context: TrainingContext) -> Any:
    return too_deep(dataset, context)


def closed(dataset: Dataset, context: TrainingContext) -> Any:
    raise GeneratorExit


def long(dataset: Dataset, context: TrainingContext) -> Any:
    raise RuntimeError("x" * 100_000)


def one_argument(dataset: Dataset) -> Any:
    return dataset


def three_arguments(dataset: Dataset, context: TrainingContext, model: str) -> Any:
    return model


async def waits(dataset: Dataset, context: TrainingContext) -> Any:
    return dataset


class Trainer:
    """A class, and no function."""


class _Called:
    def __call__(self, dataset: Dataset, context: TrainingContext) -> Any:
        return returning(dataset, context)


called = _Called()


def for_all(dataset: Dataset, context: TrainingContext, value: Any) -> Any:
    """Return the same predictions for each split, made by a function of its number of records where that is one."""
    counts = {split: dataset.splits[split].records for split in context.evaluated}
    made = {split: value(count) if callable(value) else value for split, count in counts.items()}
    return returning(dataset, context, predictions=made)


def a_dict(dataset: Dataset, context: TrainingContext) -> Any:
    return {"model": 1}


def model_number(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, model=3)


def model_folder(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, model=context.directory)


def model_beside(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory.parent / "beside.bin").write_bytes(b"model")
    return returning(dataset, context, model=context.directory / ".." / "beside.bin")


def model_text(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, model=str(context.directory / "model.bin"))


def no_archive(dataset: Dataset, context: TrainingContext) -> Any:
    path = context.directory / "model.keras"
    path.write_bytes(b"no archive")
    return returning(dataset, context, model=path)


def copied_archive(dataset: Dataset, context: TrainingContext) -> Any:
    path = context.directory / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr(MODEL_RECEIPT, '{"of": "the model before"}')
    return returning(dataset, context, model=path)


def predictions_none(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, predictions=None)


def predictions_list(dataset: Dataset, context: TrainingContext) -> Any:
    return returning(dataset, context, predictions=[[1.0], [2.0]])


def ragged(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, [[1], [1, 2]])


def imaginary(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, lambda count: np.full(count, 1j))


def numerals(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, lambda count: ["5.1"] * count)


def huge(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, lambda count: np.full(count, 1e308))


def column(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, lambda count: np.ones((count, 1)))


def negative_shares(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, lambda count: np.full((count, len(dataset.ratings)), -0.1))


def counts_of_votes(dataset: Dataset, context: TrainingContext) -> Any:
    return for_all(dataset, context, lambda count: np.full((count, len(dataset.ratings)), 20))


def link_out(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory / "link.py").symlink_to(__file__)
    return returning(dataset, context)


def folder_out(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory / "linked").symlink_to(Path(__file__).parent)
    return returning(dataset, context)


def dangling(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory / "newest").symlink_to("gone")
    return returning(dataset, context)


def link_within(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory / "newest").symlink_to("model.bin")
    return returning(dataset, context)


def named(dataset: Dataset, context: TrainingContext, name: str) -> Any:
    path = context.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1")
    return returning(dataset, context)


def line_break(dataset: Dataset, context: TrainingContext) -> Any:
    return named(dataset, context, "two\nlines")


def no_utf8(dataset: Dataset, context: TrainingContext) -> Any:
    return named(dataset, context, "\udcff.bin")


def long_name(dataset: Dataset, context: TrainingContext) -> Any:
    return named(dataset, context, "n" * 220)


def taken_link(dataset: Dataset, context: TrainingContext) -> Any:
    (context.directory / "done.json").symlink_to("gone")
    return returning(dataset, context)


def taken_folder(dataset: Dataset, context: TrainingContext) -> Any:
    return named(dataset, context, "resume/mine.bin")


def odd_names(dataset: Dataset, context: TrainingContext) -> Any:
    for name in (
        "a b.txt",
        "ü 照.bin",
        "x%20y",
        "q?#&.txt",
        ".hidden",
        "..dots",
        "-",
        "read-back-model.bin",
        "d e/é.txt",
    ):
        named(dataset, context, name)
    return returning(dataset, context)


def record_none(dataset: Dataset, context: TrainingContext) -> Any:
    context.record(None)


def record_two_readers(dataset: Dataset, context: TrainingContext) -> Any:
    for seed in (1, 2):
        context.record(dataset.numpy("train", batch=2, size=16, shuffle=True, seed=seed).state_dict())


def record_two_splits(dataset: Dataset, context: TrainingContext) -> Any:
    for split in ("train", "validation"):
        context.record(dataset.numpy(split, batch=2, size=16).state_dict())


def save_missing(dataset: Dataset, context: TrainingContext) -> Any:
    context.save({}, [context.directory / "gone.bin"])


def save_folder(dataset: Dataset, context: TrainingContext) -> Any:
    context.save({}, [context.directory])


def save_number(dataset: Dataset, context: TrainingContext) -> Any:
    context.save({}, [3])  # type: ignore[list-item]


def save_none(dataset: Dataset, context: TrainingContext) -> Any:
    context.save(None)


def save_odd_name(dataset: Dataset, context: TrainingContext) -> Any:
    path = context.directory / "two\nlines"
    path.write_bytes(b"1")
    context.save({}, [path])


def changes_the_context(dataset: Dataset, context: TrainingContext) -> Any:
    context.version = "another"  # type: ignore[misc]


def changes_the_options(dataset: Dataset, context: TrainingContext) -> Any:
    context.options["layers"].append(object())
    return returning(dataset, context)
