"""Two commands at once: whatever one does just before any request of the other, what LATEST, pointers and pins name is whole."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from aesthetics_ops.dataset.moves import Given
from aesthetics_ops.dataset.pointers import read_pins, read_pointers
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.errors import GateError, IntegrityError, NoSuchVersionError
from aesthetics_ops.store import Store
from aesthetics_ops.versions.diff import diff_versions
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.pointing import pin, point
from aesthetics_ops.versions.promote import promote
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from aesthetics_ops.versions.whole import require_whole
from tests.support.documents import make_reports_quick
from tests.support.dying import overtaken
from tests.support.nights import ARRIVING, PHOTOS, START, Source, build_once, photo

GIVEN = Given("ada", "to look at it")
Act = Callable[[Store], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, bytes], dict[str, Act]]:
    """Two versions and a candidate, all old enough to expire: the store, its objects, and what may be done."""
    with pytest.MonkeyPatch.context() as patch:
        make_reports_quick(patch)
        source = Source("memory://overtaken/", {})
        source.score(dict.fromkeys(PHOTOS[:8], 3))
        for name in PHOTOS[:8]:
            source.add(name, photo(name))
        first = build_once(source.settings())
        source.add(ARRIVING, photo(ARRIVING), 4)
        build_once(source.settings())
        for name in PHOTOS[:4]:
            source.remove(name)
        with pytest.raises(GateError) as caught:
            build_once(source.settings(max_shrink_fraction=0.1))
    dataset, old, candidate = first.dataset, first.manifest.version, caught.value.candidate
    assert candidate is not None
    acts: dict[str, Act] = {
        "expire": lambda store: expire_versions(store, keep=1, now=START + timedelta(days=90)),
        "promote": lambda store: promote(store, candidate, GIVEN),
        "rollback": lambda store: rollback(store, old, GIVEN),
        "point": lambda store: point(store, "prod", old, GIVEN),
        "pin": lambda store: pin(store, "run", old, GIVEN),
        "pin the candidate": lambda store: pin(store, "run", candidate, GIVEN),
    }
    return dataset, {key: bytes(dataset.get(key).data) for key in dataset.list()["key"].to_pylist()}, acts


def require_all_named_whole(dataset: Store) -> None:
    for version in (
        None,
        *(pointer.version for pointer in read_pointers(dataset).values()),
        *(held.version for held in read_pins(dataset)),
    ):
        require_whole(dataset, read_manifest(dataset, version))


def restore(dataset: Store, objects: dict[str, bytes]) -> None:
    """Make a dataset what it was."""
    dataset.delete([key for key in dataset.list()["key"].to_pylist() if key not in objects])
    for key, data in objects.items():
        dataset.put(key, data)


PAIRS = [
    *(("expire", other) for other in ("expire", "promote", "rollback", "point", "pin", "pin the candidate")),
    *((act, "expire") for act in ("promote", "rollback", "point", "pin", "pin the candidate")),
    ("promote", "rollback"), ("rollback", "promote"), ("promote", "promote"), ("point", "promote"),
]  # fmt: skip


@pytest.mark.parametrize(("act", "other"), PAIRS, ids=[f"{act}, {other}" for act, other in PAIRS])
def test_what_is_named_is_whole_whoever_overtakes_whom_at_any_request(
    made: tuple[Store, dict[str, bytes], dict[str, Act]], act: str, other: str
) -> None:
    dataset, objects, acts = made
    requests = 0
    is_overtaken = True
    while is_overtaken:
        restore(dataset, objects)
        is_overtaken = overtaken(acts[act], dataset, before=requests, other=acts[other])
        requests += 1
        require_all_named_whole(dataset)
    assert requests > 5


@pytest.mark.parametrize("what", ["verify", "diff"])
def test_a_version_that_expires_while_it_is_read_has_expired_and_is_not_damaged(
    made: tuple[Store, dict[str, bytes], dict[str, Act]], what: str
) -> None:
    dataset, objects, acts = made
    ends = []

    def read(store: Store) -> None:
        new, old = (read_manifest(dataset).version, read_manifest(dataset).parent)
        assert old is not None
        try:
            verify_version(store, old) if what == "verify" else diff_versions(store, old, new)
        except (IntegrityError, NoSuchVersionError) as error:
            ends.append(type(error))
            raise

    requests = 0
    is_overtaken = True
    while is_overtaken:
        restore(dataset, objects)
        is_overtaken = overtaken(read, dataset, before=requests, other=acts["expire"])
        requests += 1
    assert set(ends) == {NoSuchVersionError}
    assert len(ends) >= 3
