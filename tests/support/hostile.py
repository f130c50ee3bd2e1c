"""Datasets that somebody hostile has written: each with one thing in it that no build writes."""

import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aesthetics_ops.dataset.candidates import CandidateMark, RefusedGate
from aesthetics_ops.dataset.layout import (
    LATEST_KEY,
    BuildFile,
    VersionFile,
    build_key,
    candidate_key,
    pin_key,
    published_key,
    version_key,
)
from aesthetics_ops.dataset.moves import Given
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.datasets import LeftOut, SyntheticDataset, synthetic_photos
from aesthetics_ops.versions.pointing import pin, point
from tests.support.nights import reseal

__all__ = ["BUILD", "NASTY_NAMES", "NASTY_TEXT", "NASTY_VALUES", "hostile_datasets"]

BUILD = "2026-11-23T020000"
NASTY_TEXT = "\x1b[2J<script>alert(1)</script>\x00\r\n\u202e../../etc/passwd" + "x" * 5000
NASTY_NAMES = (
    "..",
    ".",
    "",
    "a/b",
    "%2e%2e",
    "a" * 5000,
    "\x1b[2J",
    "<b>",
    "-rf",
    "a\nb",
    "\x00",
    "\ud83d\ude00",
    "a?b#c",
    "v%00",
)
NASTY_VALUES: tuple[Any, ...] = (
    10**10, -1, 10**400, 2**63, float("inf"), float("nan"), -0.0, 1e308, "", "x", NASTY_TEXT, None, True, [], {}, [[]], {"a": NASTY_TEXT}, [None] * 3,
)  # fmt: skip
_PLACES = (
    "schema_version", "dataset", "version", "parent", "created_at", "source", "source.photos", "source.listed", "source.bytes", "source.labels",
    "source.label_columns", "settings", "settings.quality", "software", "features", "accounting.listed", "accounting.converted",
    "rejects", "rejects.unlabelled", "transforms", "splits", "splits.train", "splits.train.records", "splits.train.bytes", "splits.train.shards",
    "splits.train.shards.0", "splits.train.shards.0.path", "splits.train.shards.0.records", "splits.train.shards.0.bytes",
    "labels.min", "labels.mean", "labels.std", "labels.histogram.counts", "images.width", "images.total_pixels", "jpegs", "jpegs.kinds", "jpegs.hardware",
    "reuse.shards_total", "reuse.shards_added", "near_duplicates", "near_duplicates.examples", "gates", "gates.0.measured", "gates.0.name", "gates.0.unit",
    "validation.records", "fingerprint", "converter", "files",
)  # fmt: skip


_SMALL_PLACES = (
    ("name", "version", "move", "move.at", "move.by", "move.reason", "move.previous", "move.overruled", "move.action"),
    (
        "version",
        "sha256",
        "parent",
        "latest_etag",
        "refused",
        "refused.0",
        "refused.0.name",
        "refused.0.measured",
        "refused.0.found",
    ),
)  # of a pin and of a candidate's mark


def _set(values: Any, place: str, value: Any) -> None:
    *above, last = place.split(".")
    for part in above:
        values = values[int(part) if isinstance(values, list) else part]
    values[int(last) if isinstance(values, list) else last] = value


def _grown(values: dict[str, Any], number: int) -> None:
    """Every count that has to agree with another is larger, so that the manifest adds up."""
    values["accounting"].update(
        listed=number, converted=number, rejected=0, label_rows=number, matched=number, unmatched=0
    )
    values["source"].update(listed=number, bytes=number, label_rows=number)
    values.update(rejects={}, jpegs=None)
    values["validation"].update(records=number, decoded=number)
    values["splits"]["train"].update(records=number, bytes=number)
    values["splits"]["train"]["shards"][0].update(records=number, bytes=number)
    for split in ("validation", "test"):
        values["splits"][split] = {"records": 0, "bytes": 0, "shards": []}


def _tables() -> dict[str, Callable[[pa.Table], bytes]]:
    def written(table: pa.Table) -> bytes:
        sink = io.BytesIO()
        pq.write_table(table, sink)
        return sink.getvalue()

    def column(name: str, value: Any, kind: pa.DataType) -> Callable[[pa.Table], bytes]:
        def change(table: pa.Table) -> bytes:
            if name not in table.column_names:
                return written(table)
            return written(
                table.set_column(table.schema.get_field_index(name), name, pa.array([value] * table.num_rows, kind))
            )

        return change

    return {
        "empty file": lambda table: b"",
        "cut": lambda table: written(table)[:-9],
        "html": lambda table: b"<html><script>alert(1)</script>",
        "flipped": lambda table: bytes(b ^ (i % 97 == 40) for i, b in enumerate(written(table))),
        "no rows": lambda table: written(table.slice(0, 0)),
        "no columns": lambda table: written(table.select([])),
        "other columns": lambda table: written(pa.table({"a": [1]})),
        "rows twice": lambda table: written(pa.concat_tables([table, table])),
        **{f"text in {name}": column(name, NASTY_TEXT, pa.string()) for name in ("id", "key", "etag", "split", "shard", "reason", "detail", "offset", "label", "width")},
        **{f"null in {name}": column(name, None, pa.string()) for name in ("id", "key", "shard", "split", "reason", "offset", "transforms")},
        **{f"number in {name}": column(name, -(2**62), pa.int64()) for name in ("id", "offset", "length", "bytes", "width", "height")},
        **{f"huge number in {name}": column(name, 2**62, pa.int64()) for name in ("offset", "length", "bytes", "width", "height")},
        **{f"{value} in label": column("label", value, pa.float32()) for value in (float("nan"), float("inf"), 3e38)},
        "bytes that are no text": column("id", b"\xff\xfe\x00", pa.binary()),
        "nested": column("transforms", {"a": [1]}, pa.struct([("a", pa.list_(pa.int32()))])),
        "text in transforms": column("transforms", [NASTY_TEXT], pa.list_(pa.string())),
        "null in a list": column("transforms", [None], pa.list_(pa.string())),
        "a stamp in label": column("label", 10**18, pa.timestamp("ns")),
    }  # fmt: skip


_CANDIDATE = "20300101T000000Z-0123abcd-000000"


def _whole() -> tuple[Store, str, str]:
    dataset = SyntheticDataset(open_store("memory://hostile/whole/"), per_shard=4)
    left_out = [LeftOut("night.jpg", "corrupt", "cut off"), LeftOut("b.jpg", "unlabelled", "no row")]
    first = dataset.publish(synthetic_photos(10), left_out)
    second = dataset.publish(synthetic_photos(20), left_out)
    digests = [shard.digest for shard in second.manifest.splits["train"].shards]
    dataset.plan(BUILD, second.manifest.created_at, [digests])
    given = Given("ada", "a reason")
    point(dataset.store, "prod", first.version, given)
    pin(dataset.store, "run", second.version, given)
    manifest = bytes(dataset.store.get(version_key(second.version, VersionFile.MANIFEST)).data)
    refused = RefusedGate(name="min_records", measured=1, limit=2, bound="least", found="1 record")
    mark = CandidateMark(
        version=_CANDIDATE, sha256="0" * 64, parent=None, latest_etag=None, content="", refused=(refused,)
    )
    dataset.store.put(
        version_key(_CANDIDATE, VersionFile.MANIFEST), manifest.replace(second.version.encode(), _CANDIDATE.encode())
    )
    dataset.store.put(candidate_key(_CANDIDATE), mark.encoded())
    return dataset.store, first.version, second.version


_Change = Callable[[Store], None]


def hostile_datasets(*, sample: bool = False, only: str = "") -> Iterator[tuple[str, Store, str, str]]:
    """Yield a name, a dataset, and the two versions that it was published with; the second is the hostile one.

    Args:
        sample: every place in a document gets one of the values, and half of what can be wrong with an object is tried.
        only: those whose name begins so.
    """
    whole, first, second = _whole()
    objects = {key: bytes(whole.get(key).data) for key in whole.list()["key"].to_pylist()}
    changes = [*_documents(objects, second, sample), *_objects(objects, second)[:: 2 if sample else 1]]
    for number, (name, change) in enumerate(changes):
        if name.startswith(only):
            store = open_store(f"memory://hostile/{number}/")
            for key, data in objects.items():
                store.put(key, data)
            change(store)
            yield name, store, first, second


def _documents(objects: dict[str, bytes], version: str, sample: bool) -> list[tuple[str, _Change]]:
    """A value where it does not belong, in a manifest that LATEST names and in a build's plan."""
    count = itertools.count()

    def values() -> Sequence[Any]:
        return [NASTY_VALUES[next(count) % len(NASTY_VALUES)]] if sample else NASTY_VALUES

    def sealed(change: Callable[[dict[str, Any]], None]) -> _Change:
        return lambda store: reseal(store, version, change)

    key = build_key(BUILD, BuildFile.PLAN)
    plan = json.loads(objects[key])
    small = {name: json.loads(objects[name]) for name in (pin_key("run"), candidate_key(_CANDIDATE))}
    for held in small.values():
        held.pop("checksum", None)

    def changed(name: str, place: str, value: Any) -> _Change:
        held = json.loads(json.dumps(small[name]))
        _set(held, place, value)
        return partial(Store.put, key=name, data=json.dumps(held).encode())

    return [
        *(
            (f"{name} {place} = {str(value)[:30]!r}", changed(name, place, value))
            for name, places in zip(small, _SMALL_PLACES, strict=True)
            for place in places
            for value in values()
        ),
        *((f"{place} = {str(value)[:30]!r}", sealed(partial(_set, place=place, value=value))) for place in _PLACES for value in values()),
        *((f"all counts {number}", sealed(partial(_grown, number=number))) for number in (10**6, 10**10, 2**62, 10**30)),
        *(
            (f"plan.json {name} = {str(value)[:30]!r}", partial(Store.put, key=key, data=json.dumps(plan | {name: value}).encode()))
            for name in plan
            for value in values()
        ),
    ]  # fmt: skip


def _objects(objects: dict[str, bytes], version: str) -> list[tuple[str, _Change]]:
    """An object of other bytes, and objects of odd names."""

    def table(key: str, data: bytes) -> _Change:
        def change(store: Store) -> None:
            store.put(key, data)
            reseal(store, version)

        return change

    found: list[tuple[str, _Change]] = []
    for file in (VersionFile.RECORDS, VersionFile.REJECTS, VersionFile.NEAR_DUPLICATES, VersionFile.PLAN):
        key = version_key(version, file)
        rows = pq.read_table(io.BytesIO(objects[key]))
        found += [(f"{file}: {name}", table(key, write(rows))) for name, write in _tables().items()]
    manifest = version_key(version, VersionFile.MANIFEST)
    noted = [key for key in objects if key.startswith(("pointers/", "pins/", "log/", "candidates/"))]
    for key in (LATEST_KEY, manifest, published_key(version), build_key(BUILD, BuildFile.PLAN), *noted):
        for data in (*_NO_DOCUMENTS, objects[key][:-9]):
            found.append((f"{key}: {data[:12]!r}", partial(Store.put, key=key, data=data)))
    for key in sorted(key for key in objects if key.endswith(".tfrecord"))[:2]:
        for data in (b"", objects[key][:-5], b"\xff" * 5000, b"\x00" * 5000):
            found.append((f"{key}: {data[:6]!r}", partial(Store.put, key=key, data=data)))
    return [*found, ("odd names", partial(_put_odd_names, manifest=objects[manifest]))]


_NO_DOCUMENTS = (b"", b"{}", b"[]", b"null", b"\xff\xfe", b"<html>", b"[" * 50_000, b'{"a":' * 3000, b"9" * 5000)


def _put_odd_names(store: Store, manifest: bytes) -> None:
    for name in NASTY_NAMES:
        for key in (
            f"versions/{name}/manifest.json",
            f"published/{name}.json",
            f"builds/{name}/plan.json",
            f"builds/{name}/started.json",
            f"candidates/{name}.json",
            f"pointers/{name}.json",
            f"pins/{name}.json",
        ):
            with suppress(AestheticsOpsError, ValueError):  # a store may refuse such a key
                store.put(key, manifest)
