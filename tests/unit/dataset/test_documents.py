"""Documents are written strictly and read tolerantly; manifests of every schema so far are read."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from aesthetics_ops.builds import BuildPlan, PartitionResult
from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import LatestPointer
from aesthetics_ops.dataset.manifest import SCHEMA_VERSION, Manifest, Reuse
from aesthetics_ops.dataset.reading_manifests import is_of_a_newer_release
from aesthetics_ops.dataset.results import RecordIndex, ShardResult, ShardVerdict
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import open_store
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden" / "manifests"
SHA256 = "0" * 64
DOCUMENTS: dict[type[Document], dict[str, Any]] = {
    LatestPointer: {"version": "v", "manifest": "versions/v/manifest.json", "sha256": SHA256},
    ShardVerdict: {"digest": SHA256, "sha256": SHA256, "records": 2, "decoded": 2, "tensorflow": "2.21.0"},
    PartitionResult: {"plan": "p", "shards": {"a": "b"}, "lost": []},
    ShardResult: {
        "digest": SHA256, "photos": 1, "records": 1, "bytes": 9, "sha256": SHA256, "crc32c": "00000000",
        "converter_version": 4, "rejected": [], "index": {name: [] for name in RecordIndex.model_fields},
    },
    Manifest: json.loads((GOLDEN / f"{SCHEMA_VERSION}.json").read_text(encoding="utf-8")),
}  # fmt: skip
every_document = pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.__name__)


def grown(values: Any) -> Any:
    """The same JSON with an unknown field in every object that has named fields."""
    if isinstance(values, list):
        return [grown(value) for value in values]
    if not isinstance(values, dict):
        return values
    return {name: grown(value) for name, value in values.items()} | {"of_a_newer_release": [1, {"x": None}]}


@every_document
def test_a_document_comes_back_as_it_was_written(kind: type[Document]) -> None:
    document = kind.parse(json.dumps(DOCUMENTS[kind]).encode(), name="it")
    assert kind.parse(document.encoded(), name="it") == document
    assert document.encoded() == kind.parse(document.encoded(), name="it").encoded()


@every_document
def test_a_field_of_a_newer_release_is_passed_over(kind: type[Document]) -> None:
    values = DOCUMENTS[kind]
    newer = values | {"of_a_newer_release": {"deep": [1, 2]}}
    assert kind.parse(json.dumps(newer).encode(), name="it") == kind.parse(json.dumps(values).encode(), name="it")


def test_a_field_more_in_any_part_of_a_manifest_is_passed_over() -> None:
    values = DOCUMENTS[Manifest]
    free = {name: values[name] for name in ("settings", "software", "features", "rejects", "transforms", "splits")}
    newer = grown(values) | free | {"splits": {name: grown(split) for name, split in values["splits"].items()}}
    assert Manifest.parse(json.dumps(newer).encode(), name="it") == Manifest.parse(
        json.dumps(values).encode(), name="it"
    )


@every_document
def test_code_cannot_write_a_field_that_the_document_does_not_have(kind: type[Document]) -> None:
    with pytest.raises(ValidationError, match=r"(?i)extra inputs are not permitted"):
        kind(**DOCUMENTS[kind], **{"of_a_newer_release": 1})


@every_document
def test_what_is_missing_is_named_in_one_line(kind: type[Document]) -> None:
    with pytest.raises(IntegrityError) as caught:
        kind.parse(b"{}", name="s3://bucket/it")
    first = next(name for name, field in kind.model_fields.items() if field.is_required())
    assert str(caught.value).startswith(f"s3://bucket/it is not a {kind.kind}: ")
    assert f"{first}: field required" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"<html>", b"[1]", b"\xff\xfe", b"null"])
@every_document
def test_what_is_no_document_at_all_is_refused_in_one_line(kind: type[Document], data: bytes) -> None:
    with pytest.raises(IntegrityError, match=f"^it is not a {kind.kind}: ") as caught:
        kind.parse(data, name="it")
    assert "\n" not in str(caught.value)


def doubled(data: bytes) -> bytes:
    name = next(iter(json.loads(data)))
    return data.replace(b"{", b"{" + f'"{name}": null, '.encode(), 1)


def doubled_within(data: bytes) -> bytes:
    return data.rstrip()[:-1] + b', "of_a_newer_release": [{"x": 1, "y": 2, "x": 1}]}'


def with_more(more: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.rstrip()[:-1] + b', "of_a_newer_release": ' + more + b"}"


REFUSED: dict[str, Callable[[bytes], bytes]] = {
    "a name twice": doubled,
    "a name twice in a part that is passed over": doubled_within,
    "a seal that is no text": with_more(b'1, "checksum": "\xff\xfe"'),
    "nested deeply": with_more(b"[" * 5_000 + b"]" * 5_000),
    "nested without end": with_more(b'{"a":' * 200_000),
    "a number of 5,000 digits": with_more(b"9" * 5_000),
    "a text with half a character": with_more(b'"\xc3"'),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "more behind it": lambda data: data + b"{}",
    "zeros": lambda data: bytes(len(data)),
}


@every_document
@pytest.mark.parametrize("how", REFUSED)
def test_json_that_programs_read_differently_or_not_at_all_is_refused_in_one_line(
    kind: type[Document], how: str
) -> None:
    with pytest.raises(IntegrityError, match=f"^it is not (a|the) {kind.kind}") as caught:
        kind.parse(REFUSED[how](json.dumps(DOCUMENTS[kind]).encode()), name="it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [doubled(b'{"schema_version": 99}'), b"[" * 200_000, b"\xff", b'{"schema_version": true}']
)
def test_what_is_no_manifest_is_of_no_newer_release(data: bytes) -> None:
    assert not is_of_a_newer_release(data)


def test_a_document_that_is_not_there_is_none() -> None:
    assert LatestPointer.read(open_store("memory://no-documents/"), "LATEST.json") is None


def test_every_kind_has_a_name_of_its_own() -> None:
    kinds: list[type[Document]] = [*DOCUMENTS, BuildPlan]
    assert len({kind.kind for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("number", range(1, SCHEMA_VERSION + 1))
def test_a_manifest_of_every_schema_so_far_is_read(number: int) -> None:
    manifest = Manifest.parse((GOLDEN / f"{number}.json").read_bytes(), name="it")
    assert manifest.schema_version == number
    assert manifest.records == manifest.accounting.converted == 77
    assert manifest.reuse == Reuse(shards_total=7, shards_added=3, shards_reused=4)


def test_the_golden_manifests_are_those_of_all_schemas() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.json")) == [str(n) for n in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("number", [0, SCHEMA_VERSION + 1])
def test_a_manifest_of_another_schema_says_what_to_do(number: int) -> None:
    values = DOCUMENTS[Manifest] | {"schema_version": number}
    with pytest.raises(
        IntegrityError,
        match=rf"{number} is not a schema version that this release reads \(1 to {SCHEMA_VERSION}\); update",
    ):
        Manifest.parse(json.dumps(values).encode(), name="it")


def test_a_reason_that_this_release_does_not_know_is_counted_like_any_other() -> None:
    values = json.loads(json.dumps(DOCUMENTS[Manifest]))
    values["rejects"]["of_a_newer_release"] = values["rejects"].pop("corrupt")
    assert Manifest.parse(json.dumps(values).encode(), name="it").rejects["of_a_newer_release"] == 1


def test_counts_that_do_not_add_up_are_refused_when_read() -> None:
    values = DOCUMENTS[Manifest] | {"rejects": {"corrupt": 1}}
    with pytest.raises(IntegrityError, match="rejects by reason add up to 1, not 7"):
        Manifest.parse(json.dumps(values).encode(), name="it")
