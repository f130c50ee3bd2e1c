"""An Airflow of its own on this machine, with datasets in directories, and a server that hears what is posted to it.

In: tables of the configuration file.  Out: `airflow` commands, and `airflow standalone` with its REST API.
Promised: every process is in a session that is stopped by its id; nothing outside the directory and loopback is touched.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, TypeVar

from aesthetics_ops.testing.loopback import LoopbackServer, free_port, serving
from demo.sandbox import PATIENT, QUICK_START
from tests.support.nights import PHOTOS, photo
from tests.support.paths import ROOT

__all__ = ["AirflowHome", "Hook", "Standalone", "hearing", "running", "until"]

_Found = TypeVar("_Found")
_PATIENCE_S: Final = 900.0  # where something never comes; on a busy machine an Airflow takes minutes to start
_STOP_S: Final = 60


class Hook(LoopbackServer):
    """Hears JSON.

    Attributes:
        heard: path, headers by their names in lower case, and body of each request.
        status: what is answered.
    """

    def __init__(self) -> None:
        super().__init__(_HookHandler)
        self.heard: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200

    def bodies(self, path: str) -> list[Any]:
        return [body for heard, _, body in self.heard if heard == path]


class _HookHandler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heard.append((self.path, headers, body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def hearing() -> Iterator[Hook]:
    """Run a server that hears what is posted to it."""
    with serving(Hook()) as server:
        yield server


@dataclass(frozen=True)
class AirflowHome:
    """A directory with Airflow's home, photos, scores and datasets.

    Attributes:
        directory: holds all of it.
        variables: of the environment, beside this process's.
    """

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        photos = self.directory / "photos"
        photos.mkdir(parents=True)
        for name in PHOTOS[:6]:
            (photos / f"{name}.jpg").write_bytes(photo(name))
        rows = "".join(f"{name},{5 + number / 10}\n" for number, name in enumerate(PHOTOS[:6]))
        (self.directory / "scores.csv").write_text(f"id,score\n{rows}")
        (self.directory / "datasets.toml").write_text("")

    @property
    def env(self) -> dict[str, str]:
        return (
            os.environ
            | PATIENT
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": f"{QUICK_START}{os.pathsep}{ROOT}",
                "AIRFLOW_HOME": str(self.directory / "airflow"),
                "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
                "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.directory / "no_plugins"),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__API__HOST": "127.0.0.1",
                "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
                "AESTHETICS_CONFIG": str(self.directory / "datasets.toml"),
                "AESTHETICS_PARTITIONS": "1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_ACCESS_KEY_ID": "nobody",
                "AWS_SECRET_ACCESS_KEY": "nothing",
                "NO_PROXY": "127.0.0.1,localhost",
                "no_proxy": "127.0.0.1,localhost",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                **self.variables,
            }
        )

    def table(self, name: str, airflow: str = "", more: str = "") -> str:
        """Return a table over the photos here, for the configuration file."""
        here = self.directory.as_uri()
        return (
            f'[{name}]\nphotos = "{here}/photos/"\nlabels = "{here}/scores.csv"\ndataset = "{here}/datasets/{name}/"\n'
            f'near_duplicate_distance = 0\n{more}\n[{name}.airflow]\nschedule = ""\n{airflow}\n'
        )

    def configure(self, *tables: str) -> None:
        (self.directory / "datasets.toml").write_text("\n".join(tables))

    def migrate(self) -> None:
        """Make the metadata database, as `airflow db migrate` does: the first of this process does it, the others get a copy."""
        (self.directory / "airflow").mkdir(exist_ok=True)
        (self.directory / "airflow" / "airflow.db").write_bytes(_metadata_database())

    def run(
        self, *command: str, variables: Mapping[str, str] | None = None, timeout_s: float = _PATIENCE_S
    ) -> tuple[int, str]:
        """Run an `airflow` command to its end; return its exit status and what it said."""
        done = subprocess.run(
            ["airflow", *command],
            env=self.env | dict(variables or {}),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
        return done.returncode, done.stdout + done.stderr


@functools.cache
def _metadata_database() -> bytes:
    """Return the bytes of a metadata database in which nothing has run."""
    with tempfile.TemporaryDirectory() as directory:
        home = AirflowHome(Path(directory) / "home")
        status, said = home.run("db", "migrate")
        assert status == 0, said[-3000:]
        return (home.directory / "airflow" / "airflow.db").read_bytes()


@dataclass(frozen=True)
class Standalone:
    """A running `airflow standalone`.

    Attributes:
        url: of its API.
        token: of somebody who may do everything.
        log: its output so far.
    """

    url: str
    token: str
    log: Path

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to the REST API; return the JSON of its answer.

        Raises:
            HTTPError: it is no success.
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v2/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")


@contextlib.contextmanager
def running(home: AirflowHome) -> Iterator[Standalone]:
    """Run `airflow standalone` in a home whose configuration is written."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    env = home.env | {
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",  # not each 30 s: no file changes
    }
    log = home.directory / "standalone.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["airflow", "standalone"], env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        token = until(
            lambda: json.loads(urllib.request.urlopen(f"{url}/auth/token", timeout=5).read())["access_token"],  # noqa: S310
            log,
        )  # fmt: skip
        yield Standalone(url, token, log)
    finally:
        for stop in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, stop)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)


def until(ask: Callable[[], _Found | None], log: Path | None = None) -> _Found:
    """Ask until the answer is true, and return it; fail with the end of a log where it never is."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        error: Exception | None = None
        try:
            if found := ask():
                return found
        except (OSError, KeyError) as caught:
            error = caught
        if time.monotonic() > deadline:
            end = log.read_text(errors="replace")[-4000:] if log else ""
            raise AssertionError(f"not within {_PATIENCE_S:g} s ({error})\n{end}")
        time.sleep(0.5)
