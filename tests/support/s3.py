"""A fresh bucket on some S3 server, and an environment in which boto3's default chain finds it and nothing else."""

import threading
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
import pytest


@dataclass(frozen=True, slots=True)
class S3TestBucket:
    """A fresh bucket; the environment points boto3 to it.

    Attributes:
        name: of the bucket.
        endpoint_url: of the server.
        key: the access key that the environment holds.
        secret: what belongs to it.
        client: a boto3 client for the server.
    """

    name: str
    endpoint_url: str
    key: str
    secret: str
    client: Any

    @property
    def url(self) -> str:
        return f"s3://{self.name}/"


def one_conditional_write_at_a_time(app: Callable[..., Any]) -> Callable[..., Any]:
    """A WSGI application that compares and writes as one step, as S3 does: moto may let another writer in between."""
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        conditional = environ["REQUEST_METHOD"] == "PUT" and environ.keys() & {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}
        with lock if conditional else nullcontext():
            return app(environ, start_response)

    return answer


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint_url: str, key: str, secret: str) -> None:
    """Make an environment in which boto3's default chain finds a server and nothing else."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def make_bucket(monkeypatch: pytest.MonkeyPatch, endpoint_url: str, key: str, secret: str) -> S3TestBucket:
    point_to(monkeypatch, endpoint_url, key, secret)
    client = _client(endpoint_url, key, secret)
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    return S3TestBucket(bucket, endpoint_url, key, secret, client)


@cache
def _client(endpoint_url: str, key: str, secret: str) -> Any:
    """One client for all buckets of a server: boto3 takes a fifth of a second of CPU to make it."""
    return boto3.Session(key, secret, region_name="us-east-1").client("s3", endpoint_url=endpoint_url)
