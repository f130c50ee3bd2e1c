"""The deployment's small programs: secrets, health checks, the sample's bucket, old logs."""

import base64
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet

from tests.support.compose import EXAMPLE
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
SAMPLES = ROOT / "samples"


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / script, *map(str, arguments)],
        env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


# --- make_secrets.py ---


def test_secrets_are_random_and_fill_every_empty_line_and_no_other(secrets, tmp_path):
    assert {*secrets} == {*EXAMPLE}
    empty = {name for name, value in EXAMPLE.items() if not value}
    assert {name for name in EXAMPLE if secrets[name] != EXAMPLE[name]} == empty
    assert all(re.fullmatch(r"[A-Za-z0-9_=-]{20,}", secrets[name]) for name in empty)
    # what stands in URLs and JSON needs no quoting there
    assert all(secrets[name].isalnum() for name in empty - {"AIRFLOW_FERNET_KEY"})
    assert len(base64.urlsafe_b64decode(secrets["AIRFLOW_FERNET_KEY"])) == 32
    Fernet(secrets["AIRFLOW_FERNET_KEY"])
    assert len(secrets["AIRFLOW_JWT_SECRET"]) >= 64
    run("make_secrets.py", tmp_path / "env")
    again = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", (tmp_path / "env").read_text(), flags=re.MULTILINE))
    assert {name for name in empty if again[name] == secrets[name]} == set()


def test_secrets_are_for_their_owner_alone_and_are_said_with_the_next_step(tmp_path):
    path = tmp_path / "env"
    before = os.umask(0)
    try:
        done = run("make_secrets.py", path)
    finally:
        os.umask(before)
    assert done.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "docker compose up --build" in done.stdout
    password = re.search(r"^AIRFLOW_ADMIN_PASSWORD=(.+)$", path.read_text(), flags=re.MULTILINE)[1]
    assert f"user admin   password {password}" in done.stdout


def test_secrets_that_are_there_are_kept(tmp_path):
    path = tmp_path / "env"
    path.write_text("AIRFLOW_FERNET_KEY=precious\n")
    done = run("make_secrets.py", path)
    assert done.returncode == 1
    assert "is kept" in done.stderr
    assert path.read_text() == "AIRFLOW_FERNET_KEY=precious\n"


# --- healthcheck.py ---


@pytest.fixture
def replies() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server that answers each path with the body that a test sets, and 503 where it sets none."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in bodies else 503)
            self.end_headers()
            self.wfile.write(bodies.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port), bodies
        server.shutdown()


def ask(service: str, port: str) -> subprocess.CompletedProcess[str]:
    return run(
        "healthcheck.py", service,
        AIRFLOW__API__PORT=port, AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT=port,
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"http://127.0.0.1:{port}/execution/",
        http_proxy="http://127.0.0.1:9",
    )  # fmt: skip


REPORT = "/api/v2/monitor/health"


def report(**statuses: str | None) -> bytes:
    """What an API server says of all parts: they are well, but for those given."""
    parts = dict.fromkeys(("metadatabase", "scheduler", "dag_processor", "triggerer"), "healthy") | statuses
    return json.dumps({part: {"status": status} for part, status in parts.items()}).encode()


@pytest.mark.parametrize(
    ("service", "part"),
    [("api-server", "metadatabase"), ("dag-processor", "dag_processor"), ("triggerer", "triggerer")],
)
def test_health_is_that_of_the_service_that_is_asked_for(replies, service, part):
    port, bodies = replies
    assert ask(service, port).returncode == 1
    bodies["/execution/health"] = b""
    bodies[REPORT] = report()
    assert ask(service, port).returncode == 0
    bodies[REPORT] = report(**{part: "unhealthy"})
    sick = ask(service, port)
    assert (sick.returncode, sick.stdout) == (1, f"{part} is unhealthy\n")
    bodies[REPORT] = report(**{part: None})
    assert ask(service, port).stdout == f"{part} is unheard of\n"
    bodies[REPORT] = report(scheduler="unhealthy")
    assert ask(service, port).returncode == 0


def test_an_api_server_is_well_once_it_answers_tasks(replies):
    port, bodies = replies
    bodies[REPORT] = report()
    assert ask("api-server", port).returncode == 1
    bodies["/execution/health"] = b""
    assert ask("api-server", port).returncode == 0


def test_a_scheduler_says_by_its_status_how_it_is(replies):
    port, bodies = replies
    assert ask("scheduler", port).returncode == 1
    bodies["/health"] = b""  # as airflow.utils.scheduler_health answers
    assert ask("scheduler", port).returncode == 0


def test_a_worker_whose_broker_is_gone_is_not_well():
    done = run("healthcheck.py", "worker", AIRFLOW__CELERY__BROKER_URL="redis://:x@127.0.0.1:9/0")
    assert done.returncode == 1
    assert "OperationalError" in done.stdout


def test_a_service_that_does_not_exist_is_not_well():
    assert run("healthcheck.py", "webserver").returncode == 1


# --- fill_bucket.py ---


def load(name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile((DEPLOY / f"{name}.py").read_text(), f"{name}.py", "exec"), vars(module))  # noqa: S102
    return module


@pytest.fixture
def filler(s3_bucket, monkeypatch) -> ModuleType:
    """The program, for a bucket that is not there yet, on a server that turns away who has no key."""
    module = load("fill_bucket")
    s3_bucket.client.delete_bucket(Bucket=s3_bucket.name)
    connection = {
        "login": "testing", "password": "testing",
        "extra": {"endpoint_url": s3_bucket.endpoint_url, "region_name": "us-east-1"},
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))

    class Closed:
        def list_objects_v2(self, **_: str) -> None:
            raise ClientError({"Error": {}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "ListObjectsV2")

    connect = module.connect
    monkeypatch.setattr(module, "connect", lambda *, signed: connect(signed=True) if signed else Closed())
    return module


def test_the_bucket_gets_every_photo_and_what_the_sample_configuration_names(filler, s3_bucket):
    assert re.match(r"[0-9]+ objects put into", filler.prepare(s3_bucket.name, SAMPLES))
    keys = {item["Key"] for item in s3_bucket.client.list_objects_v2(Bucket=s3_bucket.name)["Contents"]}
    photos = {f"photos/{path.name}" for path in (SAMPLES / "photos").iterdir()}
    assert keys == photos | {"AVA.txt", "tags.txt", "challenges.txt"}
    assert 'photos = "s3://aesthetics/photos/"' in (SAMPLES / "datasets.toml").read_text()
    assert (ROOT / "docker-compose.yml").read_text().count("fill_bucket.py, aesthetics, /opt/aesthetics/samples]") == 1


def test_what_was_deleted_stays_deleted_and_what_was_cut_short_is_completed(filler, s3_bucket):
    filler.prepare(s3_bucket.name, SAMPLES)
    gone = f"photos/{min(path.name for path in (SAMPLES / 'photos').iterdir())}"
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key=gone)
    assert "left as it is" in filler.prepare(s3_bucket.name, SAMPLES)
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key="AVA.txt")
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key="tags.txt")
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key="challenges.txt")
    assert "objects put into" in filler.prepare(s3_bucket.name, SAMPLES)
    s3_bucket.client.head_object(Bucket=s3_bucket.name, Key=gone)


def test_a_server_that_lets_everyone_in_is_refused(s3_bucket, monkeypatch):
    # the embedded one does
    connection = {
        "login": "testing", "password": "testing",
        "extra": {"endpoint_url": s3_bucket.endpoint_url, "region_name": "us-east-1"},
    }  # fmt: skip
    done = run("fill_bucket.py", s3_bucket.name, SAMPLES, AIRFLOW_CONN_AWS_DEFAULT=json.dumps(connection))
    assert done.returncode == 1
    assert "it lets in who has no key" in done.stderr
    assert "Contents" not in s3_bucket.client.list_objects_v2(Bucket=s3_bucket.name)


# --- groom_logs.py ---


def test_old_logs_go_with_their_folders_and_young_ones_stay(tmp_path):
    old, young = tmp_path / "dag_id=a" / "run" / "1.log", tmp_path / "dag_id=b" / "1.log"
    for path in (old, young):
        path.parent.mkdir(parents=True)
        path.write_text("x")
    long_ago = time.time() - 31 * 86400
    for path in (old, old.parent, old.parent.parent):
        os.utime(path, (long_ago, long_ago))
    done = run("groom_logs.py", "--days", "30", "--directory", tmp_path, "--once")
    assert (done.returncode, done.stdout) == (0, f"1 logs older than 30 days deleted from {tmp_path}\n")
    assert not old.exists()
    assert young.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["dag_id=b"]


def test_a_young_folder_stays_though_it_is_empty(tmp_path):
    about_to_be_used = tmp_path / "dag_id=a" / "run"
    about_to_be_used.mkdir(parents=True)
    long_ago = time.time() - 31 * 86400
    os.utime(about_to_be_used.parent, (long_ago, long_ago))
    run("groom_logs.py", "--days", "30", "--directory", tmp_path, "--once")
    assert about_to_be_used.is_dir()


# --- list_packages.py ---


def test_the_list_of_packages_has_each_with_its_version_and_is_equal_for_equal_environments():
    said = run("list_packages.py").stdout
    document = json.loads(said)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    versions = {component["name"]: component["version"] for component in document["components"]}
    assert versions["boto3"] == version("boto3")
    assert len(versions) > 150
    assert {*versions} == {
        component["purl"].partition("@")[0].removeprefix("pkg:pypi/") for component in document["components"]
    }
    licences = {component["name"]: component.get("licenses") for component in document["components"]}
    assert licences["boto3"] == [{"license": {"name": "Apache-2.0"}}]
    assert licences["numpy"][0]["expression"].startswith("BSD-3-Clause")
    assert sum(licence is None for licence in licences.values()) < len(licences) / 20
    assert run("list_packages.py").stdout == said


def test_a_groomer_that_would_delete_everything_does_not_start(tmp_path):
    assert run("groom_logs.py", "--days", "0", "--directory", tmp_path, "--once").returncode == 2


def test_a_list_of_packages_holds_no_path_and_no_address() -> None:
    said = run("list_packages.py").stdout
    assert len(json.loads(said)["components"]) > 100
    for text in ("://", str(ROOT), sys.prefix, "file:", "@ "):
        assert text not in said


# --- audit.py ---


def package(name: str, *weaknesses: str, skipped: str = "") -> dict[str, object]:
    if skipped:
        return {"name": name, "skip_reason": skipped}
    vulns = [{"id": each, "fix_versions": ["2.0"], "aliases": [], "description": ""} for each in weaknesses]
    return {"name": name, "version": "1.0", "vulns": vulns}


UNKNOWN = "Dependency not found on PyPI and could not be audited: a (1.0)"


@pytest.mark.parametrize(
    ("packages", "lines", "status"),
    [
        ([package("a"), package("b")], ["2 packages audited, 0 weaknesses known"], 0),
        (
            [package("a", "PYSEC-1", "PYSEC-2"), package("b", skipped=UNKNOWN)],
            ["a 1.0: PYSEC-1, mended in 2.0", "a 1.0: PYSEC-2, mended in 2.0", f"not audited: 1 of 2 packages, the first because: {UNKNOWN}", "1 packages audited, 2 weaknesses known"],
            1,
        ),
        ([package("a", skipped=UNKNOWN)], [f"not audited: 1 of 1 packages, the first because: {UNKNOWN}"], 0),
        ([], ["not audited: 0 of 0 packages, the first because: the lock names no package"], 0),
    ],
    ids=["sound", "weak", "nobody to ask", "nothing"],
)  # fmt: skip
@pytest.mark.parametrize("ends", [0, 1])
def test_what_pip_audit_writes_decides_and_not_how_it_ends(
    tmp_path: Path, packages: list[dict[str, object]], lines: list[str], status: int, ends: int
) -> None:
    found = audited(tmp_path, f"print({json.dumps(json.dumps({'dependencies': packages}))}); raise SystemExit({ends})")
    assert (found.stdout.splitlines(), found.returncode) == (lines, status)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise SystemExit('no route to the index')", "pip-audit wrote no report: no route to the index"),
        ("pass", "pip-audit wrote no report: it says nothing"),
    ],
)
def test_an_audit_that_could_not_be_made_is_one_line_and_no_failure(tmp_path: Path, program: str, why: str) -> None:
    found = audited(tmp_path, program)
    assert (found.stdout, found.stderr, found.returncode) == (f"not audited: {why}\n", "", 0)


def test_a_lock_that_is_not_there_is_a_mistake() -> None:
    assert run("audit.py", "nowhere", "nothing.lock").returncode == 2


def audited(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run the audit with a program in the place of pip-audit, which would ask the internet."""
    stand_in = folder / "bin" / "pip-audit"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!{sys.executable}\n{program}\n")
    stand_in.chmod(0o755)
    return run("audit.py", folder, ROOT / "requirements.lock")


def test_what_an_audit_needs_is_pinned() -> None:
    lines = (DEPLOY / "audit-requirements.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9a-z.]+", line) for line in pins)
    assert any(line.lower().replace("_", "-").startswith("pip-audit==") for line in pins)
