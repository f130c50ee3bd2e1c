"""What every store keeps to when it reads and copies: no read is short, and no failed copy stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from aesthetics_ops.errors import StoreRefusedError

_Data = TypeVar("_Data", bytes, memoryview)

__all__ = ["exactly", "removed_on_failure"]


def exactly(url: str, data: _Data, offset: int, length: int) -> _Data:
    """Return the data of a ranged read, or refuse it where it is short."""
    if len(data) != length:
        raise StoreRefusedError(
            f"{url!r} has {len(data)} of the {length} bytes asked for at {offset}; it is shorter than its index says"
        )
    return data


@contextmanager
def removed_on_failure(path: Path) -> Iterator[None]:
    """Remove the local file that a failed copy leaves."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
