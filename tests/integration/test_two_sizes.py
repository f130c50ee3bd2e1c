"""docs/reading.md, Store small: two tables make two datasets of one source, with the same records and other pixels."""

from pathlib import Path

import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.cli import main
from aesthetics_ops.config import load_configuration
from aesthetics_ops.pixels.jpeg_header import read_jpeg_header
from tests.support.documents import make_reports_quick
from tests.support.nights import SAMPLES, Source, build_once, photo
from tests.support.paths import ROOT

COUNT = 10


def _sides(path: Path) -> tuple[int, int]:
    frame = read_jpeg_header(path.read_bytes()).frame
    return min(frame.width_px, frame.height_px), max(frame.width_px, frame.height_px)


def test_two_tables_publish_one_source_at_two_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    block = page.partition("run by tests/integration/test_two_sizes.py -->\n```toml\n")[2].partition("```")[0]
    source = Source(tmp_path.as_uri() + "/", {})
    fitting = [path.stem for path in sorted(SAMPLES.glob("*.jpg")) if _sides(path)[0] >= 330 and _sides(path)[1] == 500]
    assert len(fitting) >= COUNT
    for number, name in enumerate(fitting[:COUNT]):
        source.add(name, photo(name), number)
    text = block.replace("s3://bucket/", source.url).replace("AVA.txt", "scores.csv")
    (tmp_path / "datasets.toml").write_text(text)
    make_reports_quick(monkeypatch)
    configured = load_configuration(tmp_path / "datasets.toml")
    assert configured.faulty == ()
    assert [dataset.name for dataset in configured.datasets] == ["ava", "ava_384"]
    large, small = (open_dataset(build_once(dataset.build).manifest.dataset) for dataset in configured.datasets)
    for split in large.splits:
        before, after = (dataset.records(split) for dataset in (large, small))
        assert sorted(zip(*(before[name].to_pylist() for name in ("id", "label")), strict=True)) == sorted(
            zip(*(after[name].to_pylist() for name in ("id", "label")), strict=True)
        )
    longest = [
        [max(row["width"], row["height"]) for row in dataset.records().to_pylist()] for dataset in (large, small)
    ]
    assert (max(longest[0]), max(longest[1])) == (500, 384)
    assert small.manifest.bytes < large.manifest.bytes
    said = []
    for dataset in (large, small):
        assert main(["show", dataset.manifest.dataset]) == 0
        said += [line for line in capsys.readouterr().out.splitlines() if line.startswith("crops ")]
    assert [line.endswith("with 320 a quarter") for line in said] == [True, False]
