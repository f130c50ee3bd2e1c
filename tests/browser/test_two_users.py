"""Two users, two datasets, one process and one cache: what one has loaded, the other does not get."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from aesthetics_ops.browser import make_browser
from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.store import open_store
from aesthetics_ops.testing import datasets
from aesthetics_ops.testing.datasets import LeftOut, SyntheticDataset, synthetic_photos
from tests.support.web import TestClient, guard

VERSION = "2026-11-22T020000-aaaaaaaaaaaa"
BUILD = "2026-11-23T020000"
NAMES = ("ours", "theirs")


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """Two datasets with other photos under equal names: of the version, of its shards and of a build."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            numbers = itertools.count()
            patch.setattr(datasets, "recipe_digest", partial(numbered, numbers))
            documents = {VersionFile.REPORT: partial(report, name)}
            dataset = SyntheticDataset(open_store(f"memory://users/{name}/"), per_shard=4, documents=documents)
            photos = synthetic_photos(20)[:: 1 if name == "ours" else -1]
            photos = [replace(photo, id=f"of-{name}-{number}", split="train") for number, photo in enumerate(photos)]
            version = dataset.publish(
                photos, [LeftOut(f"of-{name}.jpg", "corrupt", f"of-{name}")], version=VERSION, parent=None
            )
            dataset.publish(photos[:19], version=f"{VERSION[:-1]}b", parent=VERSION)
            dataset.plan(BUILD, version.manifest.created_at, [[f"{0:064x}"]])
            made[name] = dataset.store
    keys = [set(store.list()["key"].to_pylist()) for store in made.values()]
    assert keys[0] == keys[1]
    with TestClient(make_browser(guard, {name: partial(made.__getitem__, name) for name in NAMES})) as client:
        yield client


def numbered(numbers: Iterator[int], *_: Any, **__: Any) -> str:
    return f"{next(numbers):064x}"


def report(name: str, _: Any) -> str:
    return f"<!doctype html><title>r</title><p>of-{name}"


def addresses(name: str) -> list[str]:
    here, version = f"/datasets/{name}", f"/datasets/{name}/versions/{VERSION}"
    shards = f"{version}/shards/train"
    return [
        here, f"{here}/compare?before={VERSION}&after={VERSION[:-1]}b", version, f"{version}/report", f"{version}/report.html",
        f"{version}/rejects", f"{version}/rejects?reason=corrupt", f"{version}/search?text=of-", shards, f"{shards}/0", f"{shards}/0/0",
        f"{shards}/0/0/photo.jpg", f"{here}/builds", f"{here}/builds/{BUILD}", f"{here}/builds/{BUILD}/partitions/0",
    ]  # fmt: skip


def test_what_one_user_has_loaded_is_refused_to_another(client: TestClient) -> None:
    for mine, other in (NAMES, NAMES[::-1]):
        for address in addresses(mine):
            first = client.get(address, headers={"user": mine})
            assert first.status_code == 200, address
            refused = client.get(address, headers={"user": other} | tagged(first.headers.get("etag")))
            assert refused.status_code == 403, address
            assert f"of-{mine}" not in refused.text
            assert client.get(address).status_code == 401, address
            assert first.headers["cache-control"].startswith("private"), address
        assert f"/datasets/{mine}" not in client.get("/", headers={"user": other}).text


def test_datasets_of_equal_names_never_mix(client: TestClient) -> None:
    """One user may read both, and reads them in turns, so that each page of one is asked for when the cache holds the other's."""
    seen: dict[str, set[str]] = {name: set() for name in NAMES}
    photos = {name: set[bytes]() for name in NAMES}
    for _ in range(2):
        for pair in zip(*map(addresses, NAMES), strict=True):
            for name, other, address in zip(NAMES, NAMES[::-1], pair, strict=True):
                answer = client.get(address, headers={"user": " ".join(NAMES)})
                assert answer.status_code == 200, address
                if address.endswith("photo.jpg"):
                    photos[name].add(answer.content)
                else:
                    assert f"of-{other}" not in answer.text, address
                    seen[name] |= {address} if f"of-{name}" in answer.text else set()
    assert [len(found) for found in photos.values()] == [1, 1]
    assert photos["ours"] != photos["theirs"]
    assert [len(found) for found in seen.values()] == [7, 7]


def tagged(etag: str | None) -> dict[str, str]:
    return {} if etag is None else {"if-none-match": etag}
