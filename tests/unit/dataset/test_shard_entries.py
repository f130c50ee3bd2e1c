"""A manifest whose shards are held as columns says what one of objects says, and is refused with the same words."""

import json
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.dataset.shard_entries import ShardColumns
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.testing.manifests import bare_manifest

LARGEST = 10**18 - 1


def shard(number: int, **others: Any) -> Shard:
    digest = f"{number:064x}"
    values = {"path": f"shards/{digest[:2]}/{digest}.tfrecord", "records": number + 1, "bytes": 100 + number}
    return Shard(**{**values, "sha256": f"{number + 7:064x}", "crc32c": f"{number + 9:08x}", **others})


def made(**splits: list[Shard]) -> Manifest:
    return bare_manifest("s3://bucket/d/", splits or {"train": [shard(0), shard(1), shard(2)], "test": [shard(5)]})


def as_objects(data: bytes) -> Manifest:
    """The manifest as any document is parsed."""
    return Document.parse.__func__(Manifest, data, name="it")  # type: ignore[attr-defined]


def compact(data: bytes) -> bytes:
    return json.dumps(json.loads(data), separators=(",", ":")).encode()


def spaced(data: bytes) -> bytes:
    return json.dumps(json.loads(data), indent=7, separators=(" ,\t", "\r\n:  ")).encode()


@pytest.mark.parametrize("layout", [bytes, compact, spaced, memoryview], ids=["written", "compact", "spaced", "view"])
def test_columns_say_what_was_written(layout: Callable[[bytes], Any]) -> None:
    manifest = made()
    found = Manifest.parse(layout(manifest.encoded()), name="it")
    assert {name for name, split in found.splits.items() if isinstance(split.shards, ShardColumns)} == {"train", "test"}
    assert found == manifest == found
    assert found.encoded() == manifest.encoded()
    assert found.model_dump() == manifest.model_dump()
    assert Manifest.model_validate(found.model_dump()) == found
    assert Manifest.model_validate(found.model_copy()) is not None
    assert pickle.loads(pickle.dumps(found)) == manifest  # noqa: S301 - made here


def test_columns_are_a_sequence_of_shards() -> None:
    shards = [shard(number) for number in range(5)] + [shard(5, records=LARGEST, bytes=LARGEST)]
    found = Manifest.parse(made(train=shards).encoded(), name="it").splits["train"].shards
    assert (list(found), len(found), found[-1], found[2]) == (shards, 6, shards[-1], shards[2])
    for part in (slice(1, 4), slice(None, None, -2), slice(4, 99)):
        assert found[part] == tuple(shards[part])
    for place in (6, -7):
        with pytest.raises(IndexError):
            found[place]
    assert found == tuple(shards)
    assert found != tuple(shards[1:])
    assert found != tuple(reversed(shards))
    assert (found[0].digest, shards[3] in found) == (shards[0].digest, True)


def test_a_million_shards_take_84_bytes_each() -> None:
    entry = made(train=[shard(1)]).splits["train"].shards[0].model_dump_json()
    document = made(train=[shard(1)]).encoded().decode()
    one = document[document.index("    {\n") : document.index("    }\n") + 5]
    many = document.replace(one, ",\n".join([one] * 1000))
    content = json.loads(many)
    for name in ("listed", "converted"):
        content["accounting"][name] = 2000
    content["splits"]["train"]["records"] = content["validation"]["records"] = content["validation"]["decoded"] = 2000
    found = Manifest.parse(json.dumps(content, indent=1).encode(), name="it").splits["train"].shards
    assert isinstance(found, ShardColumns)
    held = (found.digests, found.sums, found.crcs, found.records.tobytes(), found.sizes.tobytes())
    assert (len(found), sum(map(len, held))) == (1000, 84_000)
    assert found[999].model_dump_json() == entry


Change = Callable[[dict[str, Any]], Any]


def entry_with(**values: Any) -> Change:
    return lambda content: content["splits"]["train"]["shards"][1].update(values)


def without(name: str) -> Change:
    return lambda content: content["splits"]["train"]["shards"][1].pop(name)


UNUSUAL: dict[str, Change] = {
    "another path": entry_with(path="shards/ab/abc.tfrecord"),
    "a path of another digest": entry_with(path=f"shards/ff/{1:064x}.tfrecord"),
    "an unknown field": entry_with(new=1),
    "no shard": lambda content: content["splits"]["test"].update(shards=[], records=0),
    "shards in the settings": lambda content: content["settings"].update(shards=content["splits"]["test"]["shards"]),
    "another split": lambda content: content["splits"].update(more={"records": 0, "bytes": 0, "shards": []}),
    "a number for a list": lambda content: content["splits"]["test"].update(shards=[0]),
    "a list in a list": lambda content: content["splits"]["test"].update(shards=[[0]]),
    "no shards": lambda content: content["splits"]["test"].pop("shards"),
    "no splits": lambda content: content.pop("splits"),
    "a list of splits": lambda content: content.update(splits=[content["splits"]]),
    "no entry": lambda content: content["splits"]["train"]["shards"].append(None),
    "no records": without("records"),
    "no sum": without("sha256"),
    "no path": without("path"),
    "a sum of capitals": entry_with(sha256="A" * 64),
    "a short sum": entry_with(crc32c="0" * 7),
    "no record": entry_with(records=0),
    "less than none": entry_with(bytes=-1),
    "a number in words": entry_with(records="2"),
    "a broken number": entry_with(records=2.5),
    "a whole number with a point": entry_with(records=2.0),
    "a huge number": entry_with(bytes=10**18),
    "a number beyond 64 bits": entry_with(bytes=1 << 64),
    "null": entry_with(bytes=None),
    "truth": entry_with(records=True),
    "two faults": lambda content: [entry_with(records=0)(content), content.update(fingerprint="x")],
    "a fault elsewhere": lambda content: content.update(fingerprint="x"),
    "a count that is wrong": lambda content: content["accounting"].update(converted=3),
    "a newer schema": lambda content: content.update(schema_version=99),
}


def ending(parse: Callable[[], Manifest]) -> Manifest | str:
    try:
        return parse()
    except IntegrityError as error:
        return str(error)


@pytest.mark.parametrize("change", UNUSUAL)
def test_what_is_unusual_is_read_or_refused_as_any_document_is(change: str) -> None:
    content = json.loads(made().encoded())
    UNUSUAL[change](content)
    for data in (json.dumps(content, indent=1).encode(), compact(json.dumps(content).encode())):
        found = ending(partial(Manifest.parse, data, name="it"))
        assert found == ending(partial(as_objects, data))
        assert isinstance(found, Manifest) or found.startswith("it is not a manifest: ")


TEXTS: dict[str, tuple[bytes, bytes]] = {
    "a name twice in an entry": (b'"records": 2,', b'"records": 2, "records": 2,'),
    "a name twice in a split": (b'"shards": [', b'"shards": [], "shards": ['),
    "a split twice": (b'"test": {', b'"train": {'),
    "a name in escapes": (b'"shards": [', b'"sh\\u0061rds": ['),
    "a path in escapes": (b'"path": "sh', b'"path": "s\\u0068'),
    "a zero before a number": (b'"records": 2,', b'"records": 02,'),
    "a number with an exponent": (b'"records": 2,', b'"records": 2e0,'),
    "no comma": (b"},\n    {", b"}\n    {"),
    "a comma too many": (b"}\n   ]", b"},\n   ]"),
    "another blank": (b'"records": 2,', b'"records":\x0b2,'),
    "no end": (b'"fingerprint"', b""),
    "bytes that are no text": (b'"dataset": "', b'"dataset": "\xff'),
    "more behind it": (b'"train": {', b'"train": {}, {'),
}


@pytest.mark.parametrize("change", TEXTS)
def test_a_text_that_is_written_in_another_way_is_read_or_refused_as_any_document_is(change: str) -> None:
    old, new = TEXTS[change]
    data = made().encoded()
    assert old in data
    data = data.replace(old, new)
    assert ending(lambda: Manifest.parse(data, name="it")) == ending(lambda: as_objects(data))


def test_every_cut_of_a_manifest_is_refused_as_any_document_is() -> None:
    data = made().encoded()
    for end in range(0, len(data) - 2, 13):
        cut = data[:end]
        assert ending(partial(Manifest.parse, cut, name="it")) == ending(partial(as_objects, cut))
