"""Memory for batches, used again when nobody holds what was in it.

In: shapes of batches.  Out: arrays of uint8 that begin on a page.
A fresh array of some megabytes costs a page fault for every 4 kB, and its end gives all of them back.  In a process in which
TensorFlow reads, every array above 128 kB does: there it sets the C library's threshold to that.  Memory that begins on a
page is also what TensorFlow takes as it is; it copies what is not aligned to 64 bytes.
Promised: an array never changes while anything holds it, or a view of it, or a tensor that shares its memory; what lies
free is bounded.
"""

import math
import mmap
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Buffers", "Scratch", "Take", "fresh"]

Take = Callable[[tuple[int, ...]], NDArray[np.uint8]]
"""Gives an array of a shape, whose content is not defined."""

_MOST_SCRATCH: Final = 4 << 20  # bytes of one picture that a thread keeps the memory of


class Buffers:
    """Memory of batches of one reader; threads may take from it at once."""

    def __init__(self, most: int) -> None:
        """Take no memory yet.

        Args:
            most: batches' memory that lies free, waiting to be used again; what comes back beyond goes to the system.
        """
        self._most = most
        self._free: deque[mmap.mmap] = deque(maxlen=most)

    def take(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an array, uint8, whose content is not defined; its memory comes back by itself.

        Raises:
            MemoryError: the system has not so much.
        """
        size = math.prod(shape)
        if size == 0:
            return np.empty(shape, np.uint8)
        return np.asarray(_Lent(self._memory(size), shape, self._free))

    def clear(self) -> None:
        """Give what lies free back to the system."""
        self._free.clear()

    def __reduce__(self) -> tuple[object, ...]:
        return Buffers, (self._most,)  # a copy has memory of its own

    def _memory(self, size: int) -> mmap.mmap:
        """Return memory for so many bytes: of a batch before if there is one."""
        while True:
            try:
                memory = self._free.pop()
            except IndexError:
                return _mapped(size)
            if len(memory) >= size:
                return memory


def _mapped(size: int) -> mmap.mmap:
    """Return fresh memory, this process's own also after a fork."""
    try:
        return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"a batch of {size:,} bytes: {error.strerror}") from error


class _Lent:
    """What an array's memory belongs to: it lives as long as the last array or tensor over it."""

    def __init__(self, memory: mmap.mmap, shape: tuple[int, ...], free: deque[mmap.mmap]) -> None:
        self._memory, self._free = memory, free
        address = np.frombuffer(memory, np.uint8).ctypes.data
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": shape,
            "typestr": "|u1",
            "data": (address, False),
        }

    def __del__(self) -> None:
        self._free.append(self._memory)  # of a deque: needs no lock, which whoever runs this may hold


def fresh(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an array in memory that is not used again."""
    return np.empty(shape, np.uint8)


class Scratch(threading.local):
    """Memory of each thread for what lasts until the next photo."""

    def __init__(self, count: int) -> None:
        """Take no memory yet: `count` pieces of it."""
        self._pieces = [np.empty(0, np.uint8) for _ in range(count)]

    def array(self, number: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an array in one of the pieces, uint8, whose content is not defined; a very large one is fresh memory."""
        size = math.prod(shape)
        if size > _MOST_SCRATCH:
            return np.empty(shape, np.uint8)
        if size > self._pieces[number].size:
            self._pieces[number] = np.empty(size, np.uint8)
        return self._pieces[number][:size].reshape(shape)
