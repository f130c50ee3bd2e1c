"""What several tests share.

With the environment variable AESTHETICS_TEST_ALL set, as in CI, a skipped test or module is a failed one.
"""

import os
from collections.abc import Generator, Iterator
from typing import TypeVar

import hypothesis
import pytest
from moto.server import ThreadedMotoServer

from aesthetics_ops.store import pace
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.s3 import S3TestBucket, make_bucket, one_conditional_write_at_a_time, point_to

for shared in ("aesthetics_ops.testing.store_contract", "tests.support.s3_contract"):
    pytest.register_assert_rewrite(shared)  # before they are imported: a failure shows both sides


os.environ.setdefault("AESTHETICS_STORE_RETRY_S", "2")  # a store that is down in a test stays so

# no test depends on how long it takes
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file of minutes that would come last comes first, or one worker would wait for the other at the end."""
    items.sort(key=lambda item: item.path.name != "test_training_dag.py")


def pytest_runtest_setup() -> None:
    """What a store of another test asked of this process counts no more."""
    pace._paces.clear()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Report) -> Report:
    if report.skipped and os.environ.get("AESTHETICS_TEST_ALL"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} -- AESTHETICS_TEST_ALL is set, so this may not be skipped"
    return report


@pytest.fixture(scope="session")
def s3_endpoint_url() -> Iterator[str]:
    """The embedded S3 (moto), on a free loopback port for the whole session."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    server._server.app = one_conditional_write_at_a_time(server._server.app)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> S3TestBucket:
    """A fresh bucket, and an environment in which boto3's default chain finds it and nothing else."""
    return make_bucket(monkeypatch, s3_endpoint_url, "testing", "testing")


@pytest.fixture
def proxy(s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A way to the bucket's server that misbehaves as it is told; the environment leads through it."""
    with running_proxy(s3_bucket.endpoint_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddS3]:
    """An S3 that answers as it is told, and an environment in which boto3's default chain finds it and nothing else."""
    with running_s3(OddS3()) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        yield server
