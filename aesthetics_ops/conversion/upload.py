"""Upload one finished shard while the next is made."""

from concurrent.futures import Future
from pathlib import Path

from aesthetics_ops.dataset.layout import ShardFile, shard_key
from aesthetics_ops.dataset.results import ShardResult, write_shard_result
from aesthetics_ops.store import Store, StoreThreads

__all__ = ["Uploader"]


class Uploader:
    """Uploads one finished shard while the next is made; never more than one waits."""

    def __init__(self, dataset: Store) -> None:
        self._dataset = dataset
        self._pool = StoreThreads(1, thread_name_prefix="upload")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "Uploader":
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            if failure[0] is None:
                self._wait()
        finally:
            self._pool.shutdown()

    def upload(self, result: ShardResult, path: Path) -> None:
        """Take over a finished file: upload it, then its result, then delete it."""
        self._wait()
        self._pending = self._pool.submit(self._upload, result, path)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()

    def _upload(self, result: ShardResult, path: Path) -> None:
        if result.photos:
            self._dataset.upload(shard_key(result.digest, ShardFile.RECORDS), path)
            write_shard_result(self._dataset, result)
        path.unlink()
