"""s3://: a router over two stores of one prefix, obstore for bulk bytes and listings, boto3 for what obstore cannot do.

In: a bucket and a prefix.  Out: a `Store` that addresses every key.  `S3Store._for` chooses by the key; whatever the key,
checks, conditional writes and the reading back after them go through boto3, and so does a listing that meets a key
which obstore cannot express.  In a process that was forked from one that has used obstore, boto3 does it all.
"""
# ruff: noqa: D102 - what the methods do stands in contract.py

import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from aesthetics_ops.errors import OddKeyError
from aesthetics_ops.store.boto import BotoStore, S3Bucket
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.native import NativeStore, is_odd, was_used_before_fork

__all__ = ["S3Store"]

_log = logging.getLogger(__name__)

_processes_told: set[int] = set()


class S3Store(Store):
    """A prefix of an S3 bucket."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self._prefix = prefix
        self._native = NativeStore(f"s3://{bucket.name}/", prefix, bucket.native, bucket.explained_native)
        self._boto = BotoStore(bucket, prefix)
        self.url = self._boto.url

    def _for(self, key: str) -> Store:
        """Choose the store that can address a key, in this process."""
        if was_used_before_fork():
            _tell_of_fork(self.url)
            return self._boto
        return self._boto if is_odd(self._prefix + key) else self._native

    def check(self) -> None:
        self._boto.check()

    def list(self, prefix: str = "") -> pa.Table:
        if self._prefix or prefix or not self._boto.holds_a_leading_slash():
            with suppress(OddKeyError):
                return self._for(prefix + "x").list(prefix)
        return self._boto.list(prefix)

    def folders(self, prefix: str) -> Sequence[str]:
        with suppress(OddKeyError):
            return self._for(prefix + "x").folders(prefix)
        return self._boto.folders(prefix)

    def get(self, key: str) -> StoredObject:
        return self._for(key).get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        return self._for(key).get_range(key, offset, length)

    def download(self, key: str, path: Path) -> None:
        self._for(key).download(key, path)

    def head(self, key: str) -> tuple[int, str] | None:
        return self._for(key).head(key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._for(key).put(key, data)

    def upload(self, key: str, path: Path) -> None:
        self._for(key).upload(key, path)

    def delete(self, keys: Iterable[str]) -> None:
        keys = list(keys)
        for store in (self._boto, self._native):
            store.delete(key for key in keys if self._for(key) is store)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        return self._boto._put_if(key, data, expected_etag, attempt)

    def _read_back(self, key: str) -> StoredObject | None:
        return self._boto._read_back(key)

    def _checks_uploads(self, key: str) -> bool | None:
        return self._boto._checks_uploads(key)


def _tell_of_fork(url: str) -> None:
    """Say once in a process what it costs that it was forked."""
    if os.getpid() not in _processes_told:
        _processes_told.add(os.getpid())
        _log.warning(
            "process %s was forked after a store had been used, so it reads %s by boto3, at ten times the CPU for small "
            "objects; start workers by forkserver or spawn",
            os.getpid(),
            url,
        )
