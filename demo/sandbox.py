"""A whole environment on this machine: embedded S3 with the sample photos, an Airflow home, and one command in it.

    python demo/sandbox.py NAME COMMAND [ARG ...]

The S3 is moto's server on a free loopback port.  It keeps objects in memory, so the sandbox writes them to
`.sandbox/NAME/s3/` when the command ends and brings them back next time: commands run one by one see each other's work.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from moto.server import ThreadedMotoServer

from aesthetics_ops.testing.loopback import free_port

__all__ = ["BUCKET", "PATIENT", "QUICK_START", "ROOT", "Sandbox", "open_sandbox"]

ROOT = Path(__file__).resolve().parents[1]
QUICK_START = ROOT / "demo" / "quick_start"  # in PYTHONPATH, it makes Airflow start in less time
PATIENT: Final = {
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
}
"""Limits of Airflow's, 30, 50 and 5 s by default, that a busy machine reaches where nothing hangs."""
BUCKET = "aesthetics"
_KEY = "sandbox"  # the embedded S3 checks no signatures


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running environment.

    Attributes:
        directory: holds the Airflow home and the S3's objects between runs.
        s3: a boto3 client of the embedded S3.
        env: environment of a command that runs in it.
    """

    directory: Path
    s3: Any
    env: dict[str, str]

    def run(self, *command: str, log: Path | None = None) -> int:
        """Run a command to its end, its output to `log` or to the terminal; return its exit status."""
        if log is None:
            return subprocess.run(command, env=self.env, check=False).returncode
        with log.open("wb") as file:
            return subprocess.run(command, env=self.env, stdout=file, stderr=subprocess.STDOUT, check=False).returncode

    def snapshot(self) -> Path:
        """Write the S3's objects to disk; return the directory of the bucket."""
        target = self.directory / "s3" / BUCKET
        kept = set()
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for found in page.get("Contents", ()):
                path = target / found["Key"]
                kept.add(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.s3.get_object(Bucket=BUCKET, Key=found["Key"])["Body"].read())
        for path in [path for path in target.rglob("*") if path.is_file() and path not in kept]:
            path.unlink()
        return target


@contextlib.contextmanager
def open_sandbox(name: str) -> Iterator[Sandbox]:
    """Start the environment, bring back what it held, and migrate Airflow's metadata database."""
    directory = ROOT / ".sandbox" / name
    directory.mkdir(parents=True, exist_ok=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request otherwise
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        s3 = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=_KEY, aws_secret_access_key=_KEY
        )
        sandbox = Sandbox(directory, s3, _environment(directory, endpoint))
        _fill(sandbox)
        _migrate(sandbox)
        try:
            yield sandbox
        finally:
            sandbox.snapshot()
    finally:
        server.stop()


def _environment(directory: Path, endpoint: str) -> dict[str, str]:
    connection = {
        "conn_type": "aws",
        "login": _KEY,
        "password": _KEY,
        "extra": {"endpoint_url": endpoint, "region_name": "us-east-1"},
    }
    binaries = Path(sys.executable).parent
    modules = [str(QUICK_START), *filter(None, [os.environ.get("PYTHONPATH")])]
    return (
        os.environ
        | PATIENT
        | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(modules),
            "AIRFLOW_HOME": str(directory / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # also how long a slot stays taken where the end of a task was missed
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(connection),
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
    )


def _fill(sandbox: Sandbox) -> None:
    """Put what the last run left into the bucket, or the samples on the first."""
    sandbox.s3.create_bucket(Bucket=BUCKET)
    before = sandbox.directory / "s3" / BUCKET
    if before.is_dir():
        files = [(path, path.relative_to(before).as_posix()) for path in before.rglob("*") if path.is_file()]
    else:
        samples = ROOT / "samples"
        files = [(path, f"photos/{path.name}") for path in sorted((samples / "photos").iterdir())]
        files += [(samples / name, name) for name in ("AVA.txt", "tags.txt", "challenges.txt")]
    for path, key in files:
        sandbox.s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())


def _migrate(sandbox: Sandbox) -> None:
    log = sandbox.directory / "migrate.log"
    if sandbox.run("airflow", "db", "migrate", log=log) != 0:
        sys.exit(f"airflow db migrate failed; see {log}")


def _announce(sandbox: Sandbox, port: str) -> None:
    """Wait until the web UI answers, then say where it is and how to log in."""
    url = f"http://127.0.0.1:{port}"
    passwords = Path(sandbox.env["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        time.sleep(2)
        try:
            with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=2):  # noqa: S310
                user, password = next(iter(json.loads(passwords.read_text()).items()))
        except (OSError, ValueError, StopIteration):
            continue
        s3 = sandbox.env["AWS_ENDPOINT_URL"]
        print(
            f"\n=== Airflow is up: {url}   user {user}   password {password}   S3 {s3}   (Ctrl-C stops it)\n",
            flush=True,
        )
        return
    print(f"\n=== Airflow did not answer on {url} within 10 minutes; see the lines above\n", flush=True)


def _standalone(sandbox: Sandbox) -> int:
    """Run `airflow standalone` with its children until it ends or we are told to stop."""
    port = str(free_port(8080))
    environment = sandbox.env | {
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
    }
    threading.Thread(target=_announce, args=(sandbox, port), daemon=True).start()
    # a session of its own: stopping the parent alone leaves its scheduler and api-server running
    process = subprocess.Popen(["airflow", "standalone"], env=environment, start_new_session=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for stop in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, stop)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)


def main() -> int:
    """Run one command in a sandbox; return its exit status."""
    name, *command = sys.argv[1:]
    with open_sandbox(name) as sandbox:
        if command == ["airflow", "standalone"]:
            return _standalone(sandbox)
        return sandbox.run(*command)


if __name__ == "__main__":
    sys.exit(main())
