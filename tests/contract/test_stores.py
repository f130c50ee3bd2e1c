"""What every store promises, kept by each store of this project and by the stores around other stores."""

import uuid
from pathlib import Path

import pytest

from aesthetics_ops.store import Store, open_store
from aesthetics_ops.store.boto import BotoStore, S3Bucket
from aesthetics_ops.testing.store_contract import StoreContract
from aesthetics_ops.testing.stores import WrappedStore
from tests.support.s3 import S3TestBucket


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return open_store(f"memory://{uuid.uuid4().hex}/pre fix")


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(f"file://{tmp_path}/a directory")


class TestBotoStore(StoreContract):
    """boto3 alone, which `TestS3Store` meets for odd keys only."""

    @pytest.fixture
    def store(self, s3_bucket: S3TestBucket) -> Store:
        return BotoStore(S3Bucket(s3_bucket.name, None), "pre fix/é/")


class TestWrappedStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return WrappedStore(open_store(f"memory://{uuid.uuid4().hex}/pre fix"))
