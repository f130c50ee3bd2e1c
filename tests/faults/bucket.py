"""A bucket in memory behind a network that misbehaves, and commands of `aesthetics-ops` that run upon it in this process.

In: what goes wrong.  Out: how the command ended, and what the bucket holds then.
The report's plots, half a second of each build, have tests of their own and are left out.
"""

import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import boto3
import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.store import S3Access, Store, open_store
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, photo, smaller
from tests.support.s3 import point_to

__all__ = ["DATASET", "FLAGS", "Bucket", "Ended", "open_bucket"]

BUCKET = "s3://bucket/"
DATASET = f"{BUCKET}dataset/"
# No gate but the smallest: what a fault hides is to be published, so that what comes then is looked at.
FLAGS = (
    f"--photos={BUCKET}photos/", f"--labels={BUCKET}scores.csv", f"--dataset={DATASET}", "--shard-bytes=20000",
    "--validation-fraction=0.2", "--test-fraction=0.2", "--max-reject-fraction=1", "--max-shrink-fraction=1",
)  # fmt: skip
_SESSION, _NEW_CLIENT = boto3.Session, boto3.Session.client  # as they are while no bucket is open: two may be at once
_SCRATCH = "aesthetics-ops-scratch-*"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status.
        out, err: what it printed.
        left: scratch that it left.
    """

    status: int
    out: str
    err: str
    left: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """What no command may do, whatever happens to it."""
        found = [f"scratch left: {name}" for name in self.left]
        if self.status not in (0, 1, 3):
            found.append(f"exit status {self.status}")
        if "Traceback" in self.out + self.err:
            found.append("a traceback")
        lines = [line for line in self.err.splitlines() if line.startswith("aesthetics-ops: ")]
        if len(lines) != (self.status != 0) or (lines and self.err.splitlines()[-1] != lines[0]):
            found.append("not one line that tells the error, at the end of stderr")
        return found


@dataclass
class Bucket:
    """The bucket, the network before it, and another host that redirects lead to.

    Attributes:
        server: holds the objects.
        proxy: where commands send their requests.
        elsewhere: another host; what it is sent is a leak.
        scratch: the commands' TMPDIR.
        clean: the dataset's store, through no proxy.
    """

    server: OddS3
    proxy: FaultyProxy
    elsewhere: FaultyProxy
    scratch: Path
    clean: Store = field(init=False)

    def __post_init__(self) -> None:
        self.proxy.elsewhere = self.elsewhere.url
        self.clean = open_store(DATASET, s3=S3Access(boto3.Session(), self.server.url))

    @property
    def objects(self) -> dict[str, bytes]:
        """The dataset's objects by key, as they are now."""
        prefix = DATASET.removeprefix("s3://")
        return {
            name.removeprefix(prefix): data
            for name, data in dict(self.server.objects).items()
            if name.startswith(prefix)
        }

    def put(self, key: str, data: bytes) -> None:
        self.server.objects[f"bucket/{key}"] = data

    def run(self, *words: str, choose: Callable[[SeenRequest, int], Fault] = lambda request, number: None) -> Ended:
        """Run a command with these faults; what they delay has arrived when this returns."""
        self.proxy.reset()
        self.proxy.choose = choose
        self.server.seen.clear()
        for handler in list(logging.root.handlers):
            logging.root.removeHandler(handler)
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            status = main(words)
        self.proxy.settle()
        left = tuple(path.name for path in self.scratch.glob(_SCRATCH))
        return Ended(status, out.getvalue(), err.getvalue(), left)

    def build(self, choose: Callable[[SeenRequest, int], Fault] = lambda request, number: None) -> Ended:
        return self.run("build", *FLAGS, choose=choose)

    def fill(self, count: int = 12) -> None:
        """Put photos and their scores in place of everything."""
        self.server.objects = {}
        names = PHOTOS[:count]
        for name in names:
            self.put(f"photos/{name}.jpg", smaller(photo(name), scale=0.3))
        self.score({name: number / 2 + 1 for number, name in enumerate(names)})

    def change(self) -> None:
        """One photo goes, one is replaced, one comes, and one gets another score."""
        del self.server.objects[f"bucket/photos/{PHOTOS[2]}.jpg"]
        self.put(f"photos/{PHOTOS[5]}.jpg", smaller(photo(ARRIVING), scale=0.25))
        self.put(f"photos/{ARRIVING}.jpg", smaller(photo(ARRIVING), scale=0.3))
        names = [*PHOTOS[:12], ARRIVING]
        self.score({name: number / 2 + (1 if number != 7 else 2) for number, name in enumerate(names)})

    def score(self, scores: dict[str, float]) -> None:
        self.put("scores.csv", "\n".join(["id,score", *(f"{name},{score}" for name, score in scores.items())]).encode())


def _make_boto_quick(patch: pytest.MonkeyPatch) -> None:
    """Make one session and one client do for all commands on a bucket: boto3 sends nothing here, and names the endpoint alone.

    It takes half of a small build to look for its models and read them, for each of three stores.
    """
    clients: dict[str, Any] = {}

    def client(session: boto3.Session, service: str, **options: Any) -> Any:
        name = f"{id(session)} {service} {options.get('endpoint_url')} {options.get('verify')}"
        if name not in clients:
            clients[name] = _NEW_CLIENT(session, service, **options)
        return clients[name]

    patch.setattr(boto3, "Session", cache(_SESSION))
    patch.setattr(_SESSION, "client", client)


@contextmanager
def open_bucket() -> Iterator[Bucket]:
    """Start the servers, and make an environment in which commands find the proxy and nothing else."""
    get_temp_dir()  # of multiprocessing, which is not to lie in what is deleted here
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as scratch,
        running_s3(OddS3(page=5)) as server,
        running_proxy(server.url) as proxy,
        running_proxy(server.url) as elsewhere,
        pytest.MonkeyPatch.context() as patch,
    ):
        point_to(patch, proxy.url, "testing", "testing")
        patch.setenv("AWS_SESSION_TOKEN", "a-token-that-goes-nowhere-else")
        patch.setenv("AESTHETICS_STORE_TIMEOUT_S", "2")  # so long a request hangs
        patch.setenv("AESTHETICS_STORE_RETRY_S", "6")
        patch.setenv("TMPDIR", scratch)
        patch.setattr(tempfile, "tempdir", scratch)
        make_reports_quick(patch)
        _make_boto_quick(patch)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        yield Bucket(server, proxy, elsewhere, Path(scratch))
