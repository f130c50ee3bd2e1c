"""A part of what `make test-faults` does: every fault once, some at random, and a few builds in a row."""

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from aesthetics_ops.testing.faults import FAULTS, Fault, SeenRequest
from tests.faults.soak import Soak
from tests.faults.sweep import Case, Scene, cases, open_scene, play, schedules

SEED = 1


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        yield open_scene(stack)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_one_request_breaks_nothing_and_a_rerun_heals(scene: Scene, fault: Fault) -> None:
    case = random.Random(f"{SEED}/{fault}").choice(cases(scene, [fault]))  # noqa: S311 -- no secret
    outcome = play(scene, case)
    assert outcome.violations == (), (case, outcome.said)
    assert outcome.ending != "not met", case


@pytest.mark.parametrize("fault", ["hang", "stall in the body", "cut the body"])
@pytest.mark.parametrize(("is_always", "ending"), [(False, "published"), (True, "stopped, status 3")])
def test_photos_that_all_fail_together_are_asked_for_again_or_end_the_build_with_one_line(
    scene: Scene, fault: Fault, is_always: bool, ending: str
) -> None:
    left = {request.path for request in scene.requests["first"] if request.path.startswith("/bucket/photos/")}
    assert len(left) == 12

    def choose(request: SeenRequest, _: int) -> Fault:
        if request.path not in left:
            return None
        if not is_always:
            left.discard(request.path)
        return fault

    outcome = scene.play("first", choose)
    assert (outcome.ending, outcome.violations) == (ending, ()), outcome.said
    assert ("photos/" in outcome.said and "store_timeout_s is 2" in outcome.said) == is_always


@pytest.mark.parametrize("case", schedules(6, SEED), ids=lambda case: f"{case.state}-{case.number}")
def test_faults_at_random_break_nothing_and_a_rerun_heals(scene: Scene, case: Case) -> None:
    assert play(scene, case).violations == ()


def test_builds_in_a_row_under_faults_are_whole_and_hold_no_more_at_the_end(scene: Scene) -> None:
    soak = Soak(scene.bucket, SEED)
    soak.run(10)
    assert [*soak.violations, *soak.growth()] == []
    assert soak.faults > 20
