"""docs/deploy.md tells commands that Compose understands, about services that exist, in the order that does no harm."""

import re

from tests.support.compose import AIRFLOW, EXAMPLE, SERVICES
from tests.support.paths import ROOT

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
COMMANDS = [
    words.strip()
    for inline, line in re.findall(r"`(docker compose [^`]+)`|^(docker compose .+)$", GUIDE, flags=re.MULTILINE)
    for words in (inline or line).split("&&")
]
# of each subcommand, how many services it names: the rest is a command inside the container
NAMES = {"stop": None, "rm": None, "logs": None, "restart": None, "exec": 1, "run": 1}


def services_of(command: str) -> list[str]:
    """The services that a command line names."""
    words = [word for word in command.split()[2:] if not word.startswith("-")]
    return words[1:][: NAMES[words[0]]] if words[0] in NAMES else []


def lines_after(text: str) -> list[str]:
    """The commands of the first block after a text."""
    return re.search(r"```sh\n(.*?)```", GUIDE[GUIDE.index(text) :], flags=re.DOTALL)[1].strip().splitlines()


def test_commands_name_services_that_exist():
    named = {command: services_of(command) for command in COMMANDS}
    assert sum(map(bool, named.values())) >= 9
    assert {command: found for command, found in named.items() if not {*found} <= {*SERVICES}} == {}


def test_an_update_lets_workers_end_their_tasks_before_the_api_server_goes():
    assert lines_after("## Updating") == [
        "git pull", "docker compose build", "docker compose stop worker", "docker compose up --detach",
    ]  # fmt: skip


def test_whatever_uses_the_database_is_stopped_before_it_is_read_back():
    stop, read, up = lines_after("Reading it back")
    users = {name for name, service in AIRFLOW.items() if service["restart"] != "no" and service["environment"]}
    assert {*services_of(stop)} == users
    assert stop.split()[2] == "stop"
    # on an empty database too, and the whole or nothing of it
    assert {"--clean", "--if-exists", "--single-transaction"} <= {*read.split()}
    assert up == "docker compose up --detach"


def test_the_bundled_s3_is_taken_away_with_what_fills_it():
    in_profile = {name for name, service in SERVICES.items() if service.get("profiles") == ["s3"]}
    (command,) = (command for command in COMMANDS if command.split()[2] == "rm")
    assert {*services_of(command)} == in_profile


def test_the_number_of_workers_is_a_line_of_env():
    assert "WORKERS" in EXAMPLE
    assert not [command for command in COMMANDS if "--scale" in command]


def test_who_finds_nothing_running_is_told_where_the_reason_stands():
    (command,) = (command for command in COMMANDS if command.split()[2] == "logs" and "--follow" not in command)
    assert {*services_of(command)} == {name for name, service in AIRFLOW.items() if service["restart"] == "no"} - {
        "cli"
    }


def test_what_is_said_to_be_shown_by_a_test_has_that_test():
    named = re.findall(r"`(test_\w+)`", GUIDE)
    folders = (ROOT / "tests" / "compose", ROOT / "tests" / "deploy")
    there = [
        name
        for folder in folders
        for path in folder.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    ]
    assert len(named) >= 15
    assert sorted({*named} - {*there}) == []
