"""What a partition task costs before its first photo arrives, beyond what Airflow costs anyway.

    .venv/bin/python benchmarks/startup.py task PHOTOS LABELS DATASET
    .venv/bin/python benchmarks/startup.py imports PHOTOS LABELS DATASET

Does what an Airflow task process does for any DAG (imports the task runner and the Amazon provider, reads a small DAG
file), and from there on counts: this project's DAG file, the stage's modules, opening the build, up to the first GET of
a photo.  `imports` runs the same under `-X importtime` and adds
up, per package, what was imported after Airflow.  The build is planned in a process of its own.
"""

import json
import os
import runpy
import subprocess
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

_MARK = "--- from here on it is ours ---"
_DAG = Path(__file__).parents[1] / "dags" / "photo_dataset.py"
_SHOWN = 15
_ANY_DAG = """
import pendulum
from airflow.sdk import Asset, Param, dag, get_current_context, task

@dag(schedule="0 2 * * *", start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), params={"number": Param(1, type="integer")})
def any_dag():
    @task(outlets=[Asset(name="any", uri="s3://bucket/any", group="datasets")])
    def work(number):
        return get_current_context()

    work.expand(number=[1, 2])

any_dag()
"""


def plan(photos: str, labels: str, dataset: str) -> None:
    """Plan the build whose first partition the task would make."""
    from aesthetics_ops import BuildSettings
    from aesthetics_ops.pipeline import start_build

    start_build(BuildSettings(photos=photos, labels=labels, dataset=dataset), build_id="startup")


def task(dataset: str) -> None:
    """Go as far as the first GET, print what it took, and stop there."""
    marks = {}
    for name, module in (("airflow", "sdk.execution_time.task_runner"), ("provider", "providers.amazon.aws.hooks.s3")):
        import_module(f"airflow.{module}")
        marks[name] = time.process_time()
    exec(compile(_ANY_DAG, "any_dag.py", "exec"), {"__name__": "any_dag"})  # noqa: S102
    marks["any DAG file"] = time.process_time()
    print(_MARK, file=sys.stderr, flush=True)
    started = time.perf_counter()
    runpy.run_path(str(_DAG))
    marks["our DAG file"] = time.process_time()
    import boto3

    from aesthetics_ops.builds import resume_build
    from aesthetics_ops.conversion.partition import convert_partition
    from aesthetics_ops.store import S3Access, Store
    from aesthetics_ops.store.s3 import S3Store

    marks["imports"] = time.process_time()

    def first_get(store: Store, key: str) -> NoReturn:
        marks["first GET"] = time.process_time()
        seconds = {
            "cpu_seconds": marks["first GET"] - marks["any DAG file"],
            "wall_seconds": time.perf_counter() - started,
        }
        print("\n" + json.dumps(seconds | {"airflow_cpu_seconds": marks["any DAG file"], "marks": marks}), flush=True)
        os._exit(0)

    S3Store.get = first_get  # type: ignore[assignment, method-assign]
    access = S3Access(boto3.Session(), endpoint_url=os.environ["AWS_ENDPOINT_URL"], verify=None)
    build, record = resume_build(dataset, "startup", s3=access)
    convert_partition(build, record, 0)


def imports(arguments: list[str]) -> dict[str, Any]:
    """Return what was imported after Airflow, the packages that took longest first."""
    command = [sys.executable, "-X", "importtime", __file__, "task", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _, marked, after = done.stderr.partition(_MARK)
    if done.returncode or not marked:
        raise SystemExit(done.stderr[-2000:])
    microseconds: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for line in after.splitlines():
        if line.startswith("import time:") and "[us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            package = name.strip().partition(".")[0]
            microseconds[package] += int(own)
            modules[package] += 1
    shown = microseconds.most_common(_SHOWN)
    others = set(microseconds) - {package for package, _ in shown}
    rows: list[dict[str, Any]] = [
        {"module": package, "modules": modules[package], "milliseconds": taken / 1000} for package, taken in shown
    ]
    if others:
        count, taken = sum(modules[name] for name in others), sum(microseconds[name] for name in others)
        rows.append({"module": f"{len(others)} more", "modules": count, "milliseconds": taken / 1000})
    printed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return printed | {"imports": rows}


def main() -> int:
    """Measure, and print one JSON object."""
    what, *arguments = sys.argv[1:]
    if what == "plan":
        plan(*arguments)
    elif what == "imports":
        print(json.dumps(imports(arguments)))
    else:
        subprocess.run([sys.executable, __file__, "plan", *arguments], check=True)
        task(arguments[2])
    return 0


if __name__ == "__main__":
    sys.exit(main())
