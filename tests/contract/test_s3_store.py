"""What every S3 server's store promises, kept on the embedded S3 (moto), whose network may misbehave."""

import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.s3 import S3TestBucket
from tests.support.s3_contract import S3Contract, S3FaultContract


def set_free_requests(endpoint_url: str, number: bytes) -> None:
    """Say how many requests moto serves before it starts to check signatures."""
    request = urllib.request.Request(f"{endpoint_url}/moto-api/reset-auth", number, {"Content-Type": "text/plain"})  # noqa: S310
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310


@pytest.fixture
def signatures_are_checked(s3_bucket: S3TestBucket) -> Iterator[None]:
    set_free_requests(s3_bucket.endpoint_url, b"0")
    yield
    set_free_requests(s3_bucket.endpoint_url, b"inf")


class TestS3Store(S3Contract):
    pass


class TestFaults(S3FaultContract):
    pass
