"""What several tests share."""

from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from tests.support.s3 import S3TestBucket, make_bucket

for shared in ("aesthetics_ops.testing.store_contract", "tests.support.s3_contract"):
    pytest.register_assert_rewrite(shared)  # before they are imported: a failure shows both sides


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
    return make_bucket(monkeypatch, s3_endpoint_url, "testing", "testing")
