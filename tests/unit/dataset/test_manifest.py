"""The manifest as a contract with readers of a dataset."""

import json

import pytest
from pydantic import ValidationError

from aesthetics_ops.dataset.manifest import Accounting, JpegKind, Jpegs, Manifest, Shard
from aesthetics_ops.testing.manifests import bare_manifest
from tests.support.paths import ROOT

SCHEMA = ROOT / "docs" / "manifest.schema.json"


def test_the_committed_json_schema_is_the_models() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == Manifest.model_json_schema(), (
        "the manifest's model changed; write its schema anew: python -m tests.unit.dataset.test_manifest"
    )


def test_the_contracts_names_are_there() -> None:
    assert {
        "schema_version", "dataset", "version", "parent", "created_at", "source", "settings", "settings_digest", "software",
        "features", "accounting", "rejects", "transforms", "splits", "labels", "images", "reuse", "validation", "fingerprint",
    } <= set(Manifest.model_fields)  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((10, 7, 2, 5, 5, 0), "listed 10 is not converted 7 \\+ rejected 2"),
        ((10, 8, 2, 5, 5, 1), "label_rows 5 is not matched 5 \\+ unmatched 1"),
    ],
)
def test_an_accounting_that_does_not_add_up_cannot_be_made(counts: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Accounting(**dict(zip(Accounting.model_fields, counts, strict=True)))


def test_kinds_of_jpeg_that_do_not_add_up_to_the_records_cannot_be_made() -> None:
    shard = Shard(path="shards/ab/abc.tfrecord", records=3, bytes=9, sha256="0" * 64, crc32c="0" * 8)
    whole = JpegKind(progressive=False, sampling="4:2:0", records=3)
    for kinds in (
        [whole],
        [whole.model_copy(update={"records": 1}), JpegKind(progressive=None, sampling=None, records=2)],
    ):
        made = bare_manifest("s3://bucket/d/", {"train": [shard]}, jpegs=Jpegs(kinds=tuple(kinds), hardware=1))
        assert Manifest.parse(made.encoded(), name="it") == made
    with pytest.raises(ValidationError, match="6 records by kind of JPEG, but 3 photos converted"):
        bare_manifest("s3://bucket/d/", {"train": [shard]}, jpegs=Jpegs(kinds=(whole, whole), hardware=3))


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(Manifest.model_json_schema(), indent=1) + "\n", encoding="utf-8")
