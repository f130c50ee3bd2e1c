"""The promises of every store, kept on Ceph's gateway: real signatures, policies and conditional writes."""

import uuid
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from aesthetics_ops.store import S3Access, open_store
from tests.contract import test_store
from tests.stack.ceph import Ceph


@dataclass(frozen=True, slots=True)
class Bucket:
    """A fresh bucket on RGW, as `S3TestBucket` is one on the embedded S3."""

    name: str
    endpoint_url: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}/"


@pytest.fixture
def s3_bucket(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A fresh bucket, and an environment in which boto3's default chain finds it and nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "AWS_ACCESS_KEY_ID": ceph.key,
        "AWS_SECRET_ACCESS_KEY": ceph.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": ceph.endpoint_url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(f"test-{uuid.uuid4().hex[:12]}", ceph.endpoint_url, ceph.client())
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket


@pytest.fixture
def moto_checks_signatures() -> None:
    """RGW always does."""


class TestS3StoreOnRgw(test_store.TestS3Store):
    """All that holds on the embedded S3; overridden is what speaks to moto itself or counts on its leniency."""

    def test_access_can_be_given(self, s3_bucket: Any, ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        session = boto3.Session(ceph.key, ceph.secret, region_name="eu-west-1")
        store = open_store(s3_bucket.url, s3=S3Access(session, s3_bucket.endpoint_url))
        store.check()
        store.put("a", b"1")
        assert store.get("a").data == b"1"

    def test_a_key_with_a_newline_is_listed(self, s3_bucket: Any) -> None:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a//b\nc.jpg", Body=b"1")
        store = open_store(s3_bucket.url)
        assert store.list()["key"].to_pylist() == ["a//b\nc.jpg"]
        assert store.get("a//b\nc.jpg").data == b"1"

    def test_a_denial_is_explained(self, s3_bucket: Any) -> None:
        # RGW tells the bucket's owner that a key is missing even where all is denied, so this one is there
        open_store(s3_bucket.url).put("odd//k", b"1")
        super().test_a_denial_is_explained(s3_bucket)


class TestFaultsBeforeRgw(test_store.TestFaults):
    """RGW behind a network that misbehaves."""
