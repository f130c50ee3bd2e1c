"""S3 Inventory as the listing: what it gives is what a listing gives, and what is wrong with one is said."""

import csv
import gzip
import hashlib
import io
import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from aesthetics_ops.errors import IntegrityError, PlanError, SettingsError
from aesthetics_ops.settings import parse_settings
from aesthetics_ops.sources.inventory import read_inventory
from aesthetics_ops.sources.places import folder_of
from aesthetics_ops.store import Store, open_store

PHOTOS = "s3://photos/raw/"
NAMES = {
    "bucket": "Bucket", "key": "Key", "version_id": "VersionId", "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker", "size": "Size", "e_tag": "ETag",
}  # fmt: skip
ROWS = [
    {"bucket": "photos", "key": "raw/a.jpg", "size": 10, "e_tag": "aa"},
    {"bucket": "photos", "key": "raw/ab/white space +ü%20.jpg", "size": 11, "e_tag": "bb-2"},
    {"bucket": "photos", "key": 'raw/ab/comma, "quote".jpg', "size": 12, "e_tag": "cc"},
    {"bucket": "photos", "key": "raw/empty.jpg", "size": 0, "e_tag": "dd"},
    {"bucket": "photos", "key": "raw/", "size": 0, "e_tag": "ee"},
    {"bucket": "photos", "key": "raw/ab/", "size": 0, "e_tag": "ff"},
    {"bucket": "photos", "key": "raw2/b.jpg", "size": 13, "e_tag": "gg"},
    {"bucket": "photos", "key": "other.jpg", "size": 14, "e_tag": "hh"},
]
LISTED = {
    "a.jpg": (10, "aa"), "ab/white space +ü%20.jpg": (11, "bb-2"), 'ab/comma, "quote".jpg': (12, "cc"),
    "empty.jpg": (0, "dd"),
}  # fmt: skip
TYPES = {"size": ("int64", "bigint", pa.int64()), "is_latest": ("boolean", "boolean", pa.bool_())}
TYPES["is_delete_marker"] = TYPES["is_latest"]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def encoded(rows: list[dict[str, Any]], kind: str) -> tuple[bytes, str]:
    """A data file and the fileSchema as S3 writes them."""
    names = list(rows[0])
    if kind == "CSV":
        text = io.StringIO()
        lines = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in rows:
            shown = row | {"key": quote_plus(row["key"], safe="/*")}
            lines.writerow("" if v is None else str(v).lower() if isinstance(v, bool) else v for v in shown.values())
        return gzip.compress(text.getvalue().encode()), ", ".join(NAMES[name] for name in names)
    schema = pa.schema([(name, TYPES[name][2] if name in TYPES else pa.string()) for name in names])
    table, sink = pa.Table.from_pylist(rows, schema), pa.BufferOutputStream()
    if kind == "ORC":
        orc.write_table(table, sink)
        columns = ",".join(f"{name}:{TYPES[name][1] if name in TYPES else 'string'}" for name in names)
        return sink.getvalue().to_pybytes(), f"struct<{columns}>"
    pq.write_table(table, sink)
    columns = " ".join(f"optional {TYPES[name][0] if name in TYPES else 'binary'} {name} (UTF8);" for name in names)
    return sink.getvalue().to_pybytes(), f"message s3.inventory {{ {columns} }}"


def write(
    folder: Store,
    files: list[list[dict[str, Any]]],
    /,
    *,
    kind: str = "CSV",
    time: str = "2026-01-01T01-00Z",
    **changes: Any,
) -> None:
    """Write an inventory as S3 does, with changes to its manifest."""
    entries, schema = [], ""
    for number, rows in enumerate(files):
        data, schema = encoded(rows, kind)
        name = f"data/{time}-{number}"
        folder.put(name, data)
        entries.append({"key": f"any/prefix/photos/nightly/{name}", "size": len(data), "MD5checksum": md5(data)})
    manifest = {
        "sourceBucket": "photos", "destinationBucket": "arn:aws:s3:::dst", "version": "2016-11-30",
        "creationTimestamp": "1767229200000", "fileFormat": kind, "fileSchema": schema, "files": entries,
    }  # fmt: skip
    text = json.dumps(manifest | changes).encode()
    folder.put(f"{time}/manifest.json", text)
    folder.put(f"{time}/manifest.checksum", md5(text).encode() + b"\n")


def listed(folder: Store, scratch: Path, url: str | None = None, photos: str = PHOTOS) -> dict[str, tuple[int, str]]:
    target = scratch / uuid.uuid4().hex
    read_inventory(folder, url or folder.url, photos=photos, listing=target)
    rows = pq.read_table(target).to_pylist()
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: (row["size"], row["etag"]) for row in rows}


@pytest.fixture(params=["memory", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    name = uuid.uuid4().hex
    where = (
        f"memory://{name}/inventory/photos/nightly/" if request.param == "memory" else (tmp_path / name).as_uri() + "/"
    )
    return open_store(where)


@pytest.mark.parametrize("kind", ["CSV", "Parquet", "ORC"])
def test_every_format_gives_the_keys_that_a_listing_gives(folder: Store, tmp_path: Path, kind: str) -> None:
    write(folder, [ROWS[:3], ROWS[3:]], kind=kind)
    assert listed(folder, tmp_path) == LISTED
    assert len(listed(folder, tmp_path, photos="s3://photos/")) == 6


@pytest.mark.parametrize("kind", ["CSV", "Parquet", "ORC"])
def test_old_versions_and_deleted_objects_are_no_photos(folder: Store, tmp_path: Path, kind: str) -> None:
    row = {"bucket": "photos", "key": "raw/a.jpg", "version_id": "1", "is_latest": True, "is_delete_marker": False}
    rows = [
        row | {"size": 10, "e_tag": "new"},
        row | {"version_id": "2", "is_latest": False, "size": 9, "e_tag": "old"},
        row | {"key": "raw/gone.jpg", "is_delete_marker": True, "size": None, "e_tag": None},
        row | {"key": "raw/gone.jpg", "is_latest": False, "size": 8, "e_tag": "before"},
    ]
    write(folder, [rows], kind=kind)
    assert listed(folder, tmp_path) == {"a.jpg": (10, "new")}


def test_plain_csv_is_read_too(folder: Store, tmp_path: Path) -> None:
    write(folder, [ROWS])
    data = gzip.decompress(folder.get("data/2026-01-01T01-00Z-0").data)
    folder.put("data/2026-01-01T01-00Z-0", data)
    manifest = json.loads(bytes(folder.get("2026-01-01T01-00Z/manifest.json").data))
    manifest["files"][0] |= {"size": len(data), "MD5checksum": md5(data)}
    text = json.dumps(manifest).encode()
    folder.put("2026-01-01T01-00Z/manifest.json", text)
    folder.put("2026-01-01T01-00Z/manifest.checksum", md5(text).encode())
    assert listed(folder, tmp_path) == LISTED


def test_more_files_than_are_held_at_once_are_all_read(folder: Store, tmp_path: Path) -> None:
    files = [[ROWS[0] | {"key": f"raw/{number}.jpg"}] for number in range(11)]
    write(folder, files, kind="Parquet")
    assert listed(folder, tmp_path) == {f"{number}.jpg": (10, "aa") for number in range(11)}


def test_an_inventory_of_nothing_lists_nothing(folder: Store, tmp_path: Path) -> None:
    write(folder, [])
    with pytest.raises(PlanError, match="no column"):  # S3 says the schema even then; this one has none
        listed(folder, tmp_path)
    write(folder, [], fileSchema="Bucket, Key, Size, ETag")
    assert listed(folder, tmp_path) == {}


def test_the_newest_finished_one_is_taken_and_a_manifest_may_be_named(folder: Store, tmp_path: Path) -> None:
    for day in (1, 2, 3):
        write(folder, [[ROWS[0] | {"size": day}]], time=f"2026-01-0{day}T01-00Z")
    folder.delete(["2026-01-03T01-00Z/manifest.checksum"])
    folder.put("hive/dt=2026-01-04-00-00/symlink.txt", b"x")
    for url in (folder.url, folder.url.rstrip("/")):
        assert listed(folder, tmp_path, url) == {"a.jpg": (2, "aa")}
    oldest = folder.url_of("2026-01-01T01-00Z/manifest.json")
    assert folder_of(oldest) == folder_of(folder.url) == folder.url
    assert listed(folder, tmp_path, oldest) == {"a.jpg": (1, "aa")}
    with pytest.raises(
        PlanError, match=r"not finished or not there: .*manifest\.checksum.*; S3 writes manifest.checksum last"
    ):
        listed(folder, tmp_path, folder.url_of("2026-01-03T01-00Z/manifest.json"))


def test_it_says_when_it_was_made_and_where_it_lies(folder: Store, tmp_path: Path) -> None:
    write(folder, [ROWS])
    found = read_inventory(folder, folder.url, photos=PHOTOS, listing=tmp_path / "listing")
    assert found.manifest == folder.url_of("2026-01-01T01-00Z/manifest.json")
    assert found.created_at.isoformat() == "2026-01-01T01:00:00+00:00"


@pytest.mark.parametrize("kind", ["CSV", "Parquet", "ORC"])
@pytest.mark.parametrize(("column", "option"), [("size", "Size"), ("e_tag", "ETag")])
def test_a_column_that_is_not_configured_is_named(
    folder: Store, tmp_path: Path, kind: str, column: str, option: str
) -> None:
    rows = [{name: value for name, value in row.items() if name != column} for row in ROWS]
    write(folder, [rows], kind=kind)
    name = option if kind == "CSV" else column
    with pytest.raises(PlanError, match=f"has no column '{name}'; add '{option}' to OptionalFields"):
        listed(folder, tmp_path)


class TestWhatIsWrongIsSaid:
    """Each fault has its message."""

    @pytest.fixture
    def folder(self) -> Store:
        return open_store(f"memory://{uuid.uuid4().hex}/inventory/photos/nightly/")

    def test_no_inventory_at_all(self, folder: Store, tmp_path: Path) -> None:
        with pytest.raises(PlanError, match=r"has 0 folders such as .*up to 48 hours after it was configured"):
            listed(folder, tmp_path)

    def test_a_manifest_that_was_changed(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [ROWS])
        folder.put("2026-01-01T01-00Z/manifest.checksum", b"0" * 32)
        with pytest.raises(
            IntegrityError, match=r"manifest.json' has MD5 [0-9a-f]{32}, but manifest.checksum .* says '0{32}'"
        ):
            listed(folder, tmp_path)

    def test_a_manifest_that_is_none(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [ROWS], files=[{"key": "x"}])
        with pytest.raises(PlanError, match=r"is not the manifest of an S3 inventory \(files\.0\.size: Field required"):
            listed(folder, tmp_path)

    def test_another_bucket(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [ROWS], sourceBucket="elsewhere")
        with pytest.raises(SettingsError, match=r"is of bucket 'elsewhere', but photos is 's3://photos/raw/'"):
            listed(folder, tmp_path)

    def test_a_format_of_tomorrow(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [ROWS], fileFormat="Avro")
        with pytest.raises(SettingsError, match="is in format 'Avro', not CSV, Parquet or ORC"):
            listed(folder, tmp_path)

    @pytest.mark.parametrize("damage", [b"", b"longer", None])
    def test_a_data_file_that_is_short_changed_or_gone(
        self, folder: Store, tmp_path: Path, damage: bytes | None
    ) -> None:
        write(folder, [ROWS])
        name = "data/2026-01-01T01-00Z-0"
        if damage is None:
            folder.delete([name])
        else:
            data = bytes(folder.get(name).data)
            folder.put(name, data[:-1] + damage)
        words = "is in the manifest but not in the store" if damage is None else "but the manifest says"
        with pytest.raises(IntegrityError, match=words):
            listed(folder, tmp_path)

    def test_a_data_file_of_another_format(self, folder: Store, tmp_path: Path) -> None:
        write(
            folder,
            [ROWS],
            fileFormat="Parquet",
            fileSchema="optional binary key optional int64 size optional binary e_tag",
        )
        with pytest.raises(PlanError, match="cannot be read as Parquet with columns"):
            listed(folder, tmp_path)

    def test_keys_that_are_not_url_encoded_text(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [[ROWS[0]]])
        data = gzip.compress(b'"photos","raw/%ff.jpg","1","e"\n')
        folder.put("data/x", data)
        entry = {"key": "p/data/x", "size": len(data), "MD5checksum": md5(data)}
        write(folder, [[ROWS[0]]], files=[entry])
        with pytest.raises(PlanError, match=r"cannot be read as CSV .*URL"):
            listed(folder, tmp_path)

    def test_a_key_without_an_etag(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [[*ROWS[:2], ROWS[2] | {"key": "raw/c.jpg", "e_tag": None}]])
        with pytest.raises(PlanError, match=r"gives no size or no ETag for 'c\.jpg'"):
            listed(folder, tmp_path)

    def test_versions_without_saying_which_is_the_latest(self, folder: Store, tmp_path: Path) -> None:
        write(folder, [ROWS[:1], ROWS[:1]])
        with pytest.raises(PlanError, match=r"lists 'a.jpg' more than once; .*IsLatest"):
            listed(folder, tmp_path)

    def test_photos_that_are_not_in_s3(self) -> None:
        urls = {"photos": "gs://b/photos/", "labels": "gs://b/s.csv", "dataset": "gs://b/d/"}
        with pytest.raises(SettingsError, match="inventory lists objects of S3, but photos is 'gs://b/photos/'"):
            parse_settings(urls | {"inventory": "s3://inv/photos/nightly/"}, where="test")
