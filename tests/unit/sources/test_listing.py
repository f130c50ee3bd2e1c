"""A listing that names a photo twice is asked for again, and refused in one line when that does not help."""

import uuid
from collections.abc import Callable

import pyarrow as pa
import pytest

from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.sources.listing import list_photos
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import Request, WrappedStore


class RepeatingStore(WrappedStore):
    """A store that gives the last two entries of a listing twice, so many times."""

    def __init__(self, inner: Store, times: int) -> None:
        super().__init__(inner)
        self.times = times

    def pass_on(self, request: Request, ask: Callable[[], object]) -> object:  # type: ignore[override]
        answer = ask()
        if request.method == "list" and request.number < self.times:
            assert isinstance(answer, pa.Table)
            return pa.concat_tables([answer, answer.slice(answer.num_rows - 2)]).sort_by("key")
        return answer


@pytest.fixture
def photos() -> Store:
    store = open_store(f"memory://{uuid.uuid4().hex}/photos/")
    for name in ("a", "b", "c"):
        store.put(f"{name}.jpg", name.encode())
    return store


@pytest.mark.parametrize("times", [0, 1, 2])
def test_what_a_listing_repeats_is_listed_again(photos: Store, times: int) -> None:
    assert list_photos(RepeatingStore(photos, times)) == photos.list()


def test_a_listing_that_always_repeats_is_one_line_with_an_example(photos: Store) -> None:
    with pytest.raises(StoreUnavailableError, match=r"3 times and names objects twice.*2 of 5, such as 'b.jpg'"):
        list_photos(RepeatingStore(photos, 3))


def test_an_empty_listing_and_one_of_a_single_photo_are_listings() -> None:
    store = open_store(f"memory://{uuid.uuid4().hex}/photos/")
    assert list_photos(store).num_rows == 0
    store.put("a.jpg", b"a")
    assert list_photos(store)["key"].to_pylist() == ["a.jpg"]
