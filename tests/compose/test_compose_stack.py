"""docker-compose.yml in real containers: built, brought up, used, scaled, hurt, updated, restored and taken down.

One day is played once, in `day`, in the order of its parts; each test then looks at one thing that must have come of it.
"""

import base64
import json
import logging
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config

from tests.compose.guard import MOST_BYTES, Guard
from tests.compose.stack import Stack, image_name, make_images, wait_until
from tests.stack.inputs import enlarged, fill
from tests.support.compose import AIRFLOW, size_bytes
from tests.support.kubernetes import KUBERNETES

_log = logging.getLogger("compose")

IMAGE = "aesthetics-ops-airflow"
DATASET = "s3://aesthetics/datasets/photo_dataset/"
LONG_RUNNING = (
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "worker",
    "log-groomer",
    "postgres",
    "redis",
    "s3",
)
LARGE, PARTITIONS = 72, 4
# The retry's delay is one minute and up to another, which a hash of the date decides: this one's is short.
DATE, NEXT_DATE, POD_DATE = "2026-01-10", "2026-01-11", "2026-01-12"
LARGE_TABLE = """
[large]
photos = "s3://aesthetics/large/photos/"
labels = "s3://aesthetics/large/scores.csv"
dataset = "s3://aesthetics/datasets/large/"
encoding = "reencode"         # all that a photo can cost
quality = 70
max_side_px = 2200            # small to read back
shard_bytes = 1_000_000
partition_bytes = 1           # every partition is used
near_duplicate_distance = ""  # all photos are alike
[large.airflow]
schedule = ""
"""
# Otherwise than in the compose file, so that the loss of a worker is noticed in seconds: 120 s and every 10 s there.
FASTER = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
}
# what stands in the way of both: a listener is a line of state 0A whose local address is not the loopback's
LISTENERS = """
import re
lines = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}").read().splitlines()[1:]]
print(sorted({int(words[1].split(":")[1], 16) for words in lines if words[3] == "0A" and not re.match("0100007F|0B00007F", words[1])}))
"""


@dataclass
class Day:
    """What was done and seen, in the order of events.

    Attributes:
        without_env: what Compose said without `.env`.
        images: name, size and id of every image after the build.
        image: what docker says of the project's image; layers: bytes of each, with the command that made it.
        states: of each service after the first start; listening: ports of the S3's container.
        first: runs that unpausing started; first_tasks: their task instances.
        told: what the worker logged of its first tasks.
        shown: what the command line said of the first version, and how it verified.
        pages: status of pages, as the admin and as nobody.
        workers: how many ran after each `up`.
        lost: the run during which a worker was killed, the worker's host name, and the run's task instances.
        updated: the run during which the code was updated, and its task instances; rebuilt: layers after it.
        pod: exit status and output of the task that ran as a pod; pod_tasks: task instances of its run.
        restored: ids of runs before the dump, and after it was read back.
        exits: exit status of each service that was stopped for it; restarts: how often each was started anew by then.
        again: how the version verified after down and up.
        leftovers: containers, volumes and networks after the end.
    """

    without_env: str = ""
    images: list[dict[str, Any]] = field(default_factory=list)
    image: dict[str, Any] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    listening: list[int] = field(default_factory=list)
    first: dict[str, str] = field(default_factory=dict)
    first_tasks: list[dict[str, Any]] = field(default_factory=list)
    told: str = ""
    shown: str = ""
    pages: dict[str, tuple[int, int]] = field(default_factory=dict)
    workers: list[int] = field(default_factory=list)
    lost: tuple[str, str, list[dict[str, Any]]] = ("", "", [])
    updated: tuple[str, list[dict[str, Any]]] = ("", [])
    rebuilt: list[str] = field(default_factory=list)
    pod: tuple[int, str] = (-1, "")
    pod_tasks: list[dict[str, Any]] = field(default_factory=list)
    restored: tuple[list[str], ...] = ()
    exits: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    again: str = ""
    leftovers: str = ""


@pytest.fixture(scope="module")
def day(stack: Stack, guard: Guard, python: str) -> Day:
    day = Day()
    stack.figures["python"] = python
    parts = (
        make_the_engine, build, bring_up, run_the_first_night, look_at_pages, lose_a_worker, update, run_a_pod, restore,
        take_down_and_bring_up, take_away,
    )  # fmt: skip
    for part in parts:
        started = time.monotonic()
        part(stack, day)
        seconds = time.monotonic() - started
        stack.figures[f"part {part.__name__}"] = round(seconds, 1)
        guard.measure()
        _log.info("%6.1f s  %s", seconds, part.__name__.replace("_", " ").upper())
    stack.figures["disk MB, at most"] = round(guard.peak_bytes / 1e6)
    _log.info("figures: %s", json.dumps(stack.figures, indent=1))
    return day


# --- the day


def make_the_engine(stack: Stack, day: Day) -> None:
    make_images(stack.engine, stack.figures["python"])


def build(stack: Stack, day: Day) -> None:
    stack.lay()
    day.without_env = stack.compose("up", "--detach", check=False)
    subprocess.run([sys.executable, "deploy/make_secrets.py"], cwd=stack.project, check=True, capture_output=True)
    samples = (stack.project / "samples/datasets.toml").read_text()
    (stack.project / "datasets.toml").write_text(samples + LARGE_TABLE)
    stack.set(DATASETS_TOML="./datasets.toml", PARTITIONS=PARTITIONS, WORKER_CONCURRENCY=1, WORKER_MEMORY="4g")
    stack.set(PYTHON_IMAGE=image_name(stack.figures["python"]))
    stack.timed_compose("build seconds", "build", timeout_seconds=1500)
    listed = stack.docker("image", "ls", "--all", "--format", "{{json .}}").splitlines()
    day.images = [json.loads(line) for line in listed]
    day.image = stack.inspect(IMAGE)
    day.layers = day.image["RootFS"]["Layers"]
    stack.figures["image MB"] = round(day.image["Size"] / 1e6)
    stack.figures["base MB"] = round(stack.inspect(image_name(stack.figures["python"]))["Size"] / 1e6)
    biggest = "du --summarize --block-size=1MB /opt/venv/lib/python3*/site-packages/* | sort --numeric-sort --reverse | head -8"
    found = stack.docker("run", "--rm", IMAGE, "sh", "-c", biggest)
    stack.figures["largest packages MB"] = {
        path.rpartition("/")[2]: int(size) for size, path in (line.split() for line in found.splitlines())
    }


def bring_up(stack: Stack, day: Day) -> None:
    stack.timed_compose("up seconds", "up", "--detach", "--wait", timeout_seconds=900)
    day.workers.append(len(stack.containers("worker")))
    day.states = everyone(stack)
    day.listening = json.loads(
        stack.docker(
            "run", "--rm", "--network", f"container:{stack.containers('s3')[0]}", IMAGE, "python", "-c", LISTENERS
        )
    )
    stack.figures["memory MiB, nothing to do"] = memory(stack)


def run_the_first_night(stack: Stack, day: Day) -> None:
    """Switch the DAG on, as docs/deploy.md says: that starts last night's run."""
    started = time.monotonic()
    stack.ask("/dags/photo_dataset", {"is_paused": False}, method="PATCH")
    (run,) = wait_until("the first run", lambda: stack.runs("photo_dataset"), within_seconds=120)
    stack.figures["first night seconds"] = stack.finish("photo_dataset", run)
    stack.figures["first night seconds, from the switch"] = round(time.monotonic() - started, 1)
    day.first = stack.runs("photo_dataset")
    day.first_tasks = stack.tasks("photo_dataset", run)
    stack.figures["task seconds"] = {
        f"{task['task_id']} {task['map_index']}": round(task["duration"], 1)
        for task in day.first_tasks
        if task["duration"]
    }
    day.told = stack.compose("logs", "--no-color", "worker")
    day.shown = cli(stack, "show", DATASET) + cli(stack, "verify", DATASET)


def look_at_pages(stack: Stack, day: Day) -> None:
    version = json.loads(cli(stack, "show", DATASET, "--json"))["version"]
    browser, dataset = "/dataset-browser", "/dataset-browser/datasets/photo_dataset"
    for path in ("/", f"{browser}/", dataset, f"{dataset}/versions/{version}", "/api/v2/dags"):
        day.pages[path] = (stack.get(path)[0], stack.get(path, signed=False)[0])


def lose_a_worker(stack: Stack, day: Day) -> None:
    """Run a build on two workers, and kill one of them while it converts."""
    stack.override({"scheduler": {"environment": FASTER}})
    stack.set(WORKERS=2)
    stack.compose("up", "--detach", "--wait", timeout_seconds=600)
    stack.compose("up", "--detach")  # a second one takes no worker away
    day.workers.append(len(stack.containers("worker")))
    photos = [enlarged(name, 4000) for name in ("917058", "926426", "936054")]
    stack.engine.inside(lambda: fill(client(stack), "aesthetics", "large/", photos, LARGE))
    wait_until("the DAG", lambda: stack.ask("/dags/large", {"is_paused": False}, method="PATCH"), within_seconds=120)
    run = stack.trigger("large", DATE)
    names = {stack.inspect(container)["Config"]["Hostname"]: container for container in stack.containers("worker")}

    def busy() -> str | None:
        tasks = stack.tasks("large", run, "download_and_convert")
        at_work = [task["hostname"] for task in tasks if task["state"] == "running" and task["hostname"] in names]
        return at_work[0] if len({*at_work}) == 2 else None

    lost = wait_until("two workers to convert", busy, within_seconds=300)
    stack.docker("kill", names[lost])
    stack.figures["large build with a lost worker, seconds"] = stack.finish("large", run)
    day.lost = (run, lost, stack.tasks("large", run))


def update(stack: Stack, day: Day) -> None:
    """Change the code, and follow the page's commands while a build runs."""
    stack.compose("up", "--detach", "--wait", timeout_seconds=600)
    run = stack.trigger("large", NEXT_DATE, quality=60)

    def at_work() -> bool:
        return any(task["state"] == "running" for task in stack.tasks("large", run, "download_and_convert"))

    wait_until("a task to convert", at_work, within_seconds=300)
    module = stack.project / "aesthetics_ops/__init__.py"
    module.write_text(module.read_text() + "\n# another release\n")
    stack.timed_compose("build seconds, code changed", "build", timeout_seconds=600)
    stack.timed_compose("stop worker seconds", "stop", "worker", timeout_seconds=700)
    stack.timed_compose("update seconds", "up", "--detach", timeout_seconds=600)
    stack.finish("large", run)
    day.updated = (run, stack.tasks("large", run))
    day.rebuilt = stack.inspect(IMAGE)["RootFS"]["Layers"]


def run_a_pod(stack: Stack, day: Day) -> None:
    """Take a task's workload from the queue and run it as Kubernetes would: one container, by the pod's own description."""
    stack.compose("stop", "worker", timeout_seconds=700)
    run = stack.trigger("photo_dataset", POD_DATE)

    def message() -> str:
        return stack.compose("exec", "--no-TTY", "redis", "redis-cli", "--raw", "rpop", "default").strip()

    taken = wait_until("a task in the queue", message, within_seconds=120)
    ((workload,), _, _) = json.loads(base64.b64decode(json.loads(taken)["body"]))
    day.pod = run_pod(stack, workload)
    stack.compose("up", "--detach", "--wait", timeout_seconds=600)
    stack.finish("photo_dataset", run)
    day.pod_tasks = stack.tasks("photo_dataset", run)


def run_pod(stack: Stack, workload: str) -> tuple[int, str]:
    """Run the container of pod_template.yaml with its user, limits, folders and variables; return status and output."""
    spec = yaml.safe_load((KUBERNETES / "pod_template.yaml").read_text())["spec"]
    task, user = spec["containers"][0], spec["securityContext"]
    config = stack.engine.directory / "project/datasets.toml"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts: list[str] = []
    for mount in task["volumeMounts"]:
        if "emptyDir" in volumes[mount["name"]]:
            size = size_bytes(volumes[mount["name"]]["emptyDir"]["sizeLimit"])
            mounts += ["--tmpfs", f"{mount['mountPath']}:size={size},mode=1777"]
        else:
            mounts += ["--volume", f"{config}:{mount['mountPath']}/datasets.toml:ro"]
    common = stack.inspect(stack.containers("scheduler")[0])["Config"]["Env"]
    ours = {line.partition("=")[0]: line for line in common}
    variables = {item["name"]: f"{item['name']}={item.get('value', '')}" for item in task["env"]}
    # of the chart and its secrets: where the API server is, the keys and the connection; logs stay here
    for name in ("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_AWS_DEFAULT"):
        variables[name] = ours[name]
    variables["AIRFLOW__LOGGING__REMOTE_LOGGING"] = "AIRFLOW__LOGGING__REMOTE_LOGGING=False"
    network = next(iter(stack.inspect(stack.containers("scheduler")[0])["NetworkSettings"]["Networks"]))
    limits = task["resources"]["limits"]
    security = task["securityContext"]
    assert security["readOnlyRootFilesystem"]
    done = stack.engine.run(
        "docker", "run", "--rm", "--network", network, "--read-only", "--pull", "never",
        "--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--memory", str(size_bytes(limits["memory"])),
        "--cap-drop", *security["capabilities"]["drop"], "--security-opt", "no-new-privileges:true", *mounts,
        *(word for line in variables.values() for word in ("--env", line)), IMAGE,
        "python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string", workload,
        directory=stack.project, check=False, timeout_seconds=300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def restore(stack: Stack, day: Day) -> None:
    """Dump the database, lose a run of it, and read it back with the page's commands."""
    before = sorted(stack.runs("large"))
    shell(stack, r"docker compose exec --no-TTY postgres pg_dump .*")
    stack.ask(f"/dags/large/dagRuns/{before[0]}", method="DELETE")
    shell(stack, r"docker compose stop api-server .*")
    day.exits = {service: found["State"]["ExitCode"] for service, found in everyone(stack).items()}
    shell(stack, r"docker compose exec --no-TTY postgres pg_restore .*")
    stack.compose("up", "--detach", "--wait", timeout_seconds=600)
    day.restored = (before, sorted(stack.runs("large")))
    day.restarts = {service: found["RestartCount"] for service, found in everyone(stack).items()}


def take_down_and_bring_up(stack: Stack, day: Day) -> None:
    stack.timed_compose("down seconds", "down", timeout_seconds=700)
    stack.timed_compose("second up seconds", "up", "--detach", "--wait", timeout_seconds=600)
    day.workers.append(len(stack.containers("worker")))
    day.again = cli(stack, "verify", DATASET)


def take_away(stack: Stack, day: Day) -> None:
    stack.compose("down", "--volumes", timeout_seconds=300)
    kinds = (
        ("ps", "--all", "--quiet"),
        ("volume", "ls", "--quiet"),
        ("network", "ls", "--quiet", "--filter", "type=custom"),
    )
    day.leftovers = "".join(stack.docker(*words) for words in kinds)


# --- means


def cli(stack: Stack, *words: str) -> str:
    """Run the project's command as docs/deploy.md says."""
    return stack.compose("run", "--rm", "--no-TTY", "cli", *words)


def shell(stack: Stack, pattern: str) -> None:
    """Run the command of docs/deploy.md that a pattern fits, as it stands there."""
    page = (stack.project / "docs/deploy.md").read_text()
    (command,) = re.findall(rf"^{pattern}$", page, flags=re.MULTILINE)
    stack.engine.run("bash", "-c", command, directory=stack.project, timeout_seconds=700)


def client(stack: Stack) -> Any:
    """Return a client of the bundled S3, as someone on this machine uses it."""
    return boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{stack.setting('S3_PORT')}", region_name="us-east-1",
        aws_access_key_id=stack.setting("S3_ACCESS_KEY"), aws_secret_access_key=stack.setting("S3_SECRET_KEY"),
        config=Config(
            s3={"addressing_style": "path"}, proxies={}, connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 2},
        ),
    )  # fmt: skip


def memory(stack: Stack) -> dict[str, int]:
    """Return the MiB that each service's containers have now."""
    lines = stack.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").splitlines()
    found = (re.match(r"\S+?-([a-z0-9-]+)-[0-9]+ ([0-9.]+)([MG])iB", line) for line in lines)
    return {match[1]: round(float(match[2]) * {"M": 1, "G": 1024}[match[3]]) for match in found if match}


def everyone(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return what docker knows of each service's container; of one, where there are several."""
    found = map(stack.inspect, stack.compose("ps", "--all", "--quiet").split())
    return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}


def tries(tasks: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(task["state"], task["try_number"]) for task in tasks}


# --- what came of it


def test_without_env_one_line_says_what_to_run(day: Day) -> None:
    assert len(day.without_env.strip().splitlines()) == 1, day.without_env
    assert "python3 deploy/make_secrets.py" in day.without_env


def test_one_build_makes_one_image(day: Day) -> None:
    assert [image for image in day.images if image["Repository"] == "<none>"] == []
    assert [image["Tag"] for image in day.images if image["Repository"] == IMAGE] == ["latest"]


def test_the_image_is_no_larger_than_the_page_says(stack: Stack, day: Day) -> None:
    assert stack.figures["image MB"] - stack.figures["base MB"] < 2600, stack.figures["largest packages MB"]


def test_the_image_is_nobody_s_and_tells_what_it_holds(day: Day) -> None:
    config = day.image["Config"]
    assert config["User"] == "50000:0"
    assert not config.get("Healthcheck")  # docker-compose.yml has one for each service
    assert config["Labels"]["org.aesthetics-ops.sbom"] == "/opt/aesthetics/sbom.json"


def test_every_service_is_well_and_may_do_no_more_than_it_must(day: Day) -> None:
    for service in LONG_RUNNING:
        state = day.states[service]["State"]
        assert state["Status"] == "running", service
        assert state.get("Health", {}).get("Status", "healthy") == "healthy", service
        assert day.states[service]["RestartCount"] == 0, service
    for service in {*AIRFLOW} & {*day.states}:
        host = day.states[service]["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"]), service
    for service in ("migrate", "admin", "sample"):
        assert day.states[service]["State"]["ExitCode"] == 0, service


def test_the_s3_listens_to_others_on_two_ports_alone(day: Day) -> None:
    assert day.listening == [8333, 18333]


def test_the_first_night_is_a_build_that_one_can_see(day: Day) -> None:
    assert [*day.first.values()] == ["success"]
    assert next(iter(day.first)).startswith("scheduled__")
    ended = {task["task_id"]: task["state"] for task in day.first_tasks if task["state"] != "skipped"}
    assert ended == dict.fromkeys(("plan", "download_and_convert", "validate", "publish"), "success")
    assert {task["try_number"] for task in day.first_tasks if task["state"] == "success"} == {1}


def test_the_command_line_has_the_keys_of_the_store(day: Day) -> None:
    assert "listed" in day.shown
    assert "77" in day.shown


def test_no_first_task_waits_for_an_api_server_that_is_not_ready(day: Day) -> None:
    assert "celery@" in day.told  # it is the worker's log
    assert re.findall(r"^.*(?:timed out|ReadTimeout|ConnectTimeout).*$", day.told, flags=re.MULTILINE) == []


def test_pages_are_for_who_has_logged_in(day: Day) -> None:
    assert {path: statuses[0] for path, statuses in day.pages.items()} == dict.fromkeys(day.pages, 200)
    assert {path: statuses[1] for path, statuses in day.pages.items() if path != "/"} == dict.fromkeys(
        {*day.pages} - {"/"}, 401
    )


def test_as_many_workers_run_as_env_says(day: Day) -> None:
    assert day.workers == [1, 2, 2]


def test_a_killed_worker_costs_its_tasks_one_try_and_the_build_ends_well(day: Day) -> None:
    _, lost, tasks = day.lost
    again = [task for task in tasks if task["try_number"] > 1]
    assert len(again) == 1
    assert (again[0]["task_id"], again[0]["state"], again[0]["try_number"]) == ("download_and_convert", "success", 2)
    assert again[0]["hostname"] != lost
    assert {task["state"] for task in tasks} == {"success"}


def test_an_update_costs_no_task_its_try(day: Day) -> None:
    _, tasks = day.updated
    assert tries(tasks) == {("success", 1)}


def test_an_update_of_the_code_leaves_the_environment_s_layer_alone(day: Day) -> None:
    # base, Debian's packages, user, environment
    assert day.rebuilt[:4] == day.layers[:4]
    assert day.rebuilt[4] != day.layers[4]  # the package's


def test_a_task_runs_as_a_pod_of_kubernetes_would(day: Day) -> None:
    status, said = day.pod
    assert status == 0, said[-3000:]
    states = {task["task_id"]: (task["state"], task["try_number"]) for task in day.pod_tasks if task["map_index"] < 1}
    assert states["plan"] == ("success", 1), said[-3000:]


def test_a_dump_brings_back_what_was_lost(day: Day) -> None:
    before, after = day.restored
    assert len(before) == 2
    assert after == before


def test_nothing_breaks_or_is_killed_while_a_dump_is_read_back(day: Day) -> None:
    assert {*day.exits} >= {*LONG_RUNNING}
    assert {service: status for service, status in day.exits.items() if status == 137} == {}
    assert {service: count for service, count in day.restarts.items() if count} == {}


def test_data_outlives_down(day: Day) -> None:
    assert "77 records, all as the manifest says" in day.again


def test_down_with_volumes_leaves_nothing(day: Day) -> None:
    assert day.leftovers.strip() == ""


def test_the_run_takes_no_more_disk_than_it_may(guard: Guard, day: Day) -> None:
    assert 3_000_000_000 < guard.peak_bytes < MOST_BYTES  # less than the image alone would be no measurement
