"""s3://: obstore for bulk bytes and listings, boto3 for what obstore cannot do there.

In: a bucket and a prefix.  Out: a `Store` that addresses every key.  Through boto3 (`boto.py`) go checks, conditional
writes, the reading back after them, and odd keys.
"""
# ruff: noqa: D102 - what the methods do stands in contract.py

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from aesthetics_ops.errors import ObjectMissingError, OddKeyError
from aesthetics_ops.store.boto import S3Bucket
from aesthetics_ops.store.contract import Store, StoredObject
from aesthetics_ops.store.listing import listing
from aesthetics_ops.store.native import NativeStore, is_odd
from aesthetics_ops.store.transfers import exactly

__all__ = ["RoutedS3Store"]


class RoutedS3Store(NativeStore):
    """A prefix of an S3 bucket: obstore, and boto3 for what obstore cannot do there."""

    def __init__(self, where: str, prefix: str, bucket: S3Bucket) -> None:
        super().__init__(where, prefix, bucket.native)
        self._bucket = bucket

    def check(self) -> None:
        self._bucket.check(self._prefix)

    def list(self, prefix: str = "") -> pa.Table:
        full = self._prefix + prefix
        if not is_odd(full + "x") and (full or not self._bucket.starts_with_slash()):
            with contextlib.suppress(OddKeyError):
                return super().list(prefix)
        return listing(len(self._prefix), self._bucket.list(full))

    def folders(self, prefix: str) -> Sequence[str]:
        if not is_odd(self._prefix + prefix + "x"):
            with contextlib.suppress(OddKeyError):
                return super().folders(prefix)
        return Store.folders(self, prefix)

    def get(self, key: str) -> StoredObject:
        if is_odd(full := self._prefix + key):
            return StoredObject(key, *self._bucket.get(full))
        return super().get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if length and is_odd(full := self._prefix + key):
            data, _ = self._bucket.get(full, offset, offset + length - 1)
            return exactly(self.url_of(key), data, offset, length)
        return super().get_range(key, offset, length)

    def download(self, key: str, path: Path) -> None:
        if is_odd(self._prefix + key):
            path.write_bytes(self.get(key).data)
        else:
            super().download(key, path)

    def head(self, key: str) -> tuple[int, str] | None:
        if is_odd(full := self._prefix + key):
            with contextlib.suppress(ObjectMissingError):
                return self._bucket.head(full)
            return None
        return super().head(key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        if is_odd(full := self._prefix + key):
            self._bucket.put(full, data)
        else:
            super().put(key, data)

    def upload(self, key: str, path: Path) -> None:
        if is_odd(full := self._prefix + key):
            self._bucket.upload(full, path)
        else:
            super().upload(key, path)

    def delete(self, keys: Iterable[str]) -> None:
        usual = []
        for key in keys:
            if is_odd(full := self._prefix + key):
                self._bucket.delete([full])
            else:
                usual.append(key)
        super().delete(usual)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        # a second try at an unchanged key goes without quotes, which is all that Ceph understands
        return self._bucket.put_if(self._prefix + key, data, expected_etag, quoted=attempt % 2 == 0)

    def _checks_uploads(self, key: str) -> bool | None:
        return self._bucket.refuses_wrong_md5(self._prefix + key)

    def _read_back(self, key: str) -> StoredObject | None:
        try:
            return StoredObject(key, *self._bucket.get(self._prefix + key))
        except ObjectMissingError:
            return None
