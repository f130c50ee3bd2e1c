"""LATEST, and how a command that stands back leaves it."""

import uuid

import pytest

from aesthetics_ops.dataset.latest import LatestPointer, put_back
from aesthetics_ops.dataset.layout import LATEST_KEY, VersionFile, version_key
from aesthetics_ops.store import Store, open_store


def holding(version: str) -> bytes:
    return LatestPointer(
        version=version, manifest=version_key(version, VersionFile.MANIFEST), sha256="0" * 64
    ).encoded()


BEFORE, MINE, THEIRS = (holding(version) for version in ("v-before", "v-mine", "v-theirs"))


@pytest.fixture
def dataset() -> Store:
    return open_store(f"memory://{uuid.uuid4().hex}/")


@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize(
    ("held", "left"),
    [
        pytest.param(MINE, BEFORE, id="what was written goes"),
        pytest.param(b"{", BEFORE, id="so does what nobody can read"),
        pytest.param(THEIRS, THEIRS, id="what somebody else wrote since stays"),
        pytest.param(None, None, id="what is gone stays gone"),
    ],
)
def test_a_move_is_taken_back_and_nobody_elses(
    dataset: Store, compares: bool, held: bytes | None, left: bytes | None
) -> None:
    dataset.put(LATEST_KEY, BEFORE)
    before = dataset.get(LATEST_KEY)
    dataset.delete([LATEST_KEY])
    if held is not None:
        dataset.put(LATEST_KEY, held)
    put_back(dataset, LATEST_KEY, "v-mine", before, compares=compares)
    found = dataset.head(LATEST_KEY) and bytes(dataset.get(LATEST_KEY).data)
    assert found == left
