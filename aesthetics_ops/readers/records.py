"""The records of local shards, in plain Python."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from aesthetics_ops.dataset.example import Example, decode_example
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.readers.dataset import Dataset

__all__ = ["examples", "read_examples"]


def read_examples(dataset: Dataset, split: str, *, directory: str | Path) -> Iterator[Example]:
    """Pull a split and yield its records: the reader "examples", as `Dataset.examples` describes it."""
    return examples(dataset.pull(directory, splits=[split]).files[split])


def examples(files: Iterable[Path]) -> Iterator[Example]:
    """Yield every record of local shards, in order, without TensorFlow; CRCs are checked.

    Raises:
        IntegrityError: a file is damaged.
    """
    for path in files:
        with path.open("rb") as file:
            for record in read_records(file):
                yield decode_example(record)
