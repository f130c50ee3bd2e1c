"""The image can be built from what is sent to the builder, and holds what the tests here have tested."""

import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.support.compose import EXAMPLE, SERVICES, interpolate
from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COPIED = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)]
SOURCES = [source.removeprefix("./") for sources in COPIED for source in sources]
PATTERNS = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]


def pins(lock: str) -> dict[tuple[str, str], str]:
    """Return version by (name, marker)."""
    found = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)(?: ; (.*?))? \\$", (ROOT / lock).read_text(), re.MULTILINE
    )
    return {(name, marker): pinned for name, pinned, marker in found}


def is_sent(path: str) -> bool:
    """Say whether .dockerignore lets a path through: the last pattern that fits it or a folder above it decides."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    sent = True
    for pattern in PATTERNS:
        name = pattern.lstrip("!")
        fits = any(
            fnmatch.fnmatchcase(folder.rpartition("/")[2], name[3:])
            if name.startswith("**/")
            else folder.count("/") == name.count("/") and fnmatch.fnmatchcase(folder, name)
            for folder in above
        )
        if fits:
            sent = pattern.startswith("!")
    return sent


def test_the_lock_of_the_image_is_a_part_of_the_lock_that_the_tests_run_with():
    image, tested = pins("requirements-image.lock"), pins("requirements.lock")
    assert len(image) > 150
    assert {pin: (found, tested.get(pin)) for pin, found in image.items() if tested.get(pin) != found} == {}
    hashed = re.findall(r"==\S+(?: ; .*?)? \\\n    --hash=sha256:", (ROOT / "requirements-image.lock").read_text())
    assert len(hashed) == len(image)


def test_what_is_installed_here_is_what_the_image_installs():
    image = {name: pinned for (name, marker), pinned in pins("requirements-image.lock").items() if not marker}
    assert {name: pinned for name, pinned in image.items() if version(name) != pinned} == {}
    for name in (
        "apache-airflow-core",
        "apache-airflow-providers-celery",
        "apache-airflow-providers-fab",
        "psycopg2-binary",
    ):
        assert name in image


def test_tests_and_their_tools_are_not_in_the_image():
    assert not {"pytest", "moto", "mypy", "playwright", "hypothesis"} & {
        name for name, _ in pins("requirements-image.lock")
    }


def test_the_image_has_a_python_that_the_package_runs_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = re.search(r"^ARG PYTHON=python:3\.([0-9]+)-slim-bookworm$", DOCKERFILE, flags=re.MULTILINE)
    low, high = re.fullmatch(r">=3\.([0-9]+),<3\.([0-9]+)", project["requires-python"]).groups()
    assert int(low) <= int(python[1]) < int(high)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE) == ["${PYTHON}", "environment", "${PYTHON}"]
    # which one, and by which digest, is a line of .env
    default = re.search(r"^ARG PYTHON=(.+)$", DOCKERFILE, flags=re.MULTILINE)[1]
    assert EXAMPLE["PYTHON_IMAGE"] == default
    built = interpolate(SERVICES["migrate"]["build"], {"PYTHON_IMAGE": f"{default}@sha256:{'0' * 64}"})
    assert built["args"]["PYTHON"].endswith("@sha256:" + "0" * 64)


def test_a_change_of_the_code_leaves_the_environment_s_layer_alone():
    environment, package, image = re.split(r"^FROM .*\n", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert re.findall(r"^COPY (.+) \S+$", environment, flags=re.MULTILINE) == ["requirements-image.lock"]
    assert "COPY aesthetics_ops ./aesthetics_ops" in package
    assert re.findall(r"^COPY --from=(\S+) (/opt/(?:venv|package)) /opt/venv$", image, flags=re.MULTILINE) == [
        ("environment", "/opt/venv"), ("package", "/opt/package"),
    ]  # fmt: skip


def test_how_the_build_reaches_its_package_index_is_a_secret_and_stays_out_of_the_image():
    (mount,) = re.findall(r"--mount=(\S+)", DOCKERFILE)
    assert mount == "type=secret,id=pip,target=/etc/pip.conf"
    assert not re.search(r"PIP_(INDEX|EXTRA_INDEX|TRUSTED|CERT|PROXY)|--index-url|https?://", DOCKERFILE)


def test_the_list_of_packages_is_where_the_label_says():
    label = re.search(r'org\.aesthetics-ops\.sbom="(\S+)"', DOCKERFILE)[1]
    assert f"COPY --from=package /opt/sbom.json {label}" in DOCKERFILE
    assert "list_packages.py > /opt/sbom.json" in DOCKERFILE


def test_everything_is_installed_by_hash_and_nothing_is_resolved():
    installs = re.findall(
        r"bin/pip --python /opt/venv/bin/python install (.+?)(?: \\|$)", DOCKERFILE, flags=re.MULTILINE
    )
    assert installs == [
        "--require-hashes --no-deps --only-binary :all: -r requirements-image.lock",
        "--no-deps --no-build-isolation --prefix /opt/package .",
    ]
    assert "--without-pip /opt/venv" in DOCKERFILE
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [re.match(r"[a-z]+", name)[0] for name in build] == ["setuptools"]
    assert "setuptools" in {name for name, _ in pins("requirements-image.lock")}


def test_copied_files_exist_and_are_sent_to_the_builder():
    assert {"aesthetics_ops", "dags", "plugins", "samples", "deploy", "pyproject.toml", "LICENSE"} <= {*SOURCES}
    for source in SOURCES:
        assert (ROOT / source).exists(), source
        assert is_sent(source), f"{source} is hidden by .dockerignore"
    folders = ("aesthetics_ops", "dags", "plugins", "samples/photos")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    hidden = [path for path in files if not is_sent(path.relative_to(ROOT).as_posix())]
    assert len(files) > 100
    assert [path for path in hidden if "__pycache__" not in path.parts] == []


@pytest.mark.parametrize(
    "path", [".env", ".git/config", ".venv/bin/python", ".sandbox/x", "deploy/__pycache__/x.pyc", "tests/conftest.py"]
)
def test_secrets_and_leftovers_are_not_sent_to_the_builder(path):
    assert not is_sent(path)


def test_compose_and_image_agree_on_folders():
    variables = dict(re.findall(r"([A-Z_]+)=(\S+?)(?: \\)?$", DOCKERFILE, flags=re.MULTILINE))
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == "/opt/aesthetics/dags"
    assert variables["AIRFLOW__CORE__PLUGINS_FOLDER"] == "/opt/aesthetics/plugins"
    assert variables["AIRFLOW_HOME"] == "/opt/airflow"
    assert variables["AESTHETICS_CONFIG"].startswith("/opt/aesthetics/samples/")
    assert re.search(r"^COPY deploy/airflow_local_settings.py /opt/airflow/config/$", DOCKERFILE, flags=re.MULTILINE)
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "airflow-logs:/opt/airflow/logs" in compose
    assert "install --directory --owner=50000 --group=0 --mode=0775 /opt/airflow/logs" in DOCKERFILE


FORK = """
import json, os, sys, threading
sys.argv = ["/opt/venv/bin/airflow", *sys.argv[1:]]
source = open(SETTINGS).read()
exec(compile(source, "airflow_local_settings.py", "exec"), {})
loaded = sorted({"tensorflow", "obstore", "aesthetics_ops.conversion.partition"} & {*sys.modules})
names = [open(f"/proc/self/task/{number}/comm").read().strip() for number in os.listdir("/proc/self/task")]
own = open("/proc/self/comm").read().strip()  # what a thread is called that nobody named
threads = ["" if name == own else name for name in names]
print("LOADED", json.dumps({"modules": loaded, "threads": threads, "python": threading.active_count()}), flush=True)
if loaded and os.fork() == 0:
    import cv2, io, numpy, obstore, pyarrow, pyarrow.parquet, tensorflow
    from obstore.store import MemoryStore
    store = MemoryStore()
    obstore.put(store, "key", b"body")
    gray = tensorflow.io.decode_jpeg(tensorflow.io.encode_jpeg(tensorflow.zeros((8, 8, 1), tensorflow.uint8)))
    square = numpy.ones((300, 300)) @ numpy.ones((300, 300))
    pyarrow.parquet.write_table(pyarrow.table({"x": range(100_000)}), io.BytesIO())
    done, jpeg = cv2.imencode(".jpg", cv2.resize(numpy.zeros((900, 900, 3), numpy.uint8), (300, 300)))
    print("CHILD", bytes(obstore.get(store, "key").bytes()).decode(), gray.shape, square[0, 0], done, flush=True)
    os._exit(0)
if loaded:
    os.wait()
"""


def run_settings(tmp_path: Path, *arguments: str) -> str:
    script = FORK.replace("SETTINGS", repr(str(ROOT / "deploy" / "airflow_local_settings.py")))
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "false", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(said: str) -> dict[str, Any]:
    return json.loads(re.search(r"^LOADED (.*)$", said, flags=re.MULTILINE)[1])


def test_a_worker_imports_before_it_forks_and_its_children_can_use_all_of_it(tmp_path):
    said = run_settings(tmp_path, "celery", "worker")
    found = loaded(said)
    assert found["modules"] == ["aesthetics_ops.conversion.partition", "obstore", "tensorflow"]
    # a thread that runs before a fork does not run after it.  OpenBLAS and jemalloc, whose threads these are, take care
    # of that; obstore's runtime (tokio…) and TensorFlow's pools (tf_…) do not, and must not have been started.
    assert found["python"] == 1
    assert {*found["threads"]} <= {"", "jemalloc_bg_thd"}
    assert "CHILD body (8, 8, 1) 300.0 True" in said


@pytest.mark.parametrize("arguments", [("scheduler",), ("tasks", "test", "celery", "worker")])
def test_no_other_process_pays_for_these_imports(tmp_path, arguments):
    assert loaded(run_settings(tmp_path, *arguments)) == {"modules": [], "threads": [""], "python": 1}
