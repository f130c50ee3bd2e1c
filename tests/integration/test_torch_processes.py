"""PyTorch in processes of their own: workers however they start, ranks, memory, and what a process imports."""

import gc
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset
from tests.support.ranks import read_as_rank
from tests.support.s3 import S3TestBucket
from tests.support.torch_batches import ORDER, PHOTOS, TRAIN, assert_same, expected, published

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:This process .* is multi-threaded:DeprecationWarning"
    ),  # fork, from Python 3.12 on
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
]

# What every worker of a fork server needs; each would import it for seconds.  "spawn" shows that a worker can import it by itself.
PRELOADED = ["__main__", "aesthetics_ops.readers.torch", "tests.support.ranks"]


@pytest.fixture(scope="module", autouse=True)
def _fork_server() -> Iterator[None]:
    """A fork server of this file's own: the process has one for all, which has loaded what other tests want, or nothing yet."""
    server = forkserver.ForkServer()
    server.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ensure_running", "get_inherited_fds", "connect_to_new_process", "set_forkserver_preload"):
            patch.setattr(forkserver, name, getattr(server, name))
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return published(tmp_path_factory.mktemp("torch"), PHOTOS)


def test_the_package_s_own_part_imports_no_tensorflow(dataset: Dataset) -> None:
    code = f"""
        import sys
        from aesthetics_ops import open_dataset

        dataset = open_dataset({dataset.source.store.url!r})
        assert "torch" not in sys.modules
        images, labels = next(iter(dataset.torch("train", batch=64, size=32)))
        next(iter(dataset.torch_loader("train", batch=64, size=32)))
        assert images.shape == (64, 3, 32, 32)
        assert not {{"tensorflow", "keras", "jax", "torchvision"}} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=300)


def test_a_framework_that_is_not_installed_is_named(dataset: Dataset) -> None:
    readers = {"torch": "torch", "torch_loader": "torch", "grain": "grain"}
    code = f"""
        import sys
        from aesthetics_ops import open_dataset
        from aesthetics_ops.errors import SettingsError

        for reader, package in {readers!r}.items():
            sys.modules[package] = None  # as if it were not installed
            try:
                open_dataset({dataset.source.store.url!r}).read(reader, "train")
            except SettingsError as error:
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=300, capture_output=True, text=True
    )
    for (reader, package), said in zip(readers.items(), done.stdout.splitlines(), strict=True):
        assert f"reader '{reader}' needs {package}, which is not installed" in said
        assert f"run: pip install 'aesthetics-ops[{package}]'" in said


@pytest.mark.parametrize(("workers", "start"), [(1, "forkserver"), (2, "forkserver"), (2, "spawn")])
def test_batches_do_not_depend_on_workers(dataset: Dataset, workers: int, start: str) -> None:
    loader = dataset.torch_loader(
        "train", **ORDER, num_workers=workers, multiprocessing_context=start, persistent_workers=True
    )
    assert len(loader) == 10
    assert_same(loader, expected(dataset))
    assert loader.epoch == 1
    assert_same(loader, expected(dataset, 1))


def test_pixels_that_are_kept_are_shared_with_workers(dataset: Dataset, tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch": 8, "size": 24, "cache": "uint8", "directory": tmp_path}
    plain = list(dataset.numpy("train", batch=8, size=24))
    assert_same(dataset.torch_loader("train", **options, num_workers=1, multiprocessing_context="forkserver"), plain)
    kept = sum(path.stat().st_size for path in tmp_path.rglob("*.u8"))
    assert kept == 80 * 24 * 24 * 3
    assert_same(dataset.torch_loader("train", **options, num_workers=2), plain)


def test_two_processes_read_every_record_once(dataset: Dataset, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    meeting = (tmp_path / "meeting").as_uri()
    replies = [context.SimpleQueue() for _ in range(2)]
    ranks = [
        context.Process(target=read_as_rank, args=(dataset.source.store.url, meeting, rank, reply), daemon=True)
        for rank, reply in enumerate(replies)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    first, second = (reply.get() for reply in replies)
    for ours, theirs in zip(first, second, strict=True):
        assert len(ours) == len(theirs) == 6
        together = [label for batch in ours + theirs for label in batch]
        assert sorted(together) == sorted(np.float32(photo.score) for photo in TRAIN)
    assert first[0] == first[2] != first[1] == first[3]


def memory_of(pids: list[int]) -> int:
    """Bytes of some processes, what they share counted once (PSS), without files: of those, others have their share."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total


def test_memory_stays_over_twenty_epochs_with_four_workers(dataset: Dataset) -> None:
    gc.collect()  # loaders of other tests, with their workers
    loader = dataset.torch_loader(
        "train", batch=8, size=32, shuffle=True, num_workers=4, persistent_workers=True, multiprocessing_context="fork"
    )
    others = {child.pid for child in multiprocessing.active_children()}  # of loaders that are not collected yet
    seen = []
    for _ in range(20):
        assert sum(len(labels) for _, labels in loader) == 80
        workers = {child.pid for child in multiprocessing.active_children()} - others
        assert len(workers) == 4
        seen.append(memory_of([os.getpid(), *workers]))
    assert max(seen[15:]) < 1.05 * min(seen[2:6]), [size >> 20 for size in seen]


def test_a_spawned_worker_reads_s3(s3_bucket: S3TestBucket) -> None:
    url = f"{s3_bucket.url}dataset/"
    SyntheticDataset(open_store(url)).publish(PHOTOS[:50])
    remote = open_dataset(url)
    wanted = list(remote.numpy("train", **ORDER))  # uses the store
    options: dict[str, Any] = ORDER | {"timeout": 300, "multiprocessing_context": "spawn"}
    assert_same(remote.torch_loader("train", **options, num_workers=1), wanted)
