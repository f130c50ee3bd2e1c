"""What a night costs that changes little: photos read, bytes, CPU, with what the parent has copied and without.

    .venv/bin/python benchmarks/nightly.py
    .venv/bin/python benchmarks/nightly.py --photos 2400 --shard-mib 32 --encoding keep reencode

The photos are the licensed ones in `samples/`, each many times with a comment of its own, 97 kB on average, in memory.  A first version is
published; then each pattern of change is planned, converted and validated twice: as it is, and with every photo read from its source.  Nothing is
published then, so that each pattern starts from the same version.  CPU is that of this process, on as many cores as there are.
"""

import argparse
import hashlib
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pyarrow as pa

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.pipeline import convert_build, validate_build
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.publishing.publish import publish_build
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.store import Store, StoredObject, open_store
from aesthetics_ops.testing.stores import WrappedStore

SAMPLES = sorted((Path(__file__).parents[1] / "samples" / "photos").glob("*.jpg"))
_CUT_OFF = "959620.jpg"
_times = (datetime(2026, 1, 1, 2, tzinfo=UTC) + timedelta(minutes=minute) for minute in count())


class Metered(WrappedStore):
    """Another store, and how much was read of it."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.gets = self.ranges = self.bytes = 0

    def get(self, key: str) -> StoredObject:
        """Return the object, counted."""
        found = super().get(key)
        self.gets += 1
        self.bytes += len(found.data)
        return found

    def get_range(self, key: str, offset: int, length: int) -> bytes | memoryview:
        """Return the range, counted."""
        self.ranges += 1
        self.bytes += length
        return super().get_range(key, offset, length)


class Photos(Metered):
    """Photos whose ETags are MD5s, as those of S3: who writes the same bytes again has changed nothing."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.etags: dict[str, str] = {}

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write a photo."""
        self.etags[key] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        super().put(key, data)

    def get(self, key: str) -> StoredObject:
        """Return a photo."""
        return replace(super().get(key), etag=self.etags[key])

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        """Return what S3 would."""
        found = super().list(prefix)
        return found.set_column(2, "etag", pa.array([self.etags[key] for key in found["key"].to_pylist()]))


@dataclass
class World:
    """Photos and scores in memory, and a version made of them."""

    settings: BuildSettings
    photos: Photos
    place: Store
    scores: dict[str, float]

    def build(self) -> tuple[Build, BuildPlan, Metered]:
        """Plan a build; its dataset and its photos are counted from now on."""
        created_at = next(_times)
        dataset = Metered(open_store(self.settings.dataset))
        build = Build(f"{created_at:%Y%m%dT%H%M}", self.settings, self.photos, (self.place,), dataset)
        plan = plan_build(build, created_at=created_at, partitions=1)
        self.photos.gets = self.photos.bytes = dataset.ranges = dataset.bytes = 0
        return build, plan, dataset

    def put(self, number: int, *, edition: int = 0) -> str:
        """Write a photo; return its key."""
        names = [path for path in SAMPLES if path.name != _CUT_OFF]
        data = names[number % len(names)].read_bytes()
        text = f"{number:08}-{edition:03}".encode()
        key = f"{number:08}.jpg"
        self.photos.put(key, data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:])
        return key

    def write_scores(self) -> None:
        """Write the score file."""
        self.place.put("scores.csv", "\n".join(["id,score", *(f"{k},{v}" for k, v in self.scores.items())]).encode())


def make_world(photos: int, shard_bytes: int, encoding: str) -> World:
    """Make photos, and publish the first version."""
    url = f"memory://nightly-{encoding}/"
    places = {"photos": f"{url}photos/", "labels": f"{url}scores.csv", "dataset": f"{url}dataset/"}
    # a photo here has many copies
    more = {"shard_bytes": shard_bytes, "encoding": encoding, "near_duplicate_distance": None}
    settings = parse_settings(places | more, where="benchmark")
    place = open_store(url)
    world = World(settings, Photos(open_store(settings.photos)), place, {})
    for number in range(photos):
        world.scores[world.put(number).removesuffix(".jpg")] = number % 90 / 10 + 1
    world.write_scores()
    build, plan, _ = world.build()
    convert_build(build, plan)
    validate_build(build, plan)
    publish_build(build, plan)
    return world


def patterns(world: World, photos: int) -> dict[str, Callable[[], Callable[[], None]]]:
    """Return changes by their names; each returns what takes it back."""
    few = range(0, photos, 1000)
    one_percent = range(0, photos, 100)

    def arrive() -> Callable[[], None]:
        new = [world.put(photos + number) for number in range(len(one_percent))]
        world.scores |= {key.removesuffix(".jpg"): 5.0 for key in new}
        world.write_scores()

        def back() -> None:
            world.photos.delete(new)
            for key in new:
                del world.scores[key.removesuffix(".jpg")]
            world.write_scores()

        return back

    def put_back(numbers: range) -> None:
        for number in numbers:
            world.put(number)

    def replaced(numbers: range) -> Callable[[], Callable[[], None]]:
        def change() -> Callable[[], None]:
            for number in numbers:
                world.put(number, edition=1)
            return lambda: put_back(numbers)

        return change

    def gone_and_replaced() -> Callable[[], None]:
        gone = [f"{number:08}.jpg" for number in one_percent[::2]]
        world.photos.delete(gone)
        replaced(one_percent[1::2])()
        return lambda: put_back(one_percent)

    def scored() -> Callable[[], None]:
        before = dict(world.scores)
        for number in one_percent:
            world.scores[f"{number:08}"] += 0.25
        world.write_scores()

        def back() -> None:
            world.scores = before
            world.write_scores()

        return back

    return {
        "nothing": lambda: lambda: None,
        "1 % arrive": arrive,
        "0.5 % go and 0.5 % are replaced, evenly spread": gone_and_replaced,
        "0.1 % are replaced, evenly spread": replaced(few),
        "1 % are scored anew, evenly spread": scored,
    }


def night(world: World, *, copies: bool) -> str:
    """Convert and validate a night; return the cells of its row."""
    build, plan, dataset = world.build()
    if not copies:  # rows that are not those that were written name no photo of the parent
        parts = tuple(part.model_copy(update={"rows_sha256": ""}) for part in plan.partitions)
        plan = plan.model_copy(update={"partitions": parts})
    converted = _cpu(lambda: convert_build(build, plan))
    photos = world.photos
    cells = (
        f"{plan.planned} of {plan.shards} | {photos.gets:,} | {photos.bytes / 1e6:.1f} | {dataset.ranges:,} | "
        f"{dataset.bytes / 1e6:.1f} | {converted:.2f}"
    )
    validated = _cpu(lambda: validate_build(build, plan))
    _forget(build, plan)
    return f"{cells} | {validated:.2f}"


def _forget(build: Build, plan: BuildPlan) -> None:
    made = {digest[:12] for part in plan.partitions for digest in part.shards}
    keys = build.dataset.list("shards/")["key"].to_pylist()
    build.dataset.delete([key for key in keys if key.rpartition("/")[2][:12] in made])


def _cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def main() -> int:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=2400)
    parser.add_argument("--shard-mib", type=int, default=32)
    parser.add_argument("--night", default="", help="only the nights whose names have this in them")
    parser.add_argument("--encoding", nargs="+", choices=("keep", "reencode"), default=["keep", "reencode"])
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(
        "| night | encoding | copied | shards made | photo GETs | MB of photos | shard ranges | MB of dataset | convert, CPU s | validate, CPU s |"
    )
    print(f"|{'---|' * 10}")
    for encoding in options.encoding:
        world = make_world(options.photos, options.shard_mib << 20, encoding)
        every = patterns(world, options.photos)
        for name, change in ((name, change) for name, change in every.items() if options.night in name):
            for copies in (False, True):
                back = change()
                print(
                    f"| {name} | {encoding} | {'yes' if copies else 'no'} | {night(world, copies=copies)} |", flush=True
                )
                back()
    return 0


if __name__ == "__main__":
    sys.exit(main())
