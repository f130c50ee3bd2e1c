"""Every tampering with a version is found by `verify`, with a message that names the object and the field."""

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.dataset.layout import LATEST_KEY, VersionFile, version_key
from aesthetics_ops.dataset.tables import write_parquet
from aesthetics_ops.errors import IntegrityError, NoSuchVersionError
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.stores import flipped
from aesthetics_ops.versions.rollback import rollback
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, photo, reseal, smaller

FILES = [file for file in VersionFile if file is not VersionFile.MANIFEST]
TABLES = [VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.NEAR_DUPLICATES, VersionFile.PLAN]
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flip at the beginning": lambda data: flipped(data, 3),
    "flip in the middle": flipped,
    "flip at the end": lambda data: flipped(data, -1),
    "cut": lambda data: data[:-7],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"\n",
    "a page of a portal": lambda data: b"<html>please log in</html>",
}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Night, Night]:
    """Two versions with rejects and near-duplicates."""
    source = Source(
        f"file://{tmp_path_factory.mktemp('tampering')}/", {name: n % 9 + 1 for n, name in enumerate(PHOTOS)}
    )
    for name in PHOTOS:
        source.add(name, photo(name))
    source.add("twin", smaller(photo(PHOTOS[0])), 5)
    source.add("broken", b"no photo", 4)
    source.score({"nobody": 3})
    source.add("unlabelled", photo(ARRIVING))
    first = build_once(source.settings(max_reject_fraction=1))
    source.add("later", smaller(photo(ARRIVING), scale=0.9), 4)
    return first, build_once(source.settings(max_reject_fraction=1))


class Copy:
    """The two versions in a store of their own."""

    def __init__(self, nights: tuple[Night, Night], store: Store) -> None:
        self.store = store
        self.first, self.second = (night.manifest.version for night in nights)
        for key in nights[0].dataset.list()["key"].to_pylist():
            if not key.startswith("builds/"):
                store.put(key, nights[0].dataset.get(key).data)

    def get(self, key: str) -> bytes:
        return bytes(self.store.get(key).data)

    def manifest(self, version: str) -> dict[str, Any]:
        return dict(json.loads(self.get(version_key(version, VersionFile.MANIFEST))))


_copies = iter(range(10_000))


@pytest.fixture
def copy(nights: tuple[Night, Night]) -> Copy:
    return Copy(nights, open_store(f"memory://tampering{next(_copies)}/d/"))


def found(copy: Copy, version: str) -> str:
    """What verify says, in one line."""
    with pytest.raises((IntegrityError, NoSuchVersionError)) as caught:
        verify_version(copy.store, version)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_versions_are_whole(copy: Copy) -> None:
    for version in (copy.first, copy.second):
        assert verify_version(copy.store, version).version == version
        reseal(copy.store, version)
        assert verify_version(copy.store, version).version == version


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [*FILES, VersionFile.MANIFEST])
def test_a_damaged_file_is_named(copy: Copy, file: VersionFile, damage: str) -> None:
    for version in (copy.first, copy.second):
        key = version_key(version, file)
        copy.store.put(key, DAMAGES[damage](copy.get(key)))
        assert copy.store.url_of(key) in found(copy, version)


@pytest.mark.parametrize("file", [*FILES, VersionFile.MANIFEST])
def test_a_file_that_is_gone_or_of_another_version_is_named(copy: Copy, file: VersionFile) -> None:
    ours, theirs = (version_key(version, file) for version in (copy.first, copy.second))
    copy.store.put(ours, copy.get(theirs))
    assert copy.store.url_of(ours) in found(copy, copy.first) or file is VersionFile.NEAR_DUPLICATES
    copy.store.delete([ours, theirs])
    for version in (copy.first, copy.second):
        assert (version in found(copy, version)) or copy.store.url_of(version_key(version, file)) in found(
            copy, version
        )


@pytest.mark.parametrize("damage", [*DAMAGES, "gone", "another"])
def test_a_damaged_shard_is_named(copy: Copy, damage: str) -> None:
    paths = [shard["path"] for split in copy.manifest(copy.second)["splits"].values() for shard in split["shards"]]
    for path in (paths[0], paths[-1]):
        data = copy.get(path)
        if damage == "gone":
            copy.store.delete([path])
        else:
            copy.store.put(path, copy.get(paths[1]) if damage == "another" else DAMAGES[damage](data))
        assert copy.store.url_of(path) in found(copy, copy.second)
        copy.store.put(path, data)


CHANGES: dict[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "string": lambda column: pc.binary_join_element_wise(column, pa.scalar("x"), ""),
    "int64": lambda column: pc.add(column, 1),
    "float": lambda column: pc.add(column, 0.25),
    "bool": pc.invert,
    "list<element: string>": lambda column: pa.chunked_array([[["grayscale_cmyk"]] * len(column)], column.type),
    "list<element: float>": lambda column: pa.chunked_array([[[0.1] * 10] * len(column)], column.type),
    "list<element: int64>": lambda column: pa.chunked_array([[[7] * 10] * len(column)], column.type),
    "int32": lambda column: pc.add(column, 1),
}
NOT_STATED_TWICE = {
    ("records", "phash"),  # of pixels, which are not decoded
    ("rejects", "shard"), ("rejects", "reason"), ("rejects", "detail"),  # conversion's own words: counts tell of some
    ("near_duplicates", "group"),  # a name
    ("plan", "reason"), ("plan", "detail"),
}  # fmt: skip


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("file", TABLES)
def test_a_changed_field_of_a_table_is_named(copy: Copy, file: VersionFile, is_sealed: bool, row: int) -> None:
    """Sealed: the manifest and LATEST go along, so that no sum tells, and only what is stated twice is found."""
    key = version_key(copy.second, file)
    whole, sealed = copy.get(key), copy.manifest(copy.second)
    table = pq.read_table(io.BytesIO(whole))
    for field in table.schema.names:
        place = row % table.num_rows
        column = table[field].combine_chunks()
        changed = CHANGES[str(column.type)](table[field]).combine_chunks().cast(column.type)
        mixed = pa.concat_arrays([column[:place], changed[place : place + 1], column[place + 1 :]])
        if mixed.equals(column):
            continue  # it was null
        is_of_label_row = file is VersionFile.REJECTS and table["key"][place].as_py() is None
        is_of_reject = file is VersionFile.PLAN and table["digest"][place].as_py() is None
        if is_of_reject and field in ("distribution", "votes", "label_std", "extra_scores"):
            continue  # votes of a photo that is left out stand nowhere else
        copy.store.put(
            key, write_parquet(table.set_column(table.schema.get_field_index(field), table.schema.field(field), mixed))
        )
        if is_sealed:
            reseal(copy.store, copy.second)
        if (file.removesuffix(".parquet"), field) not in NOT_STATED_TWICE and not is_of_label_row:
            assert field in (said := found(copy, copy.second)), field
            assert file in said, said
        elif not is_sealed:
            assert copy.store.url_of(key) in found(copy, copy.second)
        copy.store.put(key, whole)
        reseal(copy.store, copy.second, lambda values: values.update(sealed))
    assert verify_version(copy.store, copy.second)


def numbers(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all numbers and digests of a manifest that state something about its content."""
    if isinstance(values, dict):
        return [found for name, value in values.items() for found in numbers(value, (*path, name))]
    if isinstance(values, list):
        return [found for number, value in enumerate(values) for found in numbers(value, (*path, number))]
    is_counted = isinstance(values, int | float) and not isinstance(values, bool)
    return [path] if is_counted or path[-1] in ("path", "sha256", "crc32c", "fingerprint", "settings_digest") else []


# stated by the build alone, or about its parent
ALONE = {
    "schema_version", "settings", "gates", "software", "labels.source_min", "labels.source_max",
    "source.label_rows", "near_duplicates.max_distance", "converter", "images.quantiles",
}  # fmt: skip


def test_every_number_of_the_manifest_is_compared(copy: Copy) -> None:
    sealed = copy.manifest(copy.second)
    tried = 0
    for path in numbers(sealed):
        name = ".".join(map(str, path))
        if path[0] in ALONE or ".".join(map(str, path[:2])) in ALONE:
            continue

        def change(values: dict[str, Any], path: tuple[Any, ...] = path) -> None:
            *above, last = path
            place: Any = values
            for part in above:
                place = place[part]
            old = place[last]
            place[last] = old[:-1] + ("0" if old[-1] != "0" else "1") if isinstance(old, str) else old + 1

        reseal(copy.store, copy.second, change)
        said = found(copy, copy.second)
        assert any(word in said for word in (str(path[-1]), str(path[0]), str(path[-2:][0]))), (name, said)
        reseal(copy.store, copy.second, lambda values: values.update(sealed))
        tried += 1
    assert tried > 60
    assert verify_version(copy.store, copy.second)


@pytest.mark.parametrize("name", ["../../../../etc", "", "..", "a/b", "/etc", ".hidden", "a\nb"])
def test_a_version_of_a_hostile_name_is_refused(copy: Copy, name: str) -> None:
    reseal(copy.store, copy.second, lambda values: values.update(version=name))
    assert "version: " in found(copy, copy.second)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_latest_is_named(copy: Copy, damage: str) -> None:
    copy.store.put(LATEST_KEY, DAMAGES[damage](copy.get(LATEST_KEY)))
    if damage == "longer":
        return  # still the same document
    with pytest.raises((IntegrityError, NoSuchVersionError)) as caught:
        verify_version(copy.store)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["cut shard", "altered table", "other manifest"])
def test_a_rollback_goes_to_nothing_that_is_not_whole(copy: Copy, kind: str) -> None:
    latest = copy.get(LATEST_KEY)
    splits = copy.manifest(copy.first)["splits"]
    key = {
        "cut shard": next(shard["path"] for split in splits.values() for shard in split["shards"]),
        "altered table": version_key(copy.first, VersionFile.PLAN),
        "other manifest": version_key(copy.first, VersionFile.MANIFEST),
    }[kind]
    other = copy.get(version_key(copy.second, VersionFile.MANIFEST))
    data = copy.get(key)
    copy.store.put(key, {"cut shard": data[:-1], "altered table": flipped(data), "other manifest": other}[kind])
    with pytest.raises(IntegrityError, match=copy.store.url_of(key)):
        rollback(copy.store, copy.first)
    assert copy.get(LATEST_KEY) == latest
    copy.store.put(key, data)
    assert rollback(copy.store, copy.first).version == copy.first
