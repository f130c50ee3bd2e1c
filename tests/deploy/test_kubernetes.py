"""The values for Airflow's Helm chart and the pod of KubernetesExecutor: what can be said of them without the chart."""

import re

import pytest
import yaml

from aesthetics_ops.machine import TASKS_VARIABLE
from aesthetics_ops.settings import BuildSettings
from tests.support.compose import COMPOSE, size_bytes
from tests.support.kubernetes import KUBERNETES, option_of
from tests.support.paths import ROOT

VALUES = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
POD = yaml.safe_load((KUBERNETES / "pod_template.yaml").read_text())["spec"]
TASK = POD["containers"][0]
WORKER = VALUES["workers"]["celery"]
COMMON = COMPOSE["x-airflow-common"]["environment"]
SHARD_BYTES = BuildSettings.model_fields["shard_bytes"].default
SLOTS = int(VALUES["config"]["celery"]["worker_concurrency"])


def environment(items: list[dict]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in items}


def test_every_setting_exists_in_this_airflow(airflow):
    names = [f"{section}/{key}" for section, part in VALUES["config"].items() for key in part]
    names += [option for option in map(option_of, environment(TASK["env"])) if option]
    assert len(names) > 20
    assert [name for name in names if airflow["types"][name] is None] == []


def test_settings_have_the_values_that_compose_gives_them():
    compared = 0
    for name, value in COMMON.items():
        section, _, key = (option_of(name) or "/").partition("/")
        here = VALUES["config"].get(section, {}).get(key)
        if here is not None and "$" not in value:
            assert here.lower() == value.lower(), name
            compared += 1
    assert compared >= 8


def test_versions_are_those_of_the_image():
    lock = (ROOT / "requirements-image.lock").read_text()
    assert f"\napache-airflow=={VALUES['airflowVersion']} " in lock
    image = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    assert TASK["image"] == image
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)[1]
    assert VALUES["defaultAirflowTag"] == version
    ids = re.search(r"useradd --uid (\d+) --gid (\d+)", (ROOT / "Dockerfile").read_text()).groups()
    assert (str(VALUES["uid"]), str(VALUES["gid"])) == ids
    assert (str(POD["securityContext"]["runAsUser"]), str(POD["securityContext"]["runAsGroup"])) == ids


def test_the_executor_is_one_that_the_image_has(airflow):
    assert VALUES["executor"] == COMMON["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert "cncf-kubernetes" not in (ROOT / "requirements-image.lock").read_text()
    assert "does not have" in (KUBERNETES / "pod_template.yaml").read_text()


@pytest.mark.parametrize(
    ("slots", "resources", "volumes", "log_bytes"),
    [
        (SLOTS, WORKER["resources"], WORKER["extraVolumes"], 512 << 20),
        (1, TASK["resources"], POD["volumes"], 256 << 20),
    ],
    ids=["worker", "pod"],
)
def test_scratch_holds_what_tasks_put_there(slots, resources, volumes, log_bytes):
    scratch = next(volume for volume in volumes if volume["name"] == "scratch")["emptyDir"]
    needed = slots * 4 * SHARD_BYTES
    assert size_bytes(scratch["sizeLimit"]) >= needed
    assert "medium" not in scratch  # on disk: what is in memory would count against the memory limit
    assert size_bytes(resources["requests"]["ephemeral-storage"]) >= needed + log_bytes
    assert size_bytes(resources["limits"]["ephemeral-storage"]) >= size_bytes(
        resources["requests"]["ephemeral-storage"]
    )
    assert size_bytes(resources["limits"]["memory"]) >= (1 << 30) + slots * (3 << 29)


@pytest.mark.parametrize(
    ("env", "mounts"),
    [(WORKER["env"], WORKER["extraVolumeMounts"]), (TASK["env"], TASK["volumeMounts"])],
    ids=["worker", "pod"],
)
def test_tasks_write_to_the_scratch_volume(env, mounts):
    assert environment(env)["TMPDIR"] in {mount["mountPath"] for mount in mounts if mount["name"] == "scratch"}


def test_the_pod_may_do_no_more_than_it_must():
    allowed = TASK["securityContext"]
    assert allowed["readOnlyRootFilesystem"] is True
    assert allowed["allowPrivilegeEscalation"] is False
    assert allowed["capabilities"] == {"drop": ["ALL"]}
    # what is written all the same has a volume: Airflow's settings, logs, shards
    folders = {mount["mountPath"] for mount in TASK["volumeMounts"] if not mount.get("readOnly")}
    assert folders == {"/tmp", "/opt/airflow/logs", "/scratch"}  # noqa: S108
    assert environment(TASK["env"])["AIRFLOW_CONFIG"] == "/tmp/airflow.cfg"  # noqa: S108
    room = sum(size_bytes(volume["emptyDir"]["sizeLimit"]) for volume in POD["volumes"] if "emptyDir" in volume)
    assert room <= size_bytes(TASK["resources"]["requests"]["ephemeral-storage"])


def test_tasks_of_a_worker_share_its_cores():
    assert environment(WORKER["env"])[TASKS_VARIABLE] == VALUES["config"]["celery"]["worker_concurrency"]
    assert TASKS_VARIABLE not in environment(TASK["env"])  # a pod runs one task


def test_the_pod_sees_what_a_worker_sees():
    shared = environment(VALUES["env"])
    assert shared.items() <= environment(TASK["env"]).items()
    assert shared["AESTHETICS_CONFIG"].startswith(VALUES["volumeMounts"][0]["mountPath"] + "/")
    assert {mount["mountPath"] for mount in VALUES["volumeMounts"]} <= {
        mount["mountPath"] for mount in TASK["volumeMounts"]
    }
    assert {mount["name"] for mount in TASK["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}
    assert TASK["name"] == "base"  # KubernetesExecutor looks for this name
    assert POD["terminationGracePeriodSeconds"] == WORKER["terminationGracePeriodSeconds"] >= 300
    assert TASK["envFrom"] == [{"secretRef": {"name": "airflow-connections"}}]
    assert "name: airflow-connections" in VALUES["extraEnvFrom"]


def test_secrets_are_named_and_not_written_down():
    names = ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName")
    assert all(re.fullmatch(r"airflow-[a-z-]+", VALUES[name]) for name in names)
    assert {*VALUES["data"]} == {"metadataSecretName", "resultBackendSecretName", "brokerUrlSecretName"}
    assert not {"fernetKey", "apiSecretKey", "jwtSecret", "webserverSecretKey"} & {*VALUES}
    assert VALUES["createUserJob"]["defaultUser"]["enabled"] is False  # it would be admin/admin
    guide = (ROOT / "docs" / "deploy.md").read_text()
    for name in [
        *(VALUES[name] for name in names),
        *VALUES["data"].values(),
        "airflow-connections",
        "aesthetics-datasets",
    ]:
        assert f" {name} " in guide, f"docs/deploy.md does not say how to make {name}"


def test_groomers_run_a_script_that_the_image_has():
    for part in ("scheduler", "dagProcessor", "triggerer"):
        script = VALUES[part]["logGroomerSidecar"]["args"][1]
        assert (ROOT / script.removeprefix("/opt/aesthetics/")).is_file()
    assert WORKER["logGroomerSidecar"]["args"] == VALUES["scheduler"]["logGroomerSidecar"]["args"]


def test_logs_are_kept_apart_from_photos_and_datasets():
    logs = VALUES["config"]["logging"]["remote_base_log_folder"]
    assert environment(TASK["env"])["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"] == logs
    assert not re.search(r"/(photos|datasets)(/|$)", logs)
