"""The benchmark of score files: what it makes and reads, and the table it writes.  No figure."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ROWS = 60


def read(who: str, path: Path, small: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "benchmarks" / "read_labels.py"), who, str(path), str(small)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("who", ["ours", "bare"])
def test_every_kind_that_is_made_is_read_whole(tmp_path, who, monkeypatch, capsys):
    import read_labels
    from score_files import KINDS, make_score_file

    assert list(KINDS) == list(read_labels.BARE)
    for kind in KINDS:
        small, path = make_score_file(tmp_path, kind, 30), make_score_file(tmp_path, kind, ROWS)
        monkeypatch.setattr(sys, "argv", ["read_labels.py", who, str(path), str(small)])
        assert read_labels.main() == 0, capsys.readouterr().err
        costs = json.loads(capsys.readouterr().out)
        assert costs["file_bytes"] == path.stat().st_size
        assert costs["peak_bytes"] > costs["added_bytes"] >= 0


def test_known_kinds_are_read_as_such_and_not_by_the_names_of_their_columns(tmp_path):
    from score_files import KINDS, make_score_file

    from aesthetics_ops.settings import BuildSettings
    from aesthetics_ops.sources.labels import read_labels

    urls = {"photos": "s3://bucket/photos/", "labels": "s3://bucket/x", "dataset": "s3://bucket/dataset/"}
    found = {}
    for kind in KINDS:
        data = make_score_file(tmp_path, kind, ROWS).read_bytes()
        labels = read_labels(data, source="x", settings=BuildSettings(**urls))
        found[kind] = labels.layout, labels.has_votes
    assert found == {
        "AVA.txt": (None, True),
        "scores.csv": (None, False),
        "koniq.csv": ("KonIQ-10k", True),
        "eva-votes.csv": ("EVA's votes", True),
        "scores.parquet": (None, False),
        "nima.json": ("NIMA's lists of votes", True),
        "nima.jsonl": ("NIMA's lists of votes", True),
        "scores.jsonl": (None, False),
        "spaq.xlsx": (None, False),
    }


def test_a_row_without_a_score_fails_the_run(tmp_path):
    (tmp_path / "60-scores.csv").write_text("id,score\na,1\nb,x\n")
    (tmp_path / "30-scores.csv").write_text("id,score\na,1\n")
    done = read("ours", tmp_path / "60-scores.csv", tmp_path / "30-scores.csv")
    assert (done.returncode, done.stderr) == (1, "1 rows of 60-scores.csv came out, not 60\n")


def sample(job: str, rows: int, wall: float, number: int, added: float, others: float = 0.0) -> dict[str, object]:
    printed = {"added_bytes": added * 1e6, "peak_bytes": (added + 100) * 1e6, "file_bytes": 4e6}
    return {
        "job": job, "round": number, "photos": rows, "wall_seconds": wall, "cpu_seconds": wall / 2, "foreign_cores": others,
        "printed": printed, "error": "",
    }  # fmt: skip


def test_the_table_compares_inside_a_round_and_stands_on_the_page_beside_the_others(tmp_path):
    from bench import write_page

    runs = []
    for number, slow in enumerate((1.0, 1.5)):
        runs += [
            sample("read scores.csv 255530 ours", 255_530, 1.8 * slow, number, 60, 0.7),
            sample("read scores.csv 255530 bare", 255_530, 0.6 * slow, number, 30),
        ]
    runs += [sample("read scores.csv 10000000 ours", 10_000_000, 9, 0, 4300)]
    machine = {"date": "2026-11-26", "cpu": "a CPU", "memory": "8 GB", "system": "Linux", "python": "3.11"}
    document = {
        "machine": machine, "versions": {"numpy": "2"}, "peers": {}, "absent": {}, "rounds": 2, "samples": runs,
        "sizes": {"rows": 255_530, "large_rows": 10_000_000}, "libraries": {"scores.csv": "pyarrow.csv"},
    }  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(document))
    page = write_page(tmp_path)
    assert "| scores.csv: seconds for 255,530 rows | at most 2.00 s | 2.25 (1.80..2.70) | **missed** |" in page
    assert "| scores.csv: MB added by 255,530 rows | at most 300 MB | 60.0 (60.0..60.0) | met |" in page
    assert (
        "reads 10,000,000 rows, against the plan's of 10^7 photos | at most 3,415 MB | 4,400 (4,400..4,400) | **missed** |"
        in page
    )
    (row,) = (line for line in page.splitlines() if line.startswith("| scores.csv | 255,530 |"))
    assert row.split(" | ")[-4:] == ["3.00 (3.00..3.00)", "3.00 (3.00..3.00)", "2.00 (2.00..2.00)", "0.70 ! |"]
    assert page.startswith("# Benchmark results\n\n## Files of scores\n")
