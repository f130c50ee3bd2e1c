"""Decoded pixels that stay: what one epoch decodes, the next ones read, in this process and in every other.

In: decoded photos of one size.  Out: the same, at a fiftieth of the price of decoding.
Per shard and per way of decoding there is one file of pixels, `height * width * 3` bytes a record, and one of checksums,
4 bytes a record, 0 where the record is not there yet.  Files are named by the shard's digest, so that a version that shares
shards with the one before it keeps their pixels.
Promised: pixels that a crash left half-written are decoded again; several processes fill and read one directory at once;
nothing is kept in this process's own memory but a byte per record.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.errors import ScratchSpaceError, SettingsError
from aesthetics_ops.machine import free_memory
from aesthetics_ops.readers.fetching.shards import NOT_OURS, Files
from aesthetics_ops.readers.pixels import Pixels

__all__ = ["PixelCache", "require_memory"]

_NOT_THERE: Final = 0
_CRC_OF_ZERO: Final = 1  # stands for a checksum that happens to be 0


class PixelCache:
    """Decoded pixels of the records of one split, in files."""

    def __init__(self, directory: Path, shards: Sequence[Shard], pixels: Pixels) -> None:
        """Make the directory, and look whether everything will fit.

        Args:
            directory: made if it does not exist.
            shards: of the split, by the manifest.
            pixels: how photos are decoded; all to one size, and nothing at random.

        Raises:
            SettingsError: `pixels` draws at random, or gives photos of different sizes; or the pixels do not fit into
                the memory that is free.
            ScratchSpaceError: they do not fit onto the disk.
            SettingsError: the directory is not for this user.
        """
        self._made_of = directory, tuple(shards), pixels
        shape = pixels.shape
        if shape is None or pixels.is_random:
            kind = "draws anew in every epoch" if pixels.is_random else "gives photos of different sizes"
            raise SettingsError(
                f"cache='uint8' keeps one picture of one size for each photo, and fit={pixels.fit!r}, flip={pixels.flip} "
                f"{kind}; take fit='crop', 'squash' or 'pad' without flip, or leave cache out"
            )
        self._bytes = int(np.prod(shape))
        self._counts = tuple(shard.records for shard in shards)
        folder = directory / f"pixels-{pixels.digest}"
        with _told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        names = [folder / shard.digest for shard in shards]
        flags = os.O_RDWR | os.O_CREAT
        self._pixels = Files([name.with_suffix(".u8") for name in names], flags)
        self._sums = Files([name.with_suffix(".crc32c") for name in names], flags)
        self._known: dict[int, NDArray[np.uint32]] = {}
        self._seen: dict[int, NDArray[np.bool_]] = {}
        needed = sum(self._counts) * self._bytes
        require_memory(needed, "uint8", f"{sum(self._counts):,} photos of {shape[1]} x {shape[0]} px")
        _require_disk(folder, needed - sum(_size(name.with_suffix(".u8")) for name in names))

    def has(self, shard: int, number: int) -> bool:
        """Say whether a record's pixels are there, whoever decoded them."""
        known = self._known.get(shard)
        first, count = (number, 1) if known is not None else (0, self._counts[shard])
        if known is None:
            self._seen.setdefault(shard, np.zeros(count, np.bool_))
            known = self._known.setdefault(shard, np.zeros(count, np.uint32))
        if known[number] == _NOT_THERE:
            with _told(self._sums.paths[shard]), self._sums.handle(shard) as handle:
                os.preadv(handle, [known[first : first + count].data], first * known.itemsize)
        return bool(known[number] != _NOT_THERE)

    def read(self, shard: int, number: int, out: NDArray[np.uint8]) -> bool:
        """Fill an array with a record's pixels; False where they are not whole.

        Args:
            shard: its number in the split.
            number: of the record in the shard; `has` said that it is there.
            out: uint8, (height, width, 3), contiguous.
        """
        with _told(self._pixels.paths[shard]), self._pixels.handle(shard) as handle:
            got = os.preadv(handle, [out.data], number * self._bytes)
        if self._seen[shard][number]:
            return got == self._bytes
        is_whole = got == self._bytes and _crc(out) == self._known[shard][number]
        self._seen[shard][number] = is_whole
        return is_whole

    def write(self, shard: int, number: int, image: NDArray[np.uint8]) -> None:
        """Keep a record's pixels.

        Args:
            shard: its number in the split.
            number: of the record in the shard.
            image: uint8, (height, width, 3), contiguous.

        Raises:
            ScratchSpaceError: the disk is full.
            SettingsError: the file is not for this user to write.
        """
        crc = _crc(image)
        with _told(self._pixels.paths[shard]), self._pixels.handle(shard) as handle:
            written = os.pwrite(handle, image.data, number * self._bytes)
            if written == self._bytes:
                with self._sums.handle(shard) as sums:
                    os.pwrite(sums, np.uint32(crc).tobytes(), number * 4)
                self._known[shard][number], self._seen[shard][number] = crc, True

    def close(self) -> None:
        """Close the files, while nobody reads."""
        self._pixels.close()
        self._sums.close()

    def __reduce__(self) -> tuple[object, ...]:
        return PixelCache, self._made_of


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which file the disk has no room for, or this user no right to."""
    try:
        yield
    except OSError as error:
        if error.errno in NOT_OURS:
            raise SettingsError(
                f"cache='uint8' cannot write {path}; let this user write there, give another directory, or leave cache out"
            ) from error
        raise ScratchSpaceError(
            f"{path} cannot take more pixels: {error.strerror}; free some, or leave cache out"
        ) from error


def require_memory(needed: int, cache: str, what: str) -> None:
    """Refuse a cache that would not stay in memory: the system would drop it, and read it from the disk again and again.

    Args:
        needed: bytes of the cache.
        cache: its name in the settings.
        what: is kept.

    Raises:
        SettingsError: the memory that this process may still take is smaller.
    """
    free = free_memory()
    if needed > free:
        raise SettingsError(
            f"cache={cache!r} would keep {what} in {needed:,} bytes, and {free:,} bytes of memory are free here; take "
            "smaller photos, fewer records, a machine with more memory, or leave cache out"
        )


def _require_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ScratchSpaceError(
            f"{folder} would grow by {needed:,} bytes, and its disk has {free:,} bytes free; free some, or leave cache out"
        )


def _size(path: Path) -> int:
    """Return the bytes that a file takes on the disk, 0 where there is none."""
    with suppress(FileNotFoundError):
        return path.stat().st_blocks * 512
    return 0


def _crc(image: NDArray[np.uint8]) -> int:
    return google_crc32c.value(image.reshape(-1)) or _CRC_OF_ZERO
