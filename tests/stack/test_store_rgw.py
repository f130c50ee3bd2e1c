"""The promises of every store, kept on Ceph's gateway: real signatures, policies and conditional writes."""

import pytest

from aesthetics_ops.store import open_store
from tests.support.s3 import S3TestBucket
from tests.support.s3_contract import S3Contract, S3FaultContract


@pytest.fixture
def signatures_are_checked() -> None:
    """RGW always does."""


class TestS3StoreOnRgw(S3Contract):
    """All that holds on the embedded S3, and what moto's web server cannot route."""

    def test_a_key_with_a_newline_is_listed(self, s3_bucket: S3TestBucket) -> None:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a//b\nc.jpg", Body=b"1")
        store = open_store(s3_bucket.url)
        assert store.list()["key"].to_pylist() == ["a//b\nc.jpg"]
        assert store.get("a//b\nc.jpg").data == b"1"


class TestFaultsBeforeRgw(S3FaultContract):
    """RGW behind a network that misbehaves."""
