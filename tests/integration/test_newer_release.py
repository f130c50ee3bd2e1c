"""What a newer release of this package wrote, with fields that this one does not know, is read everywhere."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.browser import make_browser
from aesthetics_ops.cli import main
from aesthetics_ops.dataset.latest import LatestPointer
from aesthetics_ops.dataset.layout import LATEST_KEY, ShardFile, VersionFile, shard_key, version_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.store import Store, open_store
from tests.support.nights import ARRIVING, Night, Source, build_once, finish, photo, start
from tests.support.web import TestClient


def add_a_field(store: Store, key: str) -> bytes:
    """Write a document again with fields that no class here has, on the top and further down."""
    values = json.loads(bytes(store.get(key).data))
    values["of_a_newer_release"] = {"deep": [1, 2]}
    for part in ("source", "accounting", "images", "validation", "index"):
        if part in values:
            values[part]["of_a_newer_release"] = True
    data = json.dumps(values).encode()
    store.put(key, data)
    return data


@pytest.fixture
def published(source: Source) -> Night:
    """A version whose manifest, LATEST, shards' results and verdicts have fields that are not known here."""
    night = build_once(source.settings())
    dataset, version = night.dataset, night.manifest.version
    manifest = add_a_field(dataset, version_key(version, VersionFile.MANIFEST))
    pointer = LatestPointer(
        version=version,
        manifest=version_key(version, VersionFile.MANIFEST),
        sha256=hashlib.sha256(manifest).hexdigest(),
    )
    dataset.put(LATEST_KEY, json.dumps(pointer.model_dump() | {"of_a_newer_release": 1}).encode())
    for split in night.manifest.splits.values():
        for shard in split.shards:
            add_a_field(dataset, shard_key(shard.digest, ShardFile.RESULT))
            add_a_field(dataset, shard_key(shard.digest, ShardFile.VERDICT))
    return night


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    status = main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out)


def test_show_pull_verify_versions_and_rejects_read_it(
    published: Night, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url, version = published.dataset.url, published.manifest.version
    shown = run(capsys, "show", url)
    assert shown["version"] == version
    assert "of_a_newer_release" not in shown
    assert run(capsys, "verify", url)["records"] == published.manifest.records
    assert len(run(capsys, "pull", url, tmp_path / "pulled")["files"]) == published.manifest.reuse.shards_total
    assert [row["version"] for row in run(capsys, "versions", url)["versions"]] == [version]
    assert run(capsys, "rejects", url)["version"] == version


def test_the_browser_shows_it(published: Night) -> None:
    client = TestClient(make_browser(lambda: {"it"}, {"it": lambda: open_store(published.dataset.url)}))
    version = published.manifest.version
    for page in ("", f"/versions/{version}", f"/versions/{version}/shards/train", "/builds"):
        reply = client.get(f"/datasets/it{page}")
        assert reply.status_code == 200, page
        assert version in reply.text, page


def test_the_next_plan_starts_from_it_and_nothing_is_made_again(published: Night, source: Source) -> None:
    same = build_once(source.settings())
    assert not same.published.is_new
    source.add(ARRIVING, photo(ARRIVING), 4)
    build, record = start(source.settings())
    assert record.parent == published.manifest.version
    grown = finish(build, record)
    assert grown.manifest.reuse.shards_reused == published.manifest.reuse.shards_total - 1
    assert Manifest.read(grown.dataset, version_key(grown.manifest.version, VersionFile.MANIFEST)) == grown.manifest


def test_a_build_that_a_newer_release_planned_is_finished(source: Source) -> None:
    build, record = start(source.settings())
    add_a_field(build.dataset, f"builds/{build.id}/plan.json")
    assert finish(build, record).published.is_new
