"""Tasks under the supervisor that Airflow's executors start for each, with an API server in its process that says what a test wants.

In: a home, and the id of a task.  Out: what the supervisor told the server, the task's log, and its process to send signals to.
Promised: supervisor, task runner, DAG file and task are the real ones; the supervisor forks the task, as on a worker.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.warm_airflow import WarmAirflow

__all__ = ["SupervisedTask", "supervised"]

_SUPERVISE: Final = """
import json, os, sys
from pathlib import Path
from uuid import UUID
import httpx
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance
from airflow.sdk.execution_time.supervisor import supervise_task

what = json.loads(sys.argv[1])
folder = Path(what["folder"])

def answer(request):
    path = request.url.path
    if path.endswith("/run"):
        run = {
            "dag_id": what["dag"], "run_id": "night", "logical_date": "2026-11-22T00:00:00Z", "start_date": "2026-11-22T00:00:00Z",
            "run_type": "manual", "run_after": "2026-11-22T00:00:00Z", "consumed_asset_events": [], "state": "running",
            "data_interval_start": None, "data_interval_end": None, "end_date": None, "partition_key": None,
        }
        return httpx.Response(200, json={"dag_run": run, "max_tries": 4, "should_retry": True, "start_date": "2026-11-22T00:00:00Z"})
    if path.endswith("/heartbeat") and (folder / "marked").exists():
        return httpx.Response(409, json={"detail": {"reason": "not_running", "message": "TI is no longer in the running state"}})
    if path.endswith(("/state", "/xcoms")) or "/xcoms/" in path and request.method == "POST":
        with (folder / "told").open("a") as told:
            told.write(json.dumps([path, json.loads(request.content or "null")]) + chr(10))
        if path.endswith("/state") and (folder / "marked").exists():
            return httpx.Response(409, json={"detail": {"reason": "invalid_state", "message": "TI was not in the running state"}})
        return httpx.Response(201, json="done") if "/xcoms/" in path else httpx.Response(204)
    if path.endswith("/validate-inlets-and-outlets"):
        return httpx.Response(200, json={"inactive_assets": []})
    if path.startswith("/asset-events/"):
        return httpx.Response(200, json={"asset_events": []})
    if path.endswith("/count"):
        return httpx.Response(200, json=1)
    if "/heartbeat" in path or "/rtif" in path or "rendered" in path:
        return httpx.Response(204)
    return httpx.Response(404, json={"detail": {"reason": "not_found", "message": path}})

(folder / "supervisor").write_text(str(os.getpid()))
one = UUID(int=1)
status = supervise_task(
    ti=TaskInstance(
        id=one, task_id=what["task"], dag_id=what["dag"], run_id="night", try_number=1, dag_version_id=one, map_index=what["map_index"],
    ),
    bundle_info=BundleInfo(name="dags-folder"), dag_rel_path=what["file"], token="", log_path=str(folder / "task.log"),
    client=Client(base_url="http://in-process.invalid", token="", transport=httpx.MockTransport(answer)),
)
sys.exit(0 if status == 0 else 1)
"""


@dataclass
class SupervisedTask:
    """A task that runs.

    Attributes:
        folder: where it leaves what it said.
        status: 0 where the supervisor ended well.
    """

    folder: Path
    status: int = -1

    @property
    def supervisor(self) -> int:
        """Process id of the supervisor; its child is the task."""
        return int((self.folder / "supervisor").read_text())

    @property
    def told(self) -> list[tuple[str, Any]]:
        """What the API server was told: path and body."""
        file = self.folder / "told"
        return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def states(self) -> list[str]:
        """States that the API server was told of the task."""
        return [body["state"] for path, body in self.told if path.endswith("/state")]

    @property
    def problems(self) -> list[str]:
        """What was kept for the notifiers."""
        return [body["reason"] for path, body in self.told if path.endswith("/problem")]

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Kind and text of each error that the task's log shows with a traceback, those that led to it left out."""
        lines = [json.loads(line) for line in (self.folder / "task.log").read_text().splitlines()]
        details = [line["error_detail"] for line in lines if line.get("error_detail")]
        return [(detail[0]["exc_type"], detail[0]["exc_value"]) for detail in details]

    def mark(self) -> None:
        """Let the API server say that the task is not to run any more, as when somebody has marked it in Airflow."""
        (self.folder / "marked").touch()


@contextmanager
def supervised(
    airflow: WarmAirflow, folder: Path, dag: str, task: str, *, map_index: int = -1, file: str = "photo_dataset.py"
) -> Iterator[SupervisedTask]:
    """Run a task under its supervisor; leaving waits for its end."""
    folder.mkdir()
    running = SupervisedTask(folder)
    what = json.dumps({"folder": str(folder), "dag": dag, "task": task, "map_index": map_index, "file": file})
    with ThreadPoolExecutor(1) as threads:
        end = threads.submit(airflow.python, _SUPERVISE, what)
        yield running
        status, said = end.result()
    running.status = status
    assert running.told, said[-3000:]
