"""What the test of the containers shares.  It runs only where it is asked for: `make test-compose`.

It takes 20 minutes on two shared cores and 8 GB, so a plain `pytest` does not collect it.  AESTHETICS_COMPOSE_DIR names a directory
that is kept afterwards, with the engine's trees in it, so that the next run need not make them.  AESTHETICS_COMPOSE_SECONDS is
how long the whole may take, AESTHETICS_COMPOSE_PYTHON which Python the image is built on.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.engine import Engine, find_obstacle
from tests.compose.guard import MOST_BYTES, Guard
from tests.compose.stack import PYTHONS, Stack
from tests.support.collecting import left_out_unless_named

HERE = Path(__file__).parent
MOST_SECONDS = 2700  # three times and more what it takes where nothing else runs


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return left_out_unless_named(HERE, config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where no container can be had, say so once and not for each test."""
    mine = [item for item in items if item.path.is_relative_to(HERE)]
    obstacle = find_obstacle(MOST_BYTES) if mine else ""
    if obstacle:
        items[:] = [item for item in items if item not in mine[1:]]
        mine[0].add_marker(pytest.mark.skip(reason=f"no containers here: {obstacle}"))


@pytest.fixture(scope="session")
def python() -> str:
    """The Python that the image is built on."""
    wanted = os.environ.get("AESTHETICS_COMPOSE_PYTHON", "3.11")
    assert wanted in PYTHONS, f"AESTHETICS_COMPOSE_PYTHON is {wanted}: Debian has {', '.join(PYTHONS)}"
    return wanted


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine, ready to be made; told to stop, it stops, as on Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    kept = os.environ.get("AESTHETICS_COMPOSE_DIR")
    directory = Path(kept or tempfile.mkdtemp(prefix="aesthetics-compose-"))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = Engine(directory)
    try:
        yield engine
    finally:
        engine.stop()
        engine.remove(keep=("*.done", "engine", "base-*") if kept else ())
    assert engine.leftovers() == [str(directory)] * bool(kept)


@pytest.fixture(scope="session")
def guard(engine: Engine) -> Iterator[Guard]:
    """The limits of the whole run."""
    with Guard(engine.directory, int(os.environ.get("AESTHETICS_COMPOSE_SECONDS", MOST_SECONDS))) as guard:
        yield guard


@pytest.fixture(scope="session")
def stack(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, not yet started.  After a failure its logs are shown; they hold no secret."""
    stack = Stack(engine, engine.directory / "project")
    yield stack
    if request.session.testsfailed and (stack.project / ".env").exists():
        asked = (("ps", "--all"), ("logs", "--no-color", "--tail", "40"))
        said = "".join(stack.compose(*words, check=False, timeout_seconds=60) for words in asked)
        print(f"\n{said}", file=sys.stderr)  # noqa: T201
