"""How work tells what it is at, to whoever watches."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

__all__ = ["Progress", "silent", "told"]

_Result = TypeVar("_Result")


class Progress(Protocol):
    """How work of several stages tells what it is doing.

    Called with the stage's name, the amount of its work and the unit of that amount.  Returns a context, open while the
    stage works, that gives a function to call with the amount just done.
    """

    def __call__(self, stage: str, total: int, unit: str, /) -> AbstractContextManager[Callable[[int], None]]:
        """Open the progress of one stage."""


@contextmanager
def silent(stage: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Tell nobody: the progress of work that nobody watches."""
    yield lambda amount: None


def told(results: Iterable[_Result], done: Callable[[int], None]) -> Iterator[_Result]:
    """Pass results on, and call `done` with 1 for each."""
    for result in results:
        done(1)
        yield result
