"""The policies of deploy/policies on Ceph's gateway, which keeps them: each is enough for its role, and nothing in it is too much."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from aesthetics_ops.dataset.pointers import read_pins
from aesthetics_ops.errors import AccessDeniedError, AestheticsOpsError
from aesthetics_ops.pipeline import build_dataset
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import S3Access, open_store
from aesthetics_ops.training.stage import assign, keep_version, train_version
from aesthetics_ops.training_settings import training_settings
from aesthetics_ops.versions.diff import diff_versions
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.listing import list_versions
from aesthetics_ops.versions.verify import verify_version
from tests.stack.ceph import Ceph
from tests.support.nights import PHOTOS, photo
from tests.support.paths import ROOT
from tests.support.s3 import S3TestBucket, make_bucket

POLICIES = ROOT / "deploy" / "policies"
ROLES = sorted(path.stem for path in POLICIES.iterdir())
DATASET, TRAININGS = "sets/cats/", "sets/cats-training/"


def policy_of(role: str, bucket: str) -> dict[str, Any]:
    """Return a role's policy for photos, scores and dataset in one bucket."""
    text = (POLICIES / f"{role}.json").read_text()
    for placeholder, value in (
        ("DATASET-BUCKET", bucket),
        ("SOURCE-BUCKET", bucket),
        ("DATASET-PREFIX", DATASET.rstrip("/")),
        ("PHOTOS-PREFIX", "photos"),
        ("SCORES-KEY", "scores.csv"),
        ("TRAININGS-BUCKET", bucket),
        ("TRAININGS-PREFIX", TRAININGS.rstrip("/")),
    ):
        text = text.replace(placeholder, value)
    return dict(json.loads(text))


@dataclass
class Place:
    """A bucket of the administrator's, and users who may do what their policies say."""

    ceph: Ceph
    bucket: S3TestBucket

    @property
    def admin(self) -> S3Access:
        return S3Access(boto3.Session(self.ceph.key, self.ceph.secret, region_name="us-east-1"), self.ceph.endpoint_url)

    def settings(self, *, labels: str = "scores.csv", **changes: Any) -> BuildSettings:
        url = self.bucket.url
        return BuildSettings(
            photos=f"{url}photos/",
            labels=url + labels,
            dataset=url + DATASET,
            near_duplicate_distance=None,
            **changes,
        )

    def access(self, role: str, *, without: str = "") -> S3Access:
        """Return how a user reaches the store who may do what a role may, without one right."""
        policy = policy_of(role, self.bucket.name)
        for statement in policy["Statement"]:
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            statement["Action"] = [action for action in actions if action != without]
        policy["Statement"] = [statement for statement in policy["Statement"] if statement["Action"]]
        key, secret = self.ceph.add_user(role, policy)
        return S3Access(boto3.Session(key, secret, region_name="us-east-1"), self.ceph.endpoint_url)

    def held(self) -> set[str]:
        found = self.bucket.client.list_objects_v2(Bucket=self.bucket.name, Prefix=DATASET)
        return {item["Key"].removeprefix(DATASET) for item in found.get("Contents", ())}

    def build(self, access: S3Access, **changes: Any) -> Any:
        return build_dataset(self.settings(**changes), s3=access)

    def read(self, access: S3Access) -> None:
        from aesthetics_ops import open_dataset

        dataset = open_dataset(self.bucket.url + DATASET, s3=access)
        images, _ = next(iter(dataset.numpy("train", batch=1, size=32)))
        assert images.shape == (1, 32, 32, 3)

    def browse(self, access: S3Access) -> None:
        store = open_store(self.bucket.url + DATASET, s3=access)
        newest, before, *_ = [info.version for info in list_versions(store)]
        diff_versions(store, before, newest)
        verify_version(store, newest)

    def train(self, access: S3Access) -> None:
        """Train on two versions that the administrator published; of the first the pin goes."""
        splits = ("train", "train", "validation", "test")
        url, store = self.bucket.url + DATASET, open_store(self.bucket.url + DATASET, s3=access)
        settings = training_settings({"train": "tests.support.trainers:saving", "keep_pins": 1}, url, "here")
        versions = []
        for score in (5, 6):
            rows = [f"{name},{score + n},{splits[n]}\n" for n, name in enumerate(PHOTOS[:4])]
            body = ("id,score,split\n" + "".join(rows)).encode()
            self.bucket.client.put_object(Bucket=self.bucket.name, Key="splits.csv", Body=body)
            built = self.build(self.admin, labels="splits.csv", split_column="split")
            versions.append(built.manifest.version)
            assignment = assign(store, None, settings, s3=access)
            keep_version(store, assignment, run="r")
            assert train_version(assignment, settings, run="r", s3=access).is_new
        assert [found.version for found in read_pins(store)] == versions[1:]

    def expire(self, access: S3Access) -> None:
        store = open_store(self.bucket.url + DATASET, s3=access)
        expire_versions(store, keep=1, now=datetime.now(UTC) + timedelta(days=30))


USES: dict[str, Callable[[Place, S3Access], Any]] = {
    "builder": lambda place, access: place.build(access, quality=60, encoding="reencode"),
    "reader": Place.read,
    "browser": Place.browse,
    "expirer": Place.expire,
    "trainer": Place.train,
}


@pytest.fixture(scope="module")
def filled(ceph: Ceph) -> Iterator[tuple[Place, dict[str, bytes]]]:
    """Two versions of a small dataset, the administrator's, and all objects of their bucket."""
    with pytest.MonkeyPatch.context() as patch:
        bucket = make_bucket(patch, ceph.endpoint_url, ceph.key, ceph.secret)
        for name in PHOTOS[:4]:
            bucket.client.put_object(Bucket=bucket.name, Key=f"photos/{name}.jpg", Body=photo(name))
        scores = "id,score\n" + "".join(f"{name},5\n" for name in PHOTOS[:4])
        bucket.client.put_object(Bucket=bucket.name, Key="scores.csv", Body=scores.encode())
        place = Place(ceph, bucket)
        place.build(place.admin, validation_fraction=0, test_fraction=0)
        place.build(place.admin, validation_fraction=0, test_fraction=0, quality=80, encoding="reencode")
        store = open_store(bucket.url, s3=place.admin)
        yield place, {key: bytes(store.get(key).data) for key in store.list()["key"].to_pylist()}


@pytest.fixture
def place(filled: tuple[Place, dict[str, bytes]]) -> Iterator[Place]:
    """The same for every test to begin with: all is put back, since what others wrote is theirs to read."""
    place, objects = filled
    yield place
    store = open_store(place.bucket.url, s3=place.admin)
    store.delete([key for key in store.list()["key"].to_pylist() if key not in objects])
    for key, data in objects.items():
        store.put(key, data)


@pytest.mark.parametrize("role", ROLES)
def test_a_roles_policy_is_enough(place: Place, role: str) -> None:
    before = place.held()
    USES[role](place, place.access(role))
    if role == "builder":
        assert {key for key in place.held() if key.startswith("versions/")} > {
            key for key in before if key.startswith("versions/")
        }
        assert not any(key.startswith("probe-") for key in place.held())
    if role == "expirer":
        assert place.held() < before


@pytest.mark.parametrize(
    ("role", "without"),
    [
        ("builder", "s3:ListBucket"),
        ("builder", "s3:GetObject"),
        ("builder", "s3:PutObject"),
        ("builder", "s3:DeleteObject"),
        ("reader", "s3:GetObject"),
        ("browser", "s3:GetObject"),
        ("browser", "s3:ListBucket"),
        ("expirer", "s3:PutObject"),
        ("expirer", "s3:DeleteObject"),
        ("trainer", "s3:ListBucket"),
        ("trainer", "s3:GetObject"),
        ("trainer", "s3:PutObject"),
        ("trainer", "s3:DeleteObject"),
    ],
)
def test_a_right_that_is_missing_is_named(place: Place, role: str, without: str) -> None:
    before = place.held()
    with pytest.raises(AestheticsOpsError, match=f"that they have .*{without}"):
        USES[role](place, place.access(role, without=without))
    assert not any(key.startswith("probe-") for key in place.held())
    assert before <= place.held()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_that_is_anothers(place: Place, role: str) -> None:
    access = place.access(role)
    store, sources = (open_store(place.bucket.url + prefix, s3=access) for prefix in (DATASET, "photos/"))
    version = next(key for key in place.held() if key.startswith("versions/"))
    forbidden: list[Callable[[], object]] = [
        lambda: sources.put("new", b""),
        lambda: sources.delete(["917058.jpg"]),
        lambda: sources.delete(["917058.jpg", "926426.jpg"]),
    ]
    if role != "builder":
        forbidden += [lambda: sources.get("917058.jpg"), lambda: store.put("LATEST.json", b"")]
    if role != "trainer":
        forbidden += [lambda: open_store(place.bucket.url + TRAININGS, s3=access).put("v/done.json", b"")]
    if role == "trainer":
        forbidden += [lambda: store.put("pins/paper.json", b""), lambda: store.delete(["pins/paper.json"])]
    if role != "expirer":
        forbidden += [
            lambda: store.delete([version]),
            lambda: store.delete(["LATEST.json"]),
            lambda: store.delete([version, "LATEST.json"]),
        ]
    for attempt in forbidden:
        with pytest.raises(AccessDeniedError):
            attempt()
