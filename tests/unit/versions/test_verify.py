"""Shards go to threads in runs; what is found, and what is told of it, is as if they were read one after the other."""

from collections.abc import Callable

import pytest

from aesthetics_ops.dataset.manifest import Shard
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.versions.verify import verify_version

PHOTOS = 150


@pytest.fixture(scope="module", params=["file", "memory"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Shard]]:
    """A version of shards of one photo each, so many that each thread is given several at a time; and its shards."""
    place = tmp_path_factory.mktemp("runs")
    store = open_store(f"file://{place}/" if request.param == "file" else f"memory://{place.name}/runs/")
    manifest = SyntheticDataset(store, per_shard=1).publish(synthetic_photos(PHOTOS, side_px=8)).manifest
    return store, [shard for split in manifest.splits.values() for shard in split.shards]


def spoil(store: Store, shard: Shard) -> Callable[[], None]:
    """Change a byte of a shard; return what puts it right."""
    right = bytes(store.get(shard.path).data)
    store.put(shard.path, right[:40] + bytes((right[40] ^ 1,)) + right[41:])
    return lambda: store.put(shard.path, right)


def test_progress_tells_every_shard_once_in_reading_order(published: tuple[Store, list[Shard]]) -> None:
    store, shards = published
    told: list[int] = []
    verify_version(store, progress=told.append)
    assert told == [shard.bytes for shard in shards]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (4, 5), (5, 30), (40, 41), (PHOTOS - 2, PHOTOS - 1)])
def test_of_two_spoilt_shards_the_first_in_reading_order_is_told(
    published: tuple[Store, list[Shard]], first: int, second: int
) -> None:
    store, shards = published
    mend = [spoil(store, shards[number]) for number in (second, first)]
    told: list[int] = []
    try:
        with pytest.raises(IntegrityError, match=shards[first].path):
            verify_version(store, progress=told.append)
        assert told == [shard.bytes for shard in shards[: len(told)]]
        assert len(told) <= first
    finally:
        for put_right in mend:
            put_right()
