"""What the tests of the whole deployment share.  They run only where they are asked for: `pytest tests/stack`.

They need services that `make test` does without, so a plain `pytest` does not collect them.  Nothing here is skipped:
asked for without the services, they fail and name what to install.
"""

import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.ceph import Ceph, start_ceph
from tests.stack.deployment import secrets_of_env
from tests.stack.services import Machine
from tests.support.collecting import left_out_unless_named
from tests.support.s3 import S3TestBucket, make_bucket

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return left_out_unless_named(HERE, config)


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Where the services run; told to stop, it stops them, as on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("botocore").setLevel(logging.WARNING)  # a line per client otherwise
    with Machine() as machine:
        yield machine
        if request.session.testsfailed:
            machine.keep = True
            print(f"\n{machine.logs()}\n\nthe whole logs are in {machine.directory}", file=sys.stderr)  # noqa: T201


@pytest.fixture(scope="session")
def variables() -> dict[str, str]:
    """What .env holds."""
    return secrets_of_env()


@pytest.fixture(scope="session")
def ceph(machine: Machine, variables: dict[str, str]) -> Ceph:
    return start_ceph(machine, key=variables["S3_ACCESS_KEY"], secret=variables["S3_SECRET_KEY"])


@pytest.fixture
def s3_bucket(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> S3TestBucket:
    """A fresh bucket, and an environment in which boto3's default chain finds it and nothing else."""
    return make_bucket(monkeypatch, ceph.endpoint_url, ceph.key, ceph.secret)
