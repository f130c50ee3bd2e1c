"""The tests that every store must pass, whatever keeps its objects.

In: a store, from a fixture.  Out: one test per promise of `store/contract.py`.  Inherit and give the fixture:

    import pytest
    from aesthetics_ops.testing.store_contract import StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self) -> Store:
            return open_store("mine://place/some prefix/")  # a fresh, empty prefix each time

For messages that show both sides of a comparison, let pytest rewrite the asserts, in a conftest.py:
`pytest.register_assert_rewrite("aesthetics_ops.testing.store_contract")`.
"""
# ruff: noqa: D102 - the names of the tests are sentences

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError
from aesthetics_ops.store import Store, Swap

__all__ = ["StoreContract"]

_AWKWARD_KEYS = [
    "a b.jpg",
    "a#b.jpg",
    "a%20b.jpg",
    "a+b.jpg",
    "a?b=c&d.jpg",
    "a~*[x]'\"\\.jpg",
    "é/日本 😀.jpg",
    "émigré.jpg",  # decomposed
    "trailing./..x/...",
]


class StoreContract:
    """Every store must pass these."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_a_listing_is_relative_complete_and_in_key_order(self, store: Store) -> None:
        for key in ["b", "a/2", "a/10", "a-b", "a.c", "Z", "é", "a/x/1"]:
            store.put(key, key.encode())
        table = store.list()
        assert table.schema == pa.schema([("key", pa.string()), ("size", pa.int64()), ("etag", pa.string())])
        assert table["key"].to_pylist() == ["Z", "a-b", "a.c", "a/10", "a/2", "a/x/1", "b", "é"]
        assert table["size"].to_pylist() == [1, 3, 3, 4, 3, 5, 1, 2]
        assert store.list("a/")["key"].to_pylist() == ["a/10", "a/2", "a/x/1"]
        assert store.list("nothing/").num_rows == 0

    def test_a_listing_is_the_same_where_its_rows_may_lie_in_a_folder(self, store: Store, tmp_path: Path) -> None:
        for key in ["b", "a/2", "a/10"]:
            store.put(key, key.encode())
        assert store.list(scratch=tmp_path) == store.list()
        assert store.list("a/", scratch=tmp_path) == store.list("a/")
        assert not list(tmp_path.glob("*.arrow"))

    def test_a_listing_crosses_pages(self, store: Store) -> None:
        keys = [f"n/{number:05}" for number in range(1050)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b"x"), keys))
        assert store.list("n/")["key"].to_pylist() == keys

    def test_folders_are_what_stands_before_the_next_slash(self, store: Store) -> None:
        for key in ("v/b/1", "v/b/2", "v/a b/x/1", "v/file", "w/c/1"):
            store.put(key, b"x")
        assert list(store.folders("v/")) == ["a b", "b"]
        assert list(store.folders("none/")) == []

    def test_an_empty_object_is_listed(self, store: Store) -> None:
        store.put("a", b"")
        store.put("a.d/b", b"")
        assert store.list()["key"].to_pylist() == ["a", "a.d/b"]
        assert store.get("a").data == b""

    def test_list_head_and_get_agree_on_the_etag_and_it_follows_the_content(self, store: Store) -> None:
        store.put("k", b"one")
        first = store.get("k")
        assert store.head("k") == (3, first.etag)
        assert store.list()["etag"].to_pylist() == [first.etag]
        assert '"' not in first.etag
        store.put("k", b"two")
        assert store.get("k").etag != first.etag

    def test_awkward_keys_come_back_as_they_were(self, store: Store) -> None:
        for key in _AWKWARD_KEYS:
            store.put(key, key.encode())
        assert store.list()["key"].to_pylist() == sorted(_AWKWARD_KEYS)
        assert [bytes(store.get(key).data).decode() for key in _AWKWARD_KEYS] == _AWKWARD_KEYS
        assert store.get_range(_AWKWARD_KEYS[0], 2, 3) == b"b.j"
        store.delete(_AWKWARD_KEYS)
        assert store.list().num_rows == 0

    def test_a_missing_key_is_named(self, store: Store, tmp_path: Path) -> None:
        store.put("there/below", b"1")
        for key in ["nope", "there", "there/below/further"]:
            assert store.head(key) is None
            for read in (store.get, lambda k: store.get_range(k, 0, 1), lambda k: store.download(k, tmp_path / "f")):
                with pytest.raises(ObjectMissingError, match=key):
                    read(key)
        assert not (tmp_path / "f").exists()

    def test_a_range_is_exact_or_refused(self, store: Store) -> None:
        store.put("k", b"0123456789")
        assert store.get_range("k", 3, 4) == b"3456"
        assert store.get_range("k", 9, 1) == b"9"
        assert store.get_range("k", 3, 0) == b""
        for offset in (8, 10, 50):
            with pytest.raises(StoreRefusedError):
                store.get_range("k", offset, 3)

    def test_the_first_bytes_are_all_of_a_smaller_object(self, store: Store) -> None:
        store.put("k", b"0123456789")
        assert [store.get_first("k", most) for most in (1, 9, 10, 11, 5000)] == [
            b"0",
            b"012345678",
            *[b"0123456789"] * 3,
        ]
        with pytest.raises(ObjectMissingError, match="nope"):
            store.get_first("nope", 3)

    def test_a_buffer_is_put_like_bytes(self, store: Store) -> None:
        store.put("k", memoryview(b"0123")[1:3])
        assert store.get("k").data == b"12"

    def test_a_large_file_goes_up_and_comes_down(self, store: Store, tmp_path: Path) -> None:
        data = os.urandom(1 << 20) * 40
        (tmp_path / "up").write_bytes(data)
        store.upload("deep/er/k", tmp_path / "up")
        (tmp_path / "up").unlink()
        store.download("deep/er/k", tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == data
        assert store.list()["size"].to_pylist() == [len(data)]
        assert store.get_range("deep/er/k", 20 << 20, 100) == data[20 << 20 :][:100]

    def test_a_missing_local_file_is_not_the_stores_fault(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.upload("k", tmp_path / "nope")

    def test_only_the_first_creator_wins(self, store: Store) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda number: store.put_if_absent("k", b"%d" % number), range(8)))
        assert won.count(True) == 1
        assert store.get("k").data == b"%d" % won.index(True)

    def test_a_swap_is_done_when_nobody_was_first(self, store: Store) -> None:
        assert store.swap("k", b"one", None) is Swap.DONE
        assert store.swap("k", b"two", store.get("k").etag) is Swap.DONE
        assert store.get("k").data == b"two"

    def test_a_probe_finds_that_conditions_are_kept_and_leaves_nothing(self, store: Store) -> None:
        store.put("k", b"one")
        found = store.probe("probe")
        assert found.creates_once
        assert found.compares
        assert found.are_safe
        assert store.list()["key"].to_pylist() == ["k"]

    def test_a_single_writer_replaces_only_what_it_expects(self, store: Store) -> None:
        assert store.replace("k", b"one", None) is Swap.DONE
        assert store.replace("k", b"two", None) is Swap.REFUSED
        assert store.replace("k", b"two", "stale") is Swap.REFUSED
        assert store.get("k").data == b"one"
        assert store.replace("k", b"two", store.get("k").etag) is Swap.DONE
        assert store.get("k").data == b"two"

    def test_a_swap_is_refused_when_somebody_was_first(self, store: Store) -> None:
        assert store.swap("k", b"new", "0123") is Swap.REFUSED
        store.put("k", b"one")
        etag = store.get("k").etag
        store.put("k", b"two")
        assert store.swap("k", b"three", etag) is Swap.REFUSED
        assert store.swap("k", b"three", None) is Swap.REFUSED
        assert store.get("k").data == b"two"

    def test_concurrent_swaps_lose_no_update(self, store: Store) -> None:
        store.put("n", b"")

        def add_lines(writer: int) -> None:
            for number in range(6):
                while True:
                    before = store.get("n")
                    if store.swap("n", bytes(before.data) + b"%d.%d\n" % (writer, number), before.etag) is Swap.DONE:
                        break

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add_lines, range(8)))
        assert sorted(bytes(store.get("n").data).split()) == sorted(
            b"%d.%d" % (w, n) for w in range(8) for n in range(6)
        )

    def test_deleting_twice_is_fine(self, store: Store) -> None:
        for key in ["a", "b/c", "d"]:
            store.put(key, b"1")
        store.delete(iter(["a", "b/c", "nope"]))
        store.delete(["a", "b/c"])
        store.delete([])
        assert store.list()["key"].to_pylist() == ["d"]

    def test_many_threads_read_at_once(self, store: Store) -> None:
        for number in range(20):
            store.put(f"k{number}", b"%d" % number * 1000)
        with ThreadPoolExecutor(32) as pool:
            read = list(pool.map(lambda number: store.get(f"k{number % 20}").data, range(400)))
        assert read == [b"%d" % (number % 20) * 1000 for number in range(400)]

    def test_readings_are_those_of_get_whatever_becomes_of_one_of_them(self, store: Store) -> None:
        for number in range(3):
            store.put(f"k{number}", b"%d" % number * 1000)
        readings = store.readings(["k2", "k0", "nope", "k1"])
        with pytest.raises(ObjectMissingError, match="nope"):
            readings[2]()
        found = [readings[place]() for place in (0, 1, 3)]
        assert found == [store.get(key) for key in ("k2", "k0", "k1")]
        assert store.readings([]) == []

    def test_urls_end_with_a_slash_and_name_their_keys(self, store: Store) -> None:
        assert store.url.endswith("/")
        assert store.url_of("a/b.jpg") == store.url + "a/b.jpg"

    def test_a_store_that_is_there_passes_the_check(self, store: Store) -> None:
        store.check()
        store.put("k", b"1")
        store.check()
