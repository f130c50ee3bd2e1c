"""What the test of the containers shares.  It runs only where it is asked for: `make test-compose`.

It takes ten minutes and 12 GB, so a plain `pytest` does not collect it.  AESTHETICS_COMPOSE_DIR names a directory that
is kept afterwards, with the engine's trees in it, so that the next run need not make them.
"""

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.engine import Engine
from tests.compose.stack import PYTHONS, Stack

HERE = Path(__file__).parent
NEEDED_BYTES = 13_000_000_000


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this directory out unless the command line names it, or something in it."""
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


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
    if shutil.disk_usage(directory).free < NEEDED_BYTES:
        engine.remove()
        pytest.skip(f"no containers here: {directory} has less than {NEEDED_BYTES / 1e9:g} GB free")
    try:
        yield engine
    finally:
        engine.stop()
        engine.remove(keep=("*.done", "engine", "base-*") if kept else ())


@pytest.fixture(scope="session")
def stack(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, not yet started.  After a failure its logs are shown; they hold no secret."""
    stack = Stack(engine, engine.directory / "project")
    yield stack
    if request.session.testsfailed and (stack.project / ".env").exists():
        said = stack.compose("ps", "--all", check=False) + stack.compose(
            "logs", "--no-color", "--tail", "40", check=False
        )
        print(f"\n{said}", file=sys.stderr)  # noqa: T201
