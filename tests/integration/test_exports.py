"""Exports and processes of their own: each library finds the same records; an export that was killed or had no room goes on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops import Dataset, open_dataset, open_store
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.readers.exporting.export import FORMATS
from aesthetics_ops.testing.datasets import SyntheticVersion
from tests.support.documents import make_reports_quick
from tests.support.exports import publish_odd_ids
from tests.support.nights import PHOTOS, Source, build_once, photo
from tests.support.paths import ROOT

CUT_OFF = """
import os, signal, sys
from aesthetics_ops import open_dataset

def kill(size):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

left = int(sys.argv[4])
open_dataset(sys.argv[1]).export(sys.argv[2], sys.argv[3], progress=kill)
"""


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of real photos, one of them gray, with counts of votes and an extra score, in several shards."""
    source = Source(tmp_path_factory.mktemp("voted").as_uri() + "/", {})
    lines = ["id,c1,c2,c3,quality"]
    for number, name in enumerate((*PHOTOS[:7], "909299")):
        source.add(name, photo(name))
        lines.append(f"{name},{number},2,{2 * number},{number / 4}")
    source.store.put("scores.csv", "\n".join(lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        make_reports_quick(patch)
        build_once(
            source.settings(
                vote_columns="c1..c3",
                extra_scores="quality",
                test_fraction=0.3,
                validation_fraction=0,
                shard_bytes=60_000,
            )
        )
    return open_dataset(f"{source.url}dataset/")


@pytest.fixture
def made(tmp_path: Path) -> SyntheticVersion:
    return publish_odd_ids(tmp_path / "published")


@pytest.fixture
def dataset(made: SyntheticVersion) -> Dataset:
    return open_dataset(made.store.url)


def rows_of(dataset: Dataset) -> dict[str, dict[str, list[Any]]]:
    """What each record is, as `read_back.py` compares it."""
    return {
        split: {
            row.id: [row.label, hashlib.sha256(row.image).hexdigest(), row.votes] for row in dataset.open_split(split)
        }
        for split, content in dataset.splits.items()
        if content.records
    }


def read_back(reader: str, folder: Path, dataset: Dataset) -> None:
    expected = folder.with_name("expected.json")
    expected.write_text(json.dumps(rows_of(dataset)))
    script = ROOT / "benchmarks" / "peers" / "read_back.py"
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "HOME": str(folder.with_name("home")),
    }
    done = subprocess.run(
        [sys.executable, str(script), reader, str(folder), str(expected)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    count = sum(map(len, rows_of(dataset).values()))
    assert done.stdout.splitlines()[-1:] == [f"{reader}: {count} records, ids, labels, votes and JPEG bytes equal"], (
        done.stderr
    )


@pytest.mark.parametrize(
    ("reader", "module", "written"),
    [
        ("webdataset", "webdataset", "webdataset"),
        ("datasets", "datasets", "parquet"),
        ("croissant", "mlcroissant", "parquet"),
        ("tfds", "tensorflow_datasets", None),
    ],
)
def test_the_library_finds_what_the_records_are(
    voted: Dataset, tmp_path: Path, reader: str, module: str, written: str | None
) -> None:
    if not _has(module):
        pytest.skip(f"{module} is not installed")
    folder = tmp_path / "out"
    if written is None:
        voted.pull(folder, tools=["tfds"])
    else:
        voted.export(folder, written)
    read_back(reader, folder, voted)


def _has(module: str) -> bool:
    return find_spec(module) is not None


INDEX = """
import json, sys
import mlcroissant
rows = mlcroissant.Dataset(sys.argv[1]).records("records")
print(json.dumps({row["records/id"].decode(): [row["records/label"], row["records/votes"]] for row in rows}))
"""


def test_the_datasets_own_croissant_gives_every_records_labels(voted: Dataset) -> None:
    if not _has("mlcroissant"):
        pytest.skip("mlcroissant is not installed")
    store = open_store(voted.manifest.dataset)
    path = store.local_path(version_key(voted.version, VersionFile.CROISSANT))
    done = subprocess.run(
        [sys.executable, "-c", INDEX, str(path)], capture_output=True, text=True, timeout=300, check=False
    )
    expected = {photo: [label, votes] for rows in rows_of(voted).values() for photo, (label, _, votes) in rows.items()}
    assert json.loads(done.stdout or "{}") == {
        photo: [label, list(votes)] for photo, (label, votes) in expected.items()
    }, done.stderr


@pytest.mark.parametrize(("reader", "written"), [("webdataset", "webdataset"), ("datasets", "parquet")])
def test_odd_ids_stay_what_they_are(dataset: Dataset, tmp_path: Path, reader: str, written: str) -> None:
    if not _has(reader):
        pytest.skip(f"{reader} is not installed")
    dataset.export(tmp_path / "out", written)
    read_back(reader, tmp_path / "out", dataset)


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("kills_at", [1, 3, 6])
def test_an_export_that_was_killed_looks_like_nothing_and_goes_on(
    dataset: Dataset, tmp_path: Path, written: str, kills_at: int
) -> None:
    out, url = tmp_path / "out", dataset.manifest.dataset
    command = [sys.executable, "-c", CUT_OFF, url, str(out), written, str(kills_at)]
    killed = subprocess.run(command, cwd=ROOT, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert {path.name for path in out.iterdir()} <= {".aesthetics-ops-export", ".aesthetics-ops-lock"}
    done = dataset.export(out, written)
    whole = dataset.export(tmp_path / "whole", written)
    assert done.files == whole.files
    assert (done.written_bytes < whole.written_bytes) == (kills_at > 1)
    assert not (out / ".aesthetics-ops-export").exists()


@pytest.mark.parametrize("written", FORMATS)
def test_a_disk_that_fills_up_is_told_and_the_export_goes_on_later(
    made: SyntheticVersion, tmp_path: Path, written: str
) -> None:
    code = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000)); "
    code += "from aesthetics_ops.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "export", made.store.url, str(tmp_path / "out"), "--format", written]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (1, 3), done.stderr
    assert done.stderr.count("\n") == 1
    assert "00000" in done.stderr
    assert "the file is larger than its file system or `ulimit -f` allows" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        ".aesthetics-ops-export",
        ".aesthetics-ops-lock",
    }
    assert open_dataset(made.store.url).export(tmp_path / "out", written).files
