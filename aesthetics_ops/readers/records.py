"""The records of local shards, in plain Python."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from aesthetics_ops.dataset.example import Example, decode_example
from aesthetics_ops.dataset.tfrecord import read_records

__all__ = ["examples"]


def examples(files: Iterable[Path]) -> Iterator[Example]:
    """Yield every record of local shards, in order, without TensorFlow; CRCs are checked.

    Raises:
        IntegrityError: a file is damaged.
    """
    for path in files:
        with path.open("rb") as file:
            for record in read_records(file):
                yield decode_example(record)
