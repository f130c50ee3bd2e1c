"""The small inputs of tests/data/cases through the command line: each becomes a record."""

from pathlib import Path

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.dataset.reading_manifests import read_manifest
from aesthetics_ops.store import open_store
from tests.support.documents import make_reports_quick
from tests.support.paths import ROOT

CASES = ROOT / "tests" / "data" / "cases"


def test_every_case_is_in_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    make_reports_quick(monkeypatch)
    names = [str(path.relative_to(CASES)) for path in sorted(CASES.glob("*/*"))]
    (tmp_path / "scores.csv").write_text("key,score\n" + "".join(f"{name},{at}\n" for at, name in enumerate(names)))
    places = {
        "photos": CASES.as_uri(),
        "labels": (tmp_path / "scores.csv").as_uri(),
        "dataset": (tmp_path / "d").as_uri(),
    }
    arguments = [word for name, url in places.items() for word in (f"--{name}", url)]
    assert main(["build", *arguments, "--near-duplicate-distance", ""]) == 0, capsys.readouterr().err
    manifest = read_manifest(open_store(f"{places['dataset']}/"))
    assert manifest.validation.records == len(names)
