"""Thirty nights over a bucket that changes: each version is what a build from nothing would make of the bucket that night.

What a version should hold is worked out apart from it: each photo of the bucket is converted alone, and its score taken from the file.
Three nights are compared with a whole build from nothing too.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BytesIO

import cv2
import numpy as np
import pytest

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.moves import Given
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.errors import GateError
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.publishing.publish import Published
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import CountingStore, FailingStore, Request
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.promote import promote
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.documents import make_reports_quick
from tests.support.nights import Source, finish, latest_version, start, version_table

GIVEN = Given("a test", "tried")
FIRST = 40  # photos
Content = dict[str, tuple[bytes, float]]


class KilledError(BaseException):
    """The process ends here."""


def tiny(seed: int) -> bytes:
    """A photo of 96 x 72 px that looks like no other."""
    noise = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)
    pixels = cv2.resize(noise, (96, 72), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes()


@dataclass
class Bucket:
    """Photos, scores, and what was asked of the stores last night.

    Attributes:
        source: as the stores have it.
        photos: the bytes of each, by name.
        seed: of the next photo.
        asked: keys of the photos that were read last night.
        shards: keys of the shards of which something was read to make others.
    """

    source: Source
    photos: dict[str, bytes] = field(default_factory=dict)
    seed: int = 0
    asked: list[str] = field(default_factory=list)
    shards: set[str] = field(default_factory=set)

    @property
    def settings(self) -> BuildSettings:
        return self.source.settings(
            shard_bytes=25_000, partition_bytes=60_000, max_shrink_fraction=0.3, max_reject_fraction=0.2
        )

    @property
    def dataset(self) -> Store:
        return open_store(self.settings.dataset)

    def put(self, names: Iterable[str], *, cut: bool = False) -> None:
        for name in names:
            self.seed += 1
            data = tiny(self.seed)
            self.photos[name] = data[:-400] if cut else data
            self.source.add(name, self.photos[name], self.source.scores.get(name, self.seed % 10 + 1))

    def take(self, names: Iterable[str]) -> None:
        for name in names:
            del self.photos[name]
            self.source.remove(name)

    def expected(self) -> Content:
        """What a version of this bucket holds: JPEG and score of each photo that can be one."""
        made = {name: convert_photo(data, self.settings.pixels) for name, data in self.photos.items()}
        return {
            name: (bytes(photo.jpeg), float(np.float32(self.source.scores[name])))  # type: ignore[arg-type]
            for name, photo in made.items()
            if isinstance(photo, Converted)
        }

    def build(self, build: Build, plan: BuildPlan) -> Published:
        photos, dataset = CountingStore(build.photos), CountingStore(build.dataset)
        try:
            return finish(replace(build, photos=photos, dataset=dataset), plan).published
        finally:
            self.asked = [key.removesuffix(".jpg") for key in photos.read]
            self.shards = {
                request.key
                for request in dataset.requests
                if request.method == "get_range" and request.key.startswith("shards/")
            }

    def night(self) -> Published:
        published = self.build(*start(self.settings))
        assert self.is_whole(published.manifest)
        return published

    def is_whole(self, manifest: Manifest) -> bool:
        """Compare a version with the bucket, and every byte of it with what its manifest says."""
        verify_version(self.dataset, manifest.version)
        assert content(self.dataset, manifest) == self.expected()
        return True


def content(dataset: Store, manifest: Manifest) -> Content:
    """Read a version's records: id to JPEG and label."""
    found: Content = {}
    for split in manifest.splits.values():
        for shard in split.shards:
            for record in read_records(BytesIO(dataset.get(shard.path).data)):
                example = decode_example(record)
                assert example.id not in found
                found[example.id] = (bytes(example.image), example.label)
    return found


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    make_reports_quick(monkeypatch)
    made = Bucket(Source(f"memory://{uuid.uuid4().hex}/", {}))
    made.put(f"a{number:02}" for number in range(FIRST))
    return made


def shards_of(manifest: Manifest) -> dict[str, int]:
    return {shard.path: shard.records for split in manifest.splits.values() for shard in split.shards}


def compare_with_nothing(bucket: Bucket, manifest: Manifest, night: int) -> None:
    """Build the same bucket into an empty dataset."""
    settings = bucket.source.settings(
        dataset=f"{bucket.source.url}from-nothing-{night}/", shard_bytes=25_000, max_reject_fraction=0.2
    )
    made = finish(*start(settings))
    assert content(made.dataset, made.manifest) == content(bucket.dataset, manifest)
    assert made.manifest.rejects == manifest.rejects
    then, now = made.table("records"), version_table(bucket.dataset, manifest, "records").to_pylist()
    assert {row["id"]: row["split"] for row in now} == {row["id"]: row["split"] for row in then}


def changed_night(bucket: Bucket, rng: np.random.Generator, kind: str) -> None:
    """Change the bucket and build; what is read is what changed."""
    before = read_manifest(bucket.dataset)
    names = sorted(bucket.photos)
    chosen = [str(name) for name in rng.choice(names, 3, replace=False)]
    new: list[str] = []
    if kind == "added":
        new = [f"n{bucket.seed + number}" for number in range(3)]
        bucket.put(new)
    elif kind == "removed":
        bucket.take(chosen)
    elif kind == "replaced":
        new = chosen[:1]
        bucket.put(new)
    elif kind == "re-scored":
        bucket.source.score({name: float(rng.integers(1, 100)) / 8 for name in chosen})
    elif kind == "cut":
        new = [f"c{bucket.seed}"]
        bucket.put(new, cut=True)
    published = bucket.night()
    assert published.is_new == (kind != "nothing")
    assert sorted(bucket.asked) == sorted(new)
    held = shards_of(before)
    if kind == "nothing":
        assert (bucket.asked, bucket.shards) == ([], set())
    elif kind in ("replaced", "cut"):
        assert len(bucket.shards) <= 1
    assert bucket.shards <= held.keys()


def test_each_version_of_thirty_nights_is_what_the_bucket_holds(bucket: Bucket) -> None:
    rng = np.random.default_rng(17)
    assert bucket.night().is_new
    assert len(bucket.asked) == FIRST
    kinds = ["nothing", "added", "replaced", "removed", "re-scored", "cut"]
    for night in range(1, 30):
        match night:
            case 9:
                a_bad_night_that_is_promoted(bucket)
            case 14:
                a_bad_night_that_is_mended(bucket)
            case 18:
                a_rollback(bucket)
            case 22:
                an_expiry(bucket)
            case 25:
                a_killed_night(bucket)
            case _:
                changed_night(bucket, rng, kinds[night % len(kinds)])
        if night in (10, 20, 29):
            compare_with_nothing(bucket, read_manifest(bucket.dataset), night)


def a_bad_night_that_is_promoted(bucket: Bucket) -> None:
    """Half of the photos are gone; a gate stops that, and a person wants it so."""
    before = latest_version(bucket.dataset)
    bucket.take(sorted(bucket.photos)[::2])
    with pytest.raises(GateError, match="max_shrink_fraction") as caught:
        bucket.night()
    assert latest_version(bucket.dataset) == before
    assert bucket.asked == [], "what stays was read in the nights before"
    assert bucket.is_whole(promote(bucket.dataset, caught.value.candidate or "", GIVEN))
    again = bucket.night()
    assert (again.is_new, again.manifest.version) == (False, caught.value.candidate)


def a_bad_night_that_is_mended(bucket: Bucket) -> None:
    """Photos come broken, and whole again the night after."""
    before = read_manifest(bucket.dataset)
    whole = dict(list(bucket.photos.items())[:12])
    bucket.put(whole, cut=True)
    with pytest.raises(GateError, match="max_reject_fraction"):
        bucket.night()
    assert latest_version(bucket.dataset) == before.version
    for name, data in whole.items():
        bucket.photos[name] = data
        bucket.source.add(name, data)
    mended = bucket.night()
    assert sorted(bucket.asked) == sorted(whole), "a photo that is written anew has another ETag in this store"
    assert mended.manifest.records == before.records


def a_rollback(bucket: Bucket) -> None:
    """Somebody goes back a version; the next night builds on that, and makes what the bucket holds."""
    before = read_manifest(bucket.dataset)
    assert before.parent is not None
    older = rollback(bucket.dataset, before.parent, GIVEN)
    assert latest_version(bucket.dataset) == older.version
    published = bucket.night()
    assert published.manifest.parent == older.version
    assert bucket.asked == [], "its shards are there still"


def an_expiry(bucket: Bucket) -> None:
    """Old versions go; LATEST is whole, and the next night changes nothing."""
    expired = expire_versions(bucket.dataset, keep=2, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert len(expired.versions) > 5
    assert expired.objects
    assert bucket.is_whole(read_manifest(bucket.dataset))
    assert not bucket.night().is_new
    assert bucket.asked == []


def a_killed_night(bucket: Bucket) -> None:
    """The process ends in the middle of its uploads; the night after goes on."""
    before = latest_version(bucket.dataset)
    names = sorted(bucket.photos)[:6]
    bucket.put(names)
    build, plan = start(bucket.settings)

    def is_late(request: Request) -> bool:
        return request.method == "upload" and request.number >= 2

    dying = FailingStore(build.dataset, is_late, error=KilledError())  # type: ignore[arg-type]
    with pytest.raises(KilledError):
        finish(replace(build, dataset=dying), plan)
    assert latest_version(bucket.dataset) == before
    assert bucket.night().is_new
    assert set(bucket.asked) <= set(names)
    assert len(bucket.asked) < len(names), "what was finished is not made again"
