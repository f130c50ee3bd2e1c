"""Columns that a user named oddly, in every container and in Croissant's documents."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.dataset.croissant import identifier
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.store import open_store
from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, Source, build_once, photo

ODD = (
    "sharp ness",
    "sharp_ness",
    "ümlaut x",
    "a:b",
    "a#b",
    "a%20b",
    "a'b",
    "{x}",
    "$x",
    "@x",
    "a.b",
    "照片",
    "http:",
    "a[0]",
    "a\\b",
    "id",
)
ROWS = """
import json, sys
import mlcroissant
for name in sys.argv[2:]:
    for row in mlcroissant.Dataset(sys.argv[1]).records(name):
        print(json.dumps({key.removeprefix(name + "/"): value for key, value in row.items() if "label" in key}))
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two records, whose extra scores are numbered."""
    source = Source(tmp_path_factory.mktemp("odd").as_uri() + "/", {})
    lines = ["key,score," + ",".join(ODD)]
    for number, name in enumerate(PHOTOS[:2]):
        source.add(name, photo(name))
        lines.append(f"{name}.jpg,{number + 3}," + ",".join(str(10 * number + place) for place in range(len(ODD))))
    source.store.put("scores.csv", "\n".join(lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        make_reports_quick(patch)
        build_once(source.settings(extra_scores=ODD, test_fraction=0, validation_fraction=0))
    return open_dataset(f"{source.url}dataset/")


def test_an_identifier_is_plain_and_no_other_names() -> None:
    found = [identifier(name) for name in ODD]
    assert len(set(found)) == len(ODD)
    assert all(name.replace("-", "").replace("_", "").replace(".", "").isalnum() for name in found)
    assert identifier("label/sharp_ness") == "label/sharp_ness"
    assert identifier("label/sharp ness") == "label/sharp_ness-3151663c", "as docs/reading.md says"


@pytest.mark.parametrize("which", ["export", "dataset"])
def test_croissants_loader_reads_columns_of_any_name(odd: Dataset, tmp_path: Path, which: str) -> None:
    if find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant is not installed")
    if which == "export":
        odd.export(tmp_path / "out", "parquet")
        path, records = tmp_path / "out" / "croissant.json", "train"
    else:
        store = open_store(odd.manifest.dataset)
        found = store.local_path(version_key(odd.version, VersionFile.CROISSANT))
        assert found is not None
        path, records = found, "records"
    done = subprocess.run(
        [sys.executable, "-c", ROWS, str(path), records], capture_output=True, text=True, timeout=300, check=False
    )
    rows = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda row: row["label"])
    assert [row["label"] for row in rows] == [3, 4], done.stderr
    for number, row in enumerate(rows):
        scores = {name: row[identifier(f"label/{name}")] for name in ODD}
        assert scores == {name: 10 * number + place for place, name in enumerate(ODD)}
