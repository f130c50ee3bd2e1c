"""Upload finished shards while the next ones are made."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import ShardResult, write_shard_result
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["Uploader"]

_AT_ONCE: Final = 4  # shards; what ends an upload is three requests, one after the other


class Uploader:
    """Uploads finished shards while the next is made: as many as fit into the scratch room they have, four at most, and always one."""

    def __init__(self, dataset: Store, room_bytes: int, made: Callable[[str], None] = lambda digest: None) -> None:
        """Begin.

        Args:
            dataset: where shards go.
            room_bytes: that files which wait for the end of their upload may take.
            made: called, in any thread, with the digest of each shard that lies there with its result.
        """
        self._dataset, self._room_bytes = dataset, room_bytes
        self.made = made
        self._pool = StoreThreads(_AT_ONCE, thread_name_prefix="upload")
        self._pending: deque[tuple[int, Future[None]]] = deque()

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            while failure[0] is None and self._pending:
                self._wait()
        finally:
            self._pool.shutdown(cancel_futures=failure[0] is not None)

    def upload(self, result: ShardResult, path: Path) -> None:
        """Take over a finished file: upload it, then its result, then delete it."""
        size = path.stat().st_size
        while self._pending and (len(self._pending) == _AT_ONCE or self._held + size > self._room_bytes):
            self._wait()
        while self._pending and self._pending[0][1].done():
            self._wait()
        self._pending.append((size, self._pool.submit(self._upload, result, path)))

    @property
    def _held(self) -> int:
        return sum(size for size, _ in self._pending)

    def _wait(self) -> None:
        self._pending.popleft()[1].result()

    def _upload(self, result: ShardResult, path: Path) -> None:
        if result.photos:
            self._dataset.upload(shard_key(result.digest, ShardFile.RECORDS), path)
            write_shard_result(self._dataset, result)
            self.made(result.digest)
        path.unlink()
