"""What the tests of the deployment share: a filled .env, and the answers of the installed Airflow, asked once."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.compose import AIRFLOW, COMPOSE, interpolate
from tests.support.kubernetes import KUBERNETES, option_of
from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What make_secrets.py writes."""
    path = tmp_path_factory.mktemp("deploy") / "env"
    subprocess.run([sys.executable, ROOT / "deploy" / "make_secrets.py", path], check=True, capture_output=True)
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", path.read_text(), flags=re.MULTILINE))


@pytest.fixture(scope="session")
def deployed(secrets: dict[str, str]) -> dict[str, Any]:
    """docker-compose.yml with the variables replaced."""
    return interpolate(COMPOSE, secrets)


@pytest.fixture(scope="session")
def airflow(deployed: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the installed Airflow, with the deployment's environment, says of every setting and command."""
    environment = deployed["x-airflow-common"]["environment"]
    values = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
    pod = yaml.safe_load((KUBERNETES / "pod_template.yaml").read_text())
    names = [
        *(f"{section}/{key}" for section, part in values["config"].items() for key in part),
        *filter(None, map(option_of, environment)),
        *filter(None, (option_of(item["name"]) for item in pod["spec"]["containers"][0]["env"])),
        *filter(None, map(option_of, re.findall(r"AIRFLOW__\w+", (ROOT / "Dockerfile").read_text()))),
    ]
    commands = [deployed["services"][name]["command"] for name in AIRFLOW]
    question = {"options": names, "commands": [command for command in commands if command[0] == "airflow"]}
    home = tmp_path_factory.mktemp("airflow")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("probe.py")],
        env=os.environ | environment | {"AIRFLOW_HOME": str(home), "AIRFLOW_CONFIG": str(home / "airflow.cfg")},
        input=json.dumps(question), capture_output=True, text=True, check=False,
    )  # fmt: skip
    answers = re.findall(r"^ANSWER (.*)$", done.stdout, flags=re.MULTILINE)
    assert answers, done.stdout + done.stderr
    return json.loads(answers[-1]) | {"asked": question}
