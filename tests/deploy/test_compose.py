"""docker-compose.yml means something to Docker Compose and to the software in its images, and holds no secret."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aesthetics_ops.machine import TASKS_VARIABLE
from aesthetics_ops.settings import BuildSettings
from tests.support.compose import (
    AIRFLOW,
    COMPOSE,
    EXAMPLE,
    SERVICES,
    TEXT,
    MissingVariableError,
    interpolate,
    schema,
    size_bytes,
    strings,
    variables,
)
from tests.support.kubernetes import option_of
from tests.support.paths import ROOT

SECRETS = {name for name, value in EXAMPLE.items() if not value}
OF_COMPOSE = {"COMPOSE_PROFILES"}  # which Compose reads itself
DERIVED = {"AIRFLOW_BASE_URL"}  # empty in the example, where others decide it
COMMON = COMPOSE["x-airflow-common"]["environment"]
IN_IMAGE = "/opt/aesthetics/"
# what other images bring along, and what is asked of it here
PROGRAMS = {
    "postgres": {"pg_isready"},
    "redis": {"redis-server", "redis-cli", "grep"},
    "chrislusf/seaweedfs": {"server", "wget"},
}
WEED_SERVER = {
    "ip", "ip.bind", "s3", "s3.ip.bind", "s3.port", "s3.port.iceberg", "master.volumePreallocate", "volume.preStopSeconds",
}  # fmt: skip


def image_of(service: dict[str, Any]) -> str:
    return service["image"].partition(":")[0]


def health(service: dict[str, Any]) -> list[str]:
    """The health check's command, as a list of words."""
    kind, *words = service["healthcheck"]["test"]
    assert kind in {"CMD", "CMD-SHELL"}
    return words if kind == "CMD" else words[0].split()


def test_the_file_obeys_the_compose_specification(deployed):
    validator = jsonschema.Draft202012Validator(schema())
    for document in (COMPOSE, deployed):
        assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []
    misspelt = {"services": {"worker": SERVICES["worker"] | {"healtcheck": {}}}}
    assert not validator.is_valid(misspelt)


def test_every_part_of_airflow_has_its_service():
    assert {"api-server", "scheduler", "dag-processor", "triggerer", "worker", "postgres", "redis", "s3"} <= {*SERVICES}


def test_services_wait_for_services_that_can_become_what_is_waited_for():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            # what is in a profile is not always there
            if how.get("required", True):
                assert set(SERVICES[other].get("profiles", [])) <= set(service.get("profiles", [])), (
                    f"{name} on {other}"
                )
            match how["condition"]:
                case "service_healthy":
                    assert "healthcheck" in SERVICES[other]
                case "service_completed_successfully":
                    assert SERVICES[other]["restart"] == "no"
                case condition:
                    pytest.fail(f"{name} waits for {other} with {condition!r}")


def test_nothing_of_airflow_starts_before_the_database_is_migrated():
    for name, service in AIRFLOW.items():
        if service["command"][0] == "airflow" and name != "migrate":
            assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name
    assert SERVICES["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_volumes_are_declared_and_used():
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if isinstance(mount, str)}
    assert named == {*COMPOSE["volumes"]}
    sources = {
        interpolate(mount["source"], EXAMPLE) for mount in mounts if isinstance(mount, dict) and "source" in mount
    }
    assert [source for source in sources if not (ROOT / source).is_file()] == []


def test_every_variable_is_explained_in_the_example_and_every_line_there_is_used():
    asked = variables()
    assert {*asked} | OF_COMPOSE == {*EXAMPLE}
    for name, uses in asked.items():
        kinds = {kind for kind, _ in uses}
        if name in SECRETS | {"STACK_NAME"}:
            assert kinds == {"?"}, f"{name} is a secret and must be asked for with :?"
        elif name in DERIVED:
            assert EXAMPLE[name] == '""', f"{name} has a default made of others, and is empty in .env.example"
        else:
            assert {word for _, word in uses} == {EXAMPLE[name]}, f"{name} has another default in .env.example"
    # what is left, once every variable is replaced, is no variable that was overlooked
    assert not [text for text in strings(interpolate(COMPOSE, EXAMPLE | dict.fromkeys(SECRETS, "x"))) if "$" in text]


def test_without_its_secrets_nothing_starts():
    for name in SECRETS:
        filled = dict.fromkeys(SECRETS, "x") | {"STACK_NAME": "aesthetics", name: ""}
        with pytest.raises(MissingVariableError, match=f"{name}: run deploy/make_secrets.py"):
            interpolate(COMPOSE, filled)


def test_without_an_env_file_compose_stops_at_the_first_line_and_says_what_to_run():
    # Compose needs the project's name before it looks at anything else
    with pytest.raises(MissingVariableError, match=r"^STACK_NAME: first run python3 deploy/make_secrets\.py"):
        interpolate(COMPOSE["name"], {})


def test_the_address_that_logins_return_to_has_the_port_that_is_published(secrets):
    def address(**changes: str) -> str:
        return interpolate(COMMON["AIRFLOW__API__BASE_URL"], secrets | changes)

    assert address() == "http://localhost:8080"
    assert address(AIRFLOW_PORT="18080") == "http://localhost:18080"
    assert address(AIRFLOW_PORT="18080", AIRFLOW_BASE_URL="https://photos.example.org") == "https://photos.example.org"


def test_one_service_builds_the_image_and_none_asks_a_registry_for_it():
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert len(AIRFLOW) >= 9
    assert {service["pull_policy"] for service in AIRFLOW.values()} == {"never"}


def test_no_part_of_airflow_can_write_into_the_image(deployed):
    for name, service in deployed["services"].items():
        if name in AIRFLOW:
            assert service["read_only"] is True, name
            assert service["tmpfs"] == ["/tmp:size=128m,mode=1777"], name  # noqa: S108
    # which Airflow writes as it starts
    assert COMMON["AIRFLOW_CONFIG"] == "/tmp/airflow.cfg"  # noqa: S108


def test_up_keeps_as_many_workers_as_env_says(secrets):
    workers = SERVICES["worker"]["deploy"]["replicas"]
    assert interpolate(workers, secrets) == "1"
    assert interpolate(workers, secrets | {"WORKERS": "3"}) == "3"


def test_the_command_line_has_the_credentials_of_the_connection(deployed):
    given = deployed["services"]["cli"]["environment"]
    connection = json.loads(deployed["x-airflow-common"]["environment"]["AIRFLOW_CONN_AWS_DEFAULT"])
    assert given["AWS_ACCESS_KEY_ID"] == connection["login"]
    assert given["AWS_SECRET_ACCESS_KEY"] == connection["password"]
    assert given["AWS_ENDPOINT_URL"] == connection["extra"]["endpoint_url"]
    assert given["AWS_REGION"] == given["AWS_DEFAULT_REGION"] == connection["extra"]["region_name"]
    assert deployed["services"]["cli"]["entrypoint"][-1] == "aesthetics-ops"
    assert "restart" not in deployed["services"]["cli"] or deployed["services"]["cli"]["restart"] == "no"


def test_an_api_server_that_is_away_for_a_minute_costs_no_task_its_try(airflow):
    patience = airflow["patience"]
    least, most, waits = patience["least_wait"], patience["most_wait"], patience["tries"] - 1
    # a running task gives up after so many heartbeats, each of them with all its tries: 60 s when every wait is short
    assert patience["failed_heartbeats"] * waits * least >= 60
    # a task that is to begin has the tries of one request, whose waits are drawn from least to 2, 4, 8 ... seconds
    assert sum((least + min(most, 2.0**number)) / 2 for number in range(waits)) >= 60


def test_no_secret_is_written_down():
    assert {"AIRFLOW_FERNET_KEY", "AIRFLOW_ADMIN_PASSWORD", "POSTGRES_PASSWORD", "REDIS_PASSWORD"} <= SECRETS
    bare = re.sub(r"\$\{[^}]*\}", "$", re.sub(r"#.*", "", TEXT))  # `$` is now all that is left of a variable
    words = (
        r"(?i)(?:password|secret|secret_key|fernet_key|access_key(?:_id)?|requirepass|login|auth)\"?(?::|=|,|\n\s+-)"
    )
    values = re.findall(words + r"\s*\"?([^\s\",}]+)", bare)
    assert len(values) >= 9
    assert {*values} == {"$"}
    for url in re.findall(r"//[^\s@]*@", TEXT):
        assert re.fullmatch(r"//(airflow)?:\$\{[A-Z_]+:\?[^}]*\}@", url), url


def test_what_is_published_is_published_on_this_machine_alone(deployed):
    published = {name: service["ports"] for name, service in deployed["services"].items() if "ports" in service}
    assert {*published} == {"api-server", "s3"}  # and no fixed port on the worker, of which there may be many
    for name, ports in published.items():
        for port in ports:
            assert re.fullmatch(r"127\.0\.0\.1:[0-9]+:[0-9]+", port), f"{name} publishes {port}"


def test_there_may_be_many_workers():
    worker = SERVICES["worker"]
    assert not {"container_name", "hostname", "ports"} & {*worker}
    assert "--celery-hostname" not in worker["command"]


def test_every_setting_exists_in_this_airflow_and_has_a_value_of_its_type(airflow, deployed):
    unknown = [name for name in airflow["asked"]["options"] if airflow["types"][name] is None]
    assert unknown == []
    environment = deployed["x-airflow-common"]["environment"]
    checks = {"integer": r"-?[0-9]+", "float": r"-?[0-9.]+", "boolean": r"(?i)true|false"}
    for name, value in environment.items():
        option = option_of(name)
        if option and airflow["types"][option] in checks:
            assert re.fullmatch(checks[airflow["types"][option]], value), f"{name} is {value!r}"


def test_environment_is_one_mapping_of_texts():
    assert all(isinstance(value, str) for value in COMMON.values())
    for name, service in AIRFLOW.items():
        given = service["environment"]
        assert given == {} or name == "cli" or COMMON.items() <= given.items(), name
    # paths belong to the image, so that this mapping can be used without it
    assert [name for name, value in COMMON.items() if "/opt/" in value] == ["AESTHETICS_CONFIG"]


def test_every_airflow_command_is_one_that_airflow_understands(airflow):
    assert len(airflow["asked"]["commands"]) >= 7
    assert airflow["refused"] == []


def test_scripts_that_are_run_are_in_the_image():
    for name, service in AIRFLOW.items():
        for command in (service["command"], health(service) if "healthcheck" in service else ["airflow"]):
            assert "entrypoint" in service or command[0] in {"airflow", "python"}, f"{name} runs {command[0]}"
            for word in command[1:]:
                if word.startswith("/"):
                    assert word.startswith(IN_IMAGE), f"{name}: {word}"
                    assert (ROOT / word.removeprefix(IN_IMAGE)).exists(), f"{name}: {word}"


def test_health_checks_ask_for_the_service_that_they_stand_in():
    for name in ("api-server", "scheduler", "dag-processor", "triggerer", "worker"):
        assert health(SERVICES[name])[-1] == name
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_other_images_are_pinned_and_have_the_programs_that_are_run():
    for name, service in SERVICES.items():
        if name in AIRFLOW:
            continue
        assert re.search(r":[0-9]+(\.[0-9]+)*(-bookworm)?$", service["image"]), service["image"]
        program, *_ = service.get("command", ["pg_isready"])
        shell = {word for word in health(service) if re.fullmatch(r"[a-z_]+(-[a-z]+)?", word)} - {"ping", "localhost"}
        for word in {program, health(service)[0], *(shell & {"grep", "curl", "wget", "nc"})}:
            assert word in PROGRAMS[image_of(service)], f"{name} runs {word}"


def test_the_bundled_s3_checks_keys_and_shows_nothing_but_s3(deployed):
    s3 = deployed["services"]["s3"]
    version = [int(part) for part in s3["image"].rpartition(":")[2].split(".")]
    assert version >= [4, 40]  # conditional writes are atomic
    found = (re.fullmatch(r"-([A-Za-z0-9.]+)(?:=(.*))?", word) for word in s3["command"][1:])
    flags = {flag[1]: flag[2] for flag in found}
    assert {*flags} == WEED_SERVER
    assert (flags["ip.bind"], flags["s3.ip.bind"], flags["s3.port"]) == ("127.0.0.1", "0.0.0.0", "8333")  # noqa: S104
    assert flags["s3.port.iceberg"] == "0"  # a catalogue that asks for no key
    assert s3["ports"][0].endswith(":" + flags["s3.port"])
    assert s3["environment"]["AWS_ACCESS_KEY_ID"]
    assert s3["environment"]["AWS_SECRET_ACCESS_KEY"]


def test_the_connection_leads_to_the_bundled_s3(airflow, secrets):
    assert airflow["connection"] == {
        "type": "aws", "key": secrets["S3_ACCESS_KEY"], "secret": secrets["S3_SECRET_KEY"],
        "endpoint": "http://s3:8333", "region": "us-east-1",
    }  # fmt: skip


def test_airflow_and_celery_reach_the_database_with_a_driver_that_is_installed(airflow):
    assert airflow["database"] == ["psycopg2", "psycopg2"]


def test_hosts_in_the_environment_are_services(deployed):
    environment = deployed["x-airflow-common"]["environment"]
    hosts = {
        host for text in strings(environment) for host in re.findall(r"(?:@|//)([a-z0-9-]+):[0-9]{4}(?:/|\"|$)", text)
    }
    assert hosts - {"localhost"} == {"postgres", "redis", "api-server", "s3"}


def test_a_lost_worker_is_noticed_early_and_a_slow_one_is_not_taken_for_lost(airflow):
    heartbeats = airflow["heartbeats"]
    assert heartbeats["timeout"] <= 180
    assert heartbeats["timeout"] >= 10 * heartbeats["every"]
    # a slot stays taken for as long where the end of its task was missed
    assert heartbeats["every"] == 1


def test_work_is_handed_out_once_and_to_whoever_is_free(airflow, secrets):
    celery = airflow["celery"]
    assert celery["broker_transport_options"]["visibility_timeout"] == 7 * 86400
    assert celery["task_acks_late"] is True
    assert celery["worker_prefetch_multiplier"] == 1
    assert celery["worker_concurrency"] == int(secrets["WORKER_CONCURRENCY"])
    assert COMMON[TASKS_VARIABLE] == COMMON["AIRFLOW__CELERY__WORKER_CONCURRENCY"]  # they share its cores
    # partitions wait in Celery's queue for a slot
    assert float(COMMON["AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT"]) >= 3600
    assert int(COMMON["AIRFLOW__CORE__PARALLELISM"]) >= int(COMMON["AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG"]) >= 64


def test_a_worker_has_room_for_its_scratch_and_its_tasks(deployed, secrets):
    worker = deployed["services"]["worker"]
    scratch = next(mount for mount in worker["volumes"] if isinstance(mount, dict) and mount["type"] == "tmpfs")
    assert worker["environment"]["TMPDIR"] == scratch["target"]
    shard_bytes = BuildSettings.model_fields["shard_bytes"].default
    slots = int(secrets["WORKER_CONCURRENCY"])
    room = size_bytes(scratch["tmpfs"]["size"])
    assert room >= slots * 4 * shard_bytes
    # measured: 0.8 GiB for a worker with TensorFlow, 1.3 GiB at most for a task on photos of 24 megapixels
    memory = size_bytes(worker["deploy"]["resources"]["limits"]["memory"])
    assert memory >= room + (1 << 30) + slots * (3 << 29)
    # a limit above the machine's cores is an error to Docker
    assert worker["deploy"]["resources"]["limits"]["cpus"] == "0"
    assert re.fullmatch(r"[0-9]+m", worker["stop_grace_period"])


def test_every_service_has_limits_and_its_log_ends_somewhere():
    for name, service in SERVICES.items():
        assert service["logging"]["options"]["max-size"], name
        assert service["restart"] in {"unless-stopped", "no"}, name
        if service["restart"] != "no":
            assert service["deploy"]["resources"]["limits"]["memory"], name


def test_airflow_runs_without_privileges():
    for service in AIRFLOW.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "user" not in service  # the image's own, who is not root
    assert re.search(r"^USER 50000:0$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)


def test_every_part_of_airflow_has_time_to_stop():
    # a triggerer waits 10 s for its child, all that Docker gives where nothing is said, and is killed then
    given = {name: service["stop_grace_period"] for name, service in AIRFLOW.items() if name != "worker"}
    assert set(given.values()) == {"30s"}


def test_the_schema_says_where_it_is_from():
    assert "compose-spec" in Path(__file__).with_name("README.md").read_text()
