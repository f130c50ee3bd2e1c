"""Which trainings' pins stay: the newest, those that a pointer names, and everything that is somebody else's."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.moves import Given
from aesthetics_ops.dataset.pointers import read_pins
from aesthetics_ops.errors import PublishConflictError, StoreUnavailableError, TrainingFailedError
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.training import stage
from aesthetics_ops.training.pins import keep_newest, pin_name, pin_training
from aesthetics_ops.training.stage import assign, keep_version, train_version
from aesthetics_ops.training_settings import training_settings
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.pointing import pin, point, unpin

GIVEN = Given("somebody", "a reason")


class Nights:
    """A dataset that gets a version a night, and a trainer of each."""

    def __init__(self, url: str | None = None) -> None:
        self.url = url or f"memory://{uuid.uuid4().hex}/dataset/"
        self.store: Store = open_store(self.url)
        self.dataset = SyntheticDataset(self.store)
        self.photos = 20

    def publish(self) -> str:
        self.photos += 1
        return self.dataset.publish(synthetic_photos(self.photos)).version

    def train(self, version: str | None = None, *, run: str = "run", **values: Any) -> str:
        values = {"train": "tests.support.trainers:returning", **values}
        settings = training_settings(values, self.url, "here")
        assignment = assign(self.store, version, settings)
        keep_version(self.store, assignment, run=f"{run} {assignment.version}")
        train_version(assignment, settings, run=f"{run} {assignment.version}")
        return assignment.version

    def night(self, **values: Any) -> str:
        return self.train(self.publish(), **values)

    def pinned(self) -> list[str]:
        return sorted(found.version for found in read_pins(self.store))


@pytest.fixture
def nights() -> Nights:
    return Nights()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_newest_trainings_alone_keep_their_pins_where_that_is_asked_for(nights: Nights, count: int) -> None:
    versions = [nights.night(keep_pins=count) for _ in range(5)]
    assert nights.pinned() == versions[-count:]


def test_without_the_option_all_stay(nights: Nights) -> None:
    versions = [nights.night() for _ in range(4)]
    assert nights.pinned() == versions
    last = nights.night(keep_pins=1)
    assert nights.pinned() == [last], "those from before count too"


def test_an_expiry_takes_what_was_let_go(nights: Nights) -> None:
    versions = [nights.night(keep_pins=2) for _ in range(4)]
    nights.store.delete(nights.store.list("log/")["key"].to_pylist())  # as if the moves were long ago
    gone = expire_versions(nights.store, keep=1, older_than=None, now=datetime(2027, 6, 1, tzinfo=UTC))
    assert [info for info in versions if info in gone.versions] == versions[:2]


def test_nobody_elses_pin_goes(nights: Nights) -> None:
    first = nights.night(keep_pins=1, url=f"{nights.url.rstrip('/')}-other/")
    pin(nights.store, "training-of-mine", first, GIVEN)
    pin(
        nights.store,
        "paper",
        first,
        Given("x", f"a model is trained on it: {nights.url.rstrip('/')}-training/{first}/"),
    )
    for _ in range(2):
        last = nights.night(keep_pins=1)
    assert nights.pinned() == [first, first, first, last]


def test_a_training_that_a_pointer_names_keeps_its_pin(nights: Nights) -> None:
    first = nights.night(keep_pins=1)
    point(nights.store, "prod", first, GIVEN)
    second, third = nights.night(keep_pins=1), nights.night(keep_pins=1)
    assert nights.pinned() == [first, third]
    point(nights.store, "prod", third, GIVEN)
    assert nights.pinned() == [first, third]
    fourth = nights.night(keep_pins=1)
    assert nights.pinned() == [third, fourth]
    assert second not in nights.pinned()


def test_a_training_that_fails_lets_nothing_go_and_its_own_pin_goes_with_the_older_ones(nights: Nights) -> None:
    first = nights.night(keep_pins=1)
    with pytest.raises(TrainingFailedError):
        nights.night(keep_pins=1, train="tests.support.faulty_trainers:two_lines")
    assert first in nights.pinned()
    assert len(nights.pinned()) == 2
    assert nights.pinned() != [last := nights.night(keep_pins=1)]
    assert nights.pinned() == [last]


def test_two_runs_of_one_version_are_one_training(nights: Nights) -> None:
    first = nights.night(keep_pins=2)
    nights.train(first, run="again", seed=1, keep_pins=2)
    second = nights.night(keep_pins=2)
    assert nights.pinned() == [first, first, second]
    third = nights.night(keep_pins=2)
    assert nights.pinned() == [second, third]


def test_an_old_version_that_is_trained_on_by_hand_keeps_its_pin_and_that_of_the_newest(nights: Nights) -> None:
    old = nights.publish()
    newest = nights.night(keep_pins=2)
    nights.train(old, keep_pins=2)
    assert nights.pinned() == [old, newest]


def test_a_training_that_began_later_is_left_alone(nights: Nights) -> None:
    first, second = nights.publish(), nights.publish()
    url = f"{nights.url.rstrip('/')}-training/"
    for version in (first, second):
        pin_training(nights.store, version, f"{url}{version}/", run="r")
    assert keep_newest(nights.store, first, url, count=1, run="r") == []
    assert nights.pinned() == [first, second]
    assert keep_newest(nights.store, second, url, count=1, run="r") == [pin_name("r", first, f"{url}{first}/")]


def test_a_pin_that_went_while_it_was_trained_is_made_again(nights: Nights) -> None:
    version = nights.publish()
    url = f"{nights.url.rstrip('/')}-training/"
    unpin(nights.store, pin_training(nights.store, version, f"{url}{version}/", run="r").name, GIVEN)
    keep_newest(nights.store, version, url, count=1, run="r")
    assert nights.pinned() == [version]


@pytest.mark.parametrize("method", ["list", "delete", "put_if_absent", "get"])
def test_a_store_that_says_no_afterwards_undoes_no_training(
    nights: Nights, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nights.night(keep_pins=1)

    def refuse(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("the store is away")

    def without(dataset: Store, *arguments: Any, **more: Any) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr(type(dataset), method, refuse)
            return keep_newest(dataset, *arguments, **more)

    monkeypatch.setattr(stage, "keep_newest", without)
    last = nights.night(keep_pins=1)
    assert "the training is done; pins of older ones stay until the next: " in caplog.text
    assert last in nights.pinned()
    monkeypatch.undo()
    assert nights.night(keep_pins=1) == nights.pinned()[-1]
    assert len(nights.pinned()) == 1


def test_two_trainers_of_one_version_never_share_a_pin(nights: Nights) -> None:
    version = nights.publish()
    for name in ("one", "two"):
        nights.train(version, url=f"{nights.url.rstrip('/')}-{name}/", keep_pins=1)
    assert nights.pinned() == [version, version]


def test_a_person_does_not_get_a_trainings_pin_for_their_own(nights: Nights) -> None:
    version = nights.night()
    (found,) = read_pins(nights.store)
    with pytest.raises(PublishConflictError, match=r"is that of a training, .* which may let it go; take another name"):
        pin(nights.store, found.name, version, GIVEN)
    unpin(nights.store, found.name, GIVEN)
    pin(nights.store, found.name, version, GIVEN)
    nights.train(version, seed=1, keep_pins=1)
    nights.night(keep_pins=1)
    assert version in nights.pinned(), "a person's, whatever its name"


def test_the_command_takes_it(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nights = Nights(f"{tmp_path.as_uri()}/dataset/")
    words = ["train", nights.url, "--train", "tests.support.trainers:returning", "--keep-pins", "1"]
    for _ in range(2):
        version = nights.publish()
        assert main(words) == 0
    assert nights.pinned() == [version]
    capsys.readouterr()
    for wrong in ("0", "-1", "x", "1.5"):
        assert main([*words[:-1], wrong]) == 2
        assert f"keep_pins is {wrong!r}" in capsys.readouterr().err
