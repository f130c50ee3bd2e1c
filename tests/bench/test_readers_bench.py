"""The benchmark of readers: what it counts, the way to its server, the tables it writes.  No peer and no figure."""

import http.server
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops.readers.dataset import open_dataset
from aesthetics_ops.readers.pixels import Pixels, decode
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.loopback import serving


def batches(*sizes: int, side: int = 224) -> list[tuple[object, object]]:
    return [(np.zeros((size, side, side, 3), np.uint8), np.zeros(size, np.float32)) for size in sizes]


def printed(capsys) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def test_an_epoch_costs_what_its_process_and_its_workers_use(capsys):
    import subprocess

    from reading import read

    class Busy:
        def __iter__(self):
            burn = "import time\nwhile time.process_time() < 0.2: pass\n"
            subprocess.run([sys.executable, "-S", "-c", burn], check=True)
            yield from batches(3, 2)

    read(Busy, photos=5, epochs=2)
    report = printed(capsys)
    assert [epoch["cpu_seconds"] >= 0.2 for epoch in report["epochs"]] == [True, True]
    assert report["first_batch_cpu_seconds"] >= report["opened_cpu_seconds"] + 0.2
    assert len(report["anonymous_bytes"]) == 2
    assert min(report["anonymous_bytes"]) > 1 << 20


def test_a_run_for_the_first_batch_ends_there(capsys):
    from reading import read

    read(lambda: batches(3, 2), photos=5, epochs=2, first_only=True)
    assert "epochs" not in printed(capsys)


@pytest.mark.parametrize("wrong", [batches(3), batches(3, 3), batches(3, 2, side=32)], ids=["few", "many", "small"])
def test_a_reader_that_brings_something_else_is_not_measured(wrong):
    from reading import read

    with pytest.raises(SystemExit):
        read(lambda: wrong, photos=5, epochs=1)


@pytest.fixture
def served(tmp_path):
    """A server of a folder, and its port."""
    handler = lambda *args: http.server.SimpleHTTPRequestHandler(*args, directory=str(tmp_path))  # noqa: E731
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield server.server_port


@pytest.mark.parametrize("slowed", [{}, {"latency_seconds": 0.01}, {"bytes_per_second": 50e6}], ids=str)
def test_the_way_to_the_server_changes_no_byte_and_counts_what_is_asked(tmp_path, served, slowed, capfd):
    from loopback import Loopback

    (tmp_path / "shards").mkdir()
    data = np.random.default_rng(0).bytes(1_000_000)
    for name in ("shards/a.tfrecord", "LATEST.json"):
        (tmp_path / name).write_bytes(data)

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"{way.url}/{path}", timeout=10) as reply:  # noqa: S310
            return reply.read()

    with Loopback(served, **slowed) as way:
        assert [get("LATEST.json"), get("shards/a.tfrecord"), get("shards/a.tfrecord")] == [data] * 3
        counts = json.loads(get("-/counts"))
        assert (counts["requests"], counts["shards"]) == (3, 2)
        assert counts["bytes"] > 3 * len(data)
        get("-/reset")
        assert json.loads(get("-/counts")) == {"requests": 0, "shards": 0, "bytes": 0}


def test_a_bucket_of_files_gives_ranges_with_an_etag(tmp_path, monkeypatch):
    from fast_s3 import FastS3, find_nginx

    nginx = find_nginx(install=False)
    if nginx is None:
        pytest.skip("nginx is not installed")
    (tmp_path / "photos").mkdir()
    with FastS3(nginx, tmp_path / "s3", tmp_path / "photos") as s3:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        SyntheticDataset(open_store((s3.files / "mine").as_uri())).publish(synthetic_photos(20))
        dataset = open_dataset("s3://files/mine/")
        assert dataset.open_split("train")[3].id == "p003"
        assert len(dataset.open_split("train")) == 16


@pytest.fixture
def pulled(tmp_path) -> Path:
    SyntheticDataset(open_store((tmp_path / "dataset").as_uri())).publish(synthetic_photos(20))
    open_dataset((tmp_path / "dataset").as_uri()).pull(tmp_path / "pulled")
    return tmp_path / "pulled"


def run_ours(monkeypatch, capsys, *arguments: object) -> dict[str, Any]:
    import read_ours

    monkeypatch.setattr(sys, "argv", ["read_ours.py", *map(str, arguments)])
    assert read_ours.main() == 0
    return printed(capsys)


def test_this_projects_readers_are_read_to_the_end_and_from_a_state(tmp_path, pulled, monkeypatch, capsys):
    found = run_ours(monkeypatch, capsys, pulled, "numpy", "--photos", 16, "--epochs", 2)
    assert len(found["epochs"]) == 2
    cached = ("--cache", "uint8", "--copy", tmp_path / "copy")
    run_ours(monkeypatch, capsys, pulled, "numpy", "--photos", 16, "--epochs", 2, *cached)
    assert list((tmp_path / "copy").rglob("*.u8"))
    assert not list(pulled.rglob("*.u8"))
    state = tmp_path / "state.json"
    import read_ours

    monkeypatch.setattr(read_ours, "BATCH", 4)
    assert run_ours(monkeypatch, capsys, pulled, "state", "--state", state) == {"batches": 2}
    assert run_ours(monkeypatch, capsys, pulled, "resume", "--state", state)["batch"] == 4
    twice = run_ours(monkeypatch, capsys, tmp_path / "dataset", "pull", "--directory", tmp_path / "again")
    assert twice["bytes"] > 0
    assert twice["again_bytes"] == 0


def test_a_large_index_opens_as_if_it_had_been_pulled(tmp_path, pulled, monkeypatch, capsys):
    from large_index import make_large_index

    make_large_index(pulled, tmp_path / "large", 4_000)
    found = run_ours(monkeypatch, capsys, tmp_path / "large", "index")
    assert found["indexed"] == 4_000
    assert 20 < found["bytes"] / 4_000 < 100


def test_peers_decode_as_this_project_does_or_as_pillow_does():
    from peers.read import decoder

    jpeg = synthetic_photos(1, side_px=300)[0].jpeg
    assert np.array_equal(decoder("same")(jpeg), decode(jpeg, Pixels(224, "squash", "fast")))
    assert np.array_equal(decoder("own")(jpeg), decode(jpeg, Pixels(224, "squash", "exact")))


def sample(job: str, cpu: list[float], number: int = 0, **more: object) -> dict[str, Any]:
    report = {
        "epochs": [{"cpu_seconds": seconds, "wall_seconds": seconds} for seconds in cpu],
        "anonymous_bytes": [10e6] * len(cpu),
        "opened_cpu_seconds": 0.2,
        "first_batch_cpu_seconds": 0.4,
        "first_batch_wall_seconds": 0.3,
        "first_batch_asked": {"requests": 5, "shards": 2, "bytes": 9e6},
    }
    return {
        "job": job, "round": number, "photos": 100, "wall_seconds": 1.0, "cpu_seconds": 1.0, "peak_bytes": 3e8, "processes": 2,
        "server_cpu_seconds": 0.0, "foreign_cores": 0.0, "output_bytes": 0, "peak_anonymous_bytes": 50e6, "printed": report | more,
        "error": "",
    }  # fmt: skip


def document(samples: list[dict[str, Any]]) -> dict[str, Any]:
    machine = {
        "date": "2026-11-26",
        "commit": "abc1234",
        "cpu": "a CPU",
        "memory": "8 GB",
        "system": "Linux",
        "python": "3.11",
    }
    sizes = {"photos": 100, "epochs": 3, "cached_epochs": 4, "long_epochs": 10, "indexes": (500, 1000), "cores": 2}
    peers = {"files": "files", "dali": "its own"}
    return {
        "machine": machine, "versions": {"numpy": "2"}, "peers": peers, "absent": {"dali": "cannot be installed: no wheel"},
        "rounds": 2, "sizes": sizes, "samples": samples,
    }  # fmt: skip


def test_the_tables_compare_later_epochs_inside_a_round():
    from readers_report import render_readers

    runs = []
    for number, slow in enumerate((1.0, 1.3)):
        runs += [
            sample("bare fast", [0.9 * slow, 0.2 * slow, 0.2 * slow], number),
            sample("ours numpy fast", [0.9 * slow, 0.22 * slow, 0.22 * slow], number),
            sample("origin", [0.9 * slow, 0.33 * slow, 0.33 * slow], number, first_batch_cpu_seconds=2.0),
            sample("files same", [0.9 * slow, 0.3 * slow, 0.3 * slow], number, first_batch_cpu_seconds=1.2),
            sample("first 0 ours block", [1.0, 1.0], number),
            sample("cloud 0 ours block", [0.25, 0.25], number),
        ]
    page = render_readers(document(runs))
    rows = {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in page.splitlines() if line[:1] == "|"
    }
    assert rows["1. CPU over the bare codec with the same pixels, `fast`: numpy"][:2] == [
        "at most 1.03",
        "1.10 (1.10..1.10)",
    ]
    assert "**missed**" in rows["1. CPU over the bare codec with the same pixels, `fast`: numpy"][2]
    assert rows["3. CPU of the origin's preprocess over ours, `fast`"][1:2] == ["1.50 (1.50..1.50)"]
    assert rows["6. CPU to the first batch of files over ours, numpy"][1:2] == ["3.00 (3.00..3.00)"]
    assert rows["requests for shards to one batch from S3, block shuffle, 0 ms"][1:2] == ["2.00 (2.00..2.00)"]
    assert rows["**ours**: numpy batches, `fast`"][1:3] == ["2.53 (2.20..2.86)", "1.10 (1.10..1.10)"]
    assert rows["ours: a directory that fills itself, block shuffle"][:3] == ["0", "2.50", "2.50"]
    assert "- 1. CPU over the bare codec with the same pixels, `fast`: numpy: wanted at most 1.03, found 1.10" in page
    assert "- dali: not measured, cannot be installed: no wheel." in page
    assert "2026-11-26 at commit abc1234" in page


def test_a_run_of_one_part_leaves_the_other_part_of_the_page(tmp_path):
    from bench import write_page

    readers = document([sample("bare fast", [0.2, 0.2])])
    builds = readers | {
        "samples": [],
        "sizes": {"ava": (9, 3), "camera": (9, 3), "huge": 3, "copies": 2, "cores": 2, "growth": (1, 2, 3)},
    }
    builds = builds | {"machine": readers["machine"] | {"date": "2026-11-22"}}
    (tmp_path / "results.json").write_text(json.dumps(builds))
    assert "## Readers" not in write_page(tmp_path)
    (tmp_path / "readers.json").write_text(json.dumps(readers))
    page = write_page(tmp_path)
    assert page.index("## Builds") < page.index("2026-11-22") < page.index("## Readers") < page.index("2026-11-26")
    assert (tmp_path / "RESULTS.md").read_text() == page
