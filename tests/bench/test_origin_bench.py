"""The benchmark of the origin's before and after: its feeds bring the same photos, its limits hold, its page says who wins.  No figure."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops.readers.dataset import open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

HOLD = "import sys; data = bytearray(int(sys.argv[1])); data[::4096] = b'x' * len(data[::4096])"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pulled directory, and the same photos as the origin's first script leaves them."""
    from train_origin import write_tensors

    place = tmp_path_factory.mktemp("origin")
    SyntheticDataset(open_store((place / "dataset").as_uri())).publish(synthetic_photos(20))
    open_dataset((place / "dataset").as_uri()).pull(place / "pulled", splits=["train"])
    write_tensors(place / "pulled", place / "tensors")
    return place / "pulled", place / "tensors"


@pytest.mark.parametrize("feed", ["tensors", "origin", "ours", "cache"])
def test_each_feed_brings_every_photo_and_trains(folders: tuple[Path, Path], feed: str) -> None:
    from train_origin import run

    found = run(feed, str(folders[feed == "tensors"]), 16, 2, train=True)
    assert [set(epoch) for epoch in found["epochs"]] == [{"wall_seconds", "cpu_seconds", "disk_bytes"}] * 2
    assert found["stored_bytes"] > 16 * 500
    with pytest.raises(SystemExit, match="epoch 0 brought 16 photos of 17"):
        run(feed, str(folders[feed == "tensors"]), 17, 1, train=False)


def test_tensors_and_jpegs_give_the_same_pixels(folders: tuple[Path, Path]) -> None:
    from train_origin import open_feed

    (before,), (after,) = (list(open_feed(feed, str(folders[feed == "tensors"]))) for feed in ("tensors", "origin"))
    assert before[0].shape == (16, 224, 224, 3)
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


def test_a_command_has_no_more_memory_than_it_is_given(tmp_path: Path) -> None:
    from limited import why_not

    script = Path(sys.modules["limited"].__file__)
    (tmp_path / "file").write_bytes(b"x" * 10_000)

    def held(size: int) -> int:
        command: list[str | Path] = [
            sys.executable,
            script,
            str(64 << 20),
            str(100 << 20),
            tmp_path,
            sys.executable,
            "-c",
            HOLD,
            str(size),
        ]
        return subprocess.run(command, check=False, timeout=60, stderr=subprocess.DEVNULL).returncode

    if why := why_not():
        assert why.startswith("no control group can be made here (")
        assert held(1 << 20) == 1, "refused, not run without limits"
    else:
        assert held(1 << 20) == 0
        assert held(200 << 20) not in (0, 1)


def sample(job: str, wall: float, stored: float = 1e9) -> dict[str, Any]:
    epochs = [{"wall_seconds": wall, "cpu_seconds": wall, "disk_bytes": 5e6}] * 3
    printed = {"epochs": epochs, "stored_bytes": stored, "anonymous_bytes": 1e8, "peak_bytes": 2e8, "photos": 100}
    return {"job": job, "round": 0, "photos": 100, "wall_seconds": 9.0, "error": "", "printed": printed}


def test_the_page_says_who_wins_where() -> None:
    from origin_report import render_origin

    times = {"tensors": (2.0, 40.0), "origin": (3.0, 9.0), "ours": (2.5, 5.0), "cache": (1.0, 2.0)}
    samples = [sample("cloud 20 litdata", 4.0), sample("files same", 3.0), sample("ours numpy fast", 2.0)]
    for feed, (roomy, limited) in times.items():
        stored = 1e9 if feed == "tensors" else 1e8
        samples += [
            sample(f"read {feed}", roomy, stored),
            sample(f"train {feed}", roomy),
            sample(f"limited {feed}", limited),
        ]
    machine = {"date": "2026-11-26", "cpu": "a CPU", "memory": "8 GB", "system": "Linux", "python": "3.11"}
    document = {
        "machine": machine, "versions": {}, "peers": {"files": "", "dali": ""}, "absent": {"dali": "no wheel"}, "rounds": 1,
        "sizes": {"photos": 100, "cores": 2}, "limits": {"memory_bytes": 1e9, "disk_bytes_per_second": 1e8}, "samples": samples,
    }  # fmt: skip
    page = render_origin(json.loads(json.dumps(document)))
    assert (
        "| seconds an epoch, limited: tensors over **ours**: `Dataset.tf`, `fast` | at least 4.00 | 8.00 (8.00..8.00) | met |"
        in page
    )
    assert "the same over the origin after: its post says 4 | at least 4.00 | 4.44 (4.44..4.44) | met |" in page
    assert "bytes on disk: tensors over JPEGs | at least 9.00 | 10.0 (10.0..10.0) | met |" in page
    assert (
        "- Tensors win over **ours**: `Dataset.tf`, `fast` where they fit in memory, or the disk gives 400 MB/s and more."
        in page
    )
    assert 'Tensors never win over **ours**: the same, `fine`, `cache="uint8"`' in page
    assert "| from S3, 20 ms: litdata | 25.0 (25.0..25.0) | 40.0 (40.0..40.0) |" in page
    assert "Left out: dali: no wheel" in page
