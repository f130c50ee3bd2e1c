"""The deployment of docker-compose.yml without Docker: the same environment, commands and services, as plain processes.

In: a `Machine`, an S3 and the datasets' table.  Out: a `Deployment`, to trigger runs of and to look into.
Where it differs from the compose file: hosts become loopback ports; PostgreSQL is what the system has; Ceph stands for the
S3; and what `FASTER` and `PATIENT` list.  The triggerer is left out, since no task of the DAG defers; so is the log groomer.
"""

import importlib.util
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import psycopg2

from aesthetics_ops.testing.loopback import free_port
from demo.sandbox import PATIENT, QUICK_START
from tests.stack.ceph import Ceph
from tests.stack.services import PATIENCE_SECONDS, Machine, Service, wait_for
from tests.support import compose
from tests.support.airflow_runs import AirflowRuns
from tests.support.paths import ROOT

__all__ = ["AIRFLOW", "Deployment", "Worker", "deploy"]

AIRFLOW: Final = str(Path(sys.executable).parent / "airflow")

# Otherwise than in the compose file, so that the loss of a worker is noticed sooner: 120 s and every 10 s there.  A task that lives is
# heard within 30 s on a busy machine, too.
FASTER: Final = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}
# What the image sets, what lets Airflow start sooner, and the little of this machine that passes through.
_IMAGE: Final = {
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "PYTHONPATH": str(QUICK_START),
    "PYTHONUNBUFFERED": "1",
    "LANG": "C.UTF-8",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_DONE: Final = ("success", "failed")


@dataclass(frozen=True, slots=True)
class Worker:
    """A Celery worker with a scratch directory of its own.

    Attributes:
        name: also the host name that its tasks report.
        scratch: its TMPDIR.
        service: its processes.
    """

    name: str
    scratch: Path
    service: Service


@dataclass
class Deployment(AirflowRuns):
    """Running services, and the questions that the tests ask them.

    Attributes:
        machine: that they run on.
        ceph: the S3.
        variables: what .env holds.
        environment: of every Airflow process.
        services: by the compose file's names.
        workers: by name.
    """

    machine: Machine
    ceph: Ceph
    variables: dict[str, str]
    environment: dict[str, str]
    services: dict[str, Service] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    _token: str = ""

    # --- services

    def start(self, name: str) -> Service:
        """Start a service with the compose file's command."""
        command = compose.SERVICES[name]["command"]
        service = self.machine.start(name, AIRFLOW, *command[1:], env=self.environment)
        self.services[name] = service
        return service

    def start_worker(self, name: str, *, before: tuple[str, ...] = (), **extra: str) -> Worker:
        """Start one more Celery worker; `before` is what its command line begins with, `extra` more environment."""
        scratch = self.machine.directory / f"{name}-scratch"
        scratch.mkdir(exist_ok=True)
        own = {
            "TMPDIR": str(scratch),
            # in containers each has a host name; here this function of Python's reads it from the environment
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "getpass.getuser",
            "LOGNAME": name,
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        }
        command = [*before, AIRFLOW, *compose.SERVICES["worker"]["command"][1:], "--celery-hostname", f"{name}@%h"]
        service = self.machine.start(name, *command, env=self.environment | own | extra)
        self.workers[name] = Worker(name, scratch, service)
        return self.workers[name]

    def wait_for_worker(self, name: str, *, within_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a worker takes tasks."""
        service = self.workers[name].service
        log = service.log
        # celery's own words, in its log, when the broker has taken it in
        wait_for(f"{name} to be ready", lambda: " ready." in log.read_text(errors="replace"), within_seconds=within_seconds, of=(service,))  # fmt: skip

    # --- the REST API

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        """Send a request as the admin user; return the JSON document."""
        if not self._token:
            user = {name: self.variables[f"AIRFLOW_ADMIN_{name.upper()}"] for name in ("user", "password")}
            login = {"username": user["user"], "password": user["password"]}
            self._token = _request(self._url("/auth/token"), login)["access_token"]
        return _request(self._url("/api/v2" + path), body, method=method, token=self._token)

    def state(self, dag: str, run: str) -> str:
        """Return a run's state."""
        return str(self.ask(f"/dags/{dag}/dagRuns/{run}")["state"])

    def finish(self, dag: str, run: str, *, within_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a run ends, and see that it ended well."""
        state = wait_for(
            f"{dag} {run} to end",
            lambda: (found := self.state(dag, run)) in _DONE and found,
            within_seconds=within_seconds,
            of=tuple(self.services.values()),
        )
        if state != "success":
            raise AssertionError(f"{dag} {run} ended as {state}\n{self.task_logs(dag, run)}\n{self.machine.logs()}")

    def task_logs(self, dag: str, run: str) -> str:
        """Return the end of each log of a run's tasks."""
        logs = sorted((self.machine.directory / "airflow" / "logs" / f"dag_id={dag}" / f"run_id={run}").rglob("*.log"))
        return "\n".join(f"--- {log}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    # --- the metadata database

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        url = self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("+psycopg2", "")
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    def _url(self, path: str) -> str:
        return f"{self.environment['AIRFLOW__API__BASE_URL']}{path}"


def _request(url: str, body: object, *, method: str | None = None, token: str = "") -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    try:
        with opener.open(request, timeout=120) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method or 'request'} {url}: {error.code} {error.read().decode()[:500]}") from error


def secrets_of_env() -> dict[str, str]:
    """Return what `deploy/make_secrets.py` would write to .env."""
    text = _module(ROOT / "deploy" / "make_secrets.py").fill((ROOT / ".env.example").read_text())
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def deploy(
    machine: Machine, ceph: Ceph, variables: dict[str, str], datasets: str, *, workers: tuple[str, ...], partitions: int
) -> Deployment:
    """Start everything; return when the API, the scheduler, every worker and the DAGs are there.

    Args:
        machine: to run on.
        ceph: a running S3.
        variables: what .env holds, see `secrets_of_env`.
        datasets: the text of the file that AESTHETICS_CONFIG names.
        workers: names of the Celery workers.
        partitions: most parallel tasks of one build.
    """
    ports = {name: free_port() for name in ("postgres", "redis", "api-server", "health")}
    variables = variables | {
        "S3_ENDPOINT_URL": ceph.endpoint_url,
        "AIRFLOW_BASE_URL": f"http://127.0.0.1:{ports['api-server']}",
        "PARTITIONS": str(partitions),
        "WORKER_CONCURRENCY": "1",
    }
    config = machine.directory / "datasets.toml"
    config.write_text(datasets)
    deployment = Deployment(machine, ceph, variables, _airflow_environment(machine, variables, ports, config))
    with ThreadPoolExecutor() as pool:
        redis = pool.submit(_start_redis, deployment, ports["redis"])
        _start_postgres(deployment, ports["postgres"])
        redis.result()
        machine.run("migrate", AIRFLOW, *compose.SERVICES["migrate"]["command"][1:], env=deployment.environment)
        for name in ("scheduler", "dag-processor"):
            deployment.start(name)
        for name in workers:
            deployment.start_worker(name)
        # before the API server: both write the roles' permissions into a new database, and one of two at once fails
        admin = compose.interpolate(compose.SERVICES["admin"]["command"], variables)
        machine.run("admin", AIRFLOW, *admin[1:], env=deployment.environment)
        deployment.start("api-server")
    _wait_until_ready(deployment)
    return deployment


def _wait_until_ready(deployment: Deployment) -> None:
    services = tuple(deployment.services.values())
    health = deployment.environment["AIRFLOW__API__BASE_URL"] + "/api/v2/monitor/health"

    def is_healthy() -> bool:
        report = _request(health, None)
        return all(report[name]["status"] == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))

    wait_for("the API, the scheduler and the DAG processor", is_healthy, within_seconds=PATIENCE_SECONDS, of=services)
    wait_for(
        "the DAGs", lambda: deployment.ask("/dags")["total_entries"] > 0, within_seconds=PATIENCE_SECONDS, of=services
    )
    for dag in deployment.ask("/dags")["dags"]:
        deployment.ask(f"/dags/{dag['dag_id']}", {"is_paused": False}, method="PATCH")
    for name in deployment.workers:
        deployment.wait_for_worker(name)


def _airflow_environment(
    machine: Machine, variables: dict[str, str], ports: dict[str, int], config: Path
) -> dict[str, str]:
    home = machine.directory / "airflow"
    (home / "config").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "airflow_local_settings.py", home / "config")
    environment = compose.interpolate(compose.COMPOSE["x-airflow-common"]["environment"], variables)
    hosts = {
        "@postgres:5432/": f"@127.0.0.1:{ports['postgres']}/",
        "@redis:6379/": f"@127.0.0.1:{ports['redis']}/",
        "//api-server:8080/": f"//127.0.0.1:{ports['api-server']}/",
    }
    for name, value in environment.items():
        for host, loopback in hosts.items():
            value = str(value).replace(host, loopback)
        environment[name] = value
    return {
        **{name: os.environ[name] for name in ("HOME", "USER") if name in os.environ},
        **_IMAGE,
        **environment,
        **FASTER,
        **PATIENT,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        "AESTHETICS_CONFIG": str(config),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(ports["api-server"]),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(ports["health"]),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
    }


def _start_postgres(deployment: Deployment, port: int) -> None:
    machine = deployment.machine
    data, password = machine.directory / "postgres", machine.directory / "postgres-password"
    data.mkdir(mode=0o700)
    password.write_text(deployment.variables["POSTGRES_PASSWORD"])
    if os.getuid() == 0:
        shutil.chown(data, "postgres", "postgres")
        shutil.chown(password, "postgres", "postgres")
    machine.run(
        "initdb", "initdb", "--pgdata", str(data), "--username=airflow", f"--pwfile={password}",
        "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", account="postgres",
    )  # fmt: skip
    postgres = machine.start(
        "postgres", "postgres", "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1",
        "-c", "unix_socket_directories=", "-c", "fsync=off", account="postgres",
    )  # fmt: skip
    deployment.services["postgres"] = postgres
    url = f"postgresql://airflow:{deployment.variables['POSTGRES_PASSWORD']}@127.0.0.1:{port}/postgres"

    def create() -> bool:
        try:
            with closing(psycopg2.connect(url)) as connection:
                connection.autocommit = True
                connection.cursor().execute("CREATE DATABASE airflow")
        except psycopg2.OperationalError as error:  # type: ignore[attr-defined]
            raise OSError(str(error)) from error
        return True

    wait_for("PostgreSQL", create, within_seconds=PATIENCE_SECONDS, of=(postgres,))


def _start_redis(deployment: Deployment, port: int) -> None:
    command = compose.interpolate(compose.SERVICES["redis"]["command"], deployment.variables)
    directory = deployment.machine.directory / "redis"
    directory.mkdir()
    redis = deployment.machine.start(
        "redis", *command, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)
    )
    deployment.services["redis"] = redis
    wait_for("Redis", lambda: "Ready to accept" in redis.log.read_text(), within_seconds=PATIENCE_SECONDS, of=(redis,))
