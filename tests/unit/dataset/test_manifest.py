"""The manifest as a contract with readers of a dataset."""

import json

import pytest
from pydantic import ValidationError

from aesthetics_ops.dataset.manifest import Accounting, Manifest
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


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(Manifest.model_json_schema(), indent=1) + "\n", encoding="utf-8")
