"""What several tests share."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer


@dataclass(frozen=True, slots=True)
class S3TestBucket:
    """A fresh bucket on the embedded S3; the environment points boto3 to it.

    Attributes:
        name: of the bucket.
        endpoint_url: of the server.
        client: a boto3 client for it.
    """

    name: str
    endpoint_url: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}/"


@pytest.fixture(scope="session")
def s3_endpoint_url() -> Iterator[str]:
    """The embedded S3 (moto), on a free loopback port for the whole session."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> S3TestBucket:
    """A fresh bucket, and an environment in which boto3's default chain finds it and nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint_url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    client = boto3.Session().client("s3")
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    return S3TestBucket(bucket, s3_endpoint_url, client)
