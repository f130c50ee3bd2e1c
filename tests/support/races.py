"""Builds, rollbacks and expiries at once on one dataset, and what must hold afterwards.

Four rounds; `AESTHETICS_RACE_ROUNDS=50` runs fifty.
"""

import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aesthetics_ops.builds import open_build
from aesthetics_ops.conversion.partition import convert_partition
from aesthetics_ops.dataset.latest import read_latest
from aesthetics_ops.errors import DatasetBusyError, NoSuchVersionError, PublishConflictError
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.validation.partition import validate_partition
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import PHOTOS, Source, photo

ROUNDS = int(os.environ.get("AESTHETICS_RACE_ROUNDS") or 4)
# How one of several may end that are at work at once: it says so, and nothing is half done.
LOST = (PublishConflictError, DatasetBusyError, NoSuchVersionError)


@dataclass
class Race:
    """What several writers did to one dataset.

    Attributes:
        source: photos, scores and dataset.
        published: versions that a build says it published.
        failures: what may not happen.
    """

    source: Source
    published: set[str] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)

    def build(self, second: datetime, number: int) -> None:
        build = open_build(self.source.settings(), f"race-{second:%H%M%S}-{number}")
        plan = plan_build(build, created_at=second, partitions=1)
        for partition in range(len(plan.partitions)):
            convert_partition(build, plan, partition)
            validate_partition(build, plan, partition)
        ended = publish_build(build, plan, documents={})
        if ended.is_new:
            self.published.add(ended.manifest.version)

    def roll_back(self, choice: random.Random) -> None:
        versions = [info.version for info in list_versions(self.dataset)]
        rollback(self.dataset, choice.choice(versions))

    def expire(self) -> None:
        expire_versions(self.dataset, keep=2, now=datetime.now(UTC))

    def __post_init__(self) -> None:
        self.dataset = open_build(self.source.settings(), "reader").dataset

    def run(self, *actions: Callable[[], None]) -> None:
        """Start all at the same moment and wait for their ends."""
        gate = threading.Barrier(len(actions))

        def act(action: Callable[[], None]) -> None:
            gate.wait()
            try:
                action()
            except LOST:
                pass
            except BaseException as error:
                self.failures.append(error)

        threads = [threading.Thread(target=act, args=(action,)) for action in actions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def check(self) -> None:
        assert self.failures == []
        latest = read_latest(self.dataset)
        assert latest is not None
        assert verify_version(self.dataset).version == latest[0].version
        listed = list_versions(self.dataset)
        assert [info.problem for info in listed if info.problem] == []
        assert {info.version for info in listed} <= self.published
        for info in listed:
            verify_version(self.dataset, info.version)


def four_photos(url: str) -> Source:
    """A source small enough for many builds."""
    source = Source(url, {})
    for number, name in enumerate(PHOTOS[:4]):
        source.add(name, photo(name), number + 1)
    return source


def run_rounds(source: Source) -> Race:
    """Let two to four builds, a rollback and an expiry start at the same moment, again and again; check after each round."""
    race = Race(source)
    choice = random.Random(0)  # noqa: S311 -- which of them is chosen guards nothing
    now = datetime.now(UTC).replace(microsecond=0)
    race.build(now, 0)
    race.check()
    for number in range(1, ROUNDS + 1):
        source.score({PHOTOS[number % 4]: 1 + number})  # something changed, so a build has something to publish
        second = now + timedelta(seconds=number)
        builds = [lambda n=n, at=second: race.build(at, n) for n in range(choice.choice((2, 3, 4)))]
        race.run(*builds, lambda: race.roll_back(choice), race.expire)
        race.check()
    # whoever is alone afterwards publishes
    source.score({PHOTOS[0]: 9.5})
    before = set(race.published)
    race.build(now + timedelta(seconds=ROUNDS + 1), 0)
    assert race.published > before
    race.check()
    return race
