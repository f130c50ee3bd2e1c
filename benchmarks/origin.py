"""The group `origin`: the post's before and after, with memory for everything and with too little for tensors.

In: what the group `readers` prepares: a version that is built and pulled, peers' files, the way to the S3 server.  Out: jobs.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from jobs import Job
from limited import why_not
from readers import Readers, ReaderSizes, run_step
from train_origin import FEEDS

__all__ = ["ORIGIN", "ORIGIN_SIZES", "QUICK_ORIGIN", "Limits", "origin_jobs"]

ORIGIN: Final = "origin"
ORIGIN_SIZES: Final = ReaderSizes(photos=1920, epochs=3, indexes=())
QUICK_ORIGIN: Final = ReaderSizes(photos=130, epochs=2, indexes=())
HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Limits:
    """What the second regime allows.

    Attributes:
        memory_bytes: of the process and of what it has read: TensorFlow takes 0.4 to 0.5 GB, JPEGs 0.17, uint8 0.29, tensors 1.7.
        disk_bytes_per_second: what a cloud's disk gives by default.
    """

    memory_bytes: int = 1_100_000_000
    disk_bytes_per_second: int = 125_000_000


def origin_jobs(readers: Readers, limits: Limits) -> Iterator[Job]:
    """Yield the jobs, each once; what cannot be run here is put down in `readers.absent`."""
    tensors = readers.place / "tensors"
    environment = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent)))}
    script = (sys.executable, str(HERE / "train_origin.py"))
    run_step((*script, "write", str(readers.shards), str(tensors)), environment)
    is_limited = not (why := why_not())
    if why:
        readers.absent["limited"] = why
    for feed in FEEDS:
        folder = tensors if feed == "tensors" else _linked(readers.shards, readers.place / f"feed-{feed}")
        counts = (str(readers.bucket.photos), str(readers.sizes.epochs))
        read = (*script, feed, str(folder), *counts)
        yield _job(readers, f"read {feed}", read, environment)
        yield _job(readers, f"train {feed}", (*read, "train"), environment)
        if is_limited:
            head = (
                sys.executable,
                str(HERE / "limited.py"),
                str(limits.memory_bytes),
                str(limits.disk_bytes_per_second),
            )
            yield _job(readers, f"limited {feed}", (*head, str(folder), *read, "train"), environment)
    for job in readers.against_peers():
        yield replace(job, groups=frozenset({ORIGIN}))


def _job(readers: Readers, name: str, command: tuple[str, ...], environment: dict[str, str]) -> Job:
    return Job(name, frozenset({ORIGIN}), readers.bucket.photos, command, environment, is_on_disk=True)


def _linked(pulled: Path, folder: Path) -> Path:
    """Return a folder of links to a pulled directory, so that a cache is its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in pulled.iterdir():
        os.link(path, folder / path.name)
    return folder
