"""A part of what `make test-faults` does: commands die at some of their requests, and builds get too little of something."""

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.faults.death import Stage, open_stage
from tests.faults.shortage import play, shortages
from tests.faults.sweep import Scene, open_scene

SEED = 2
COMMANDS = ("build", "rollback", "promote", "expire", "pull", "point", "unpoint", "pin", "unpin")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        yield open_stage(stack)


@pytest.fixture(scope="module")
def scene(stage: Stage) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield open_scene(stack)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_dies_leaves_latest_whole_and_goes_on(stage: Stage, command: str, name: str) -> None:
    deaths = [one for one in stage.deaths() if (one.command, one.signal.name) == (command, name)]
    for death in random.Random(f"{SEED}/{command}").sample(deaths, 3 if command == "build" else 1):  # noqa: S311 -- no secret
        assert stage.play(death) == [], death


def test_an_expiry_that_ends_while_it_gives_its_lease_back_gives_it_back(stage: Stage) -> None:
    ends = [one for one in stage.deaths() if (one.command, one.signal.name) == ("expire", "SIGTERM")][-3:]
    for death in ends:
        assert stage.play(death) == [], death
        assert "expiry.json" not in stage.bucket.objects


@pytest.mark.parametrize("resource", ["disk", "file", "handles", "memory"])
def test_a_build_with_too_little_says_so_in_one_line_and_the_next_one_goes_on(scene: Scene, resource: str) -> None:
    every = [one for one in shortages() if one.resource == resource]
    for shortage in random.Random(f"{SEED}/{resource}").sample(every, 3):  # noqa: S311 -- no secret
        try:
            ending, wrong = play(scene, shortage)
        except PermissionError as error:
            pytest.skip(str(error))
        assert wrong == [], (shortage, ending)
