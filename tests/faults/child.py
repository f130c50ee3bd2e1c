"""Commands in a process of their own, which may be killed or get too little of something.

In: a command line, and limits.  Out: how it ended.
Children are forked from a server that has imported everything and opened nothing: a new process takes a tenth of a second.
"""

import faulthandler
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.faults.bucket import Bucket, Ended

__all__ = ["Child", "Limits", "start_child"]

_PATIENCE_SECONDS = 240.0  # a build of some seconds, on a machine that others use
# what a build imports at some time: memory and handles that it takes are then its own
PRELOADED = (
    "tests.faults.child", "tensorflow", "duckdb", "matplotlib", "aesthetics_ops.publishing.publish", "aesthetics_ops.planning.stage",
    "aesthetics_ops.conversion.partition", "aesthetics_ops.validation.partition", "aesthetics_ops.versions.expire",
    "aesthetics_ops.versions.rollback", "aesthetics_ops.readers.pulling.pull",
)  # fmt: skip
os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # as `aesthetics_ops.__main__` does; and the forking process has fewer threads
_context = get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may have; None is no limit.

    Attributes:
        file_bytes: of one file that it writes.
        handles: open files beside those that it starts with.
        bytes: of address space beside what it starts with.
        environ: variables.
    """

    file_bytes: int | None = None
    handles: int | None = None
    bytes: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def take_effect(self) -> None:
        """Hold this process to the limits."""
        os.environ.update(self.environ)
        if self.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes, self.file_bytes))
        if self.handles is not None:
            most = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + self.handles
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if self.bytes is not None:
            most = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + self.bytes
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


@dataclass
class Child:
    """A command at work.

    Attributes:
        process: its own.
        out: where its stdout and stderr go.
    """

    process: BaseProcess
    out: Path
    scratch: Path

    def ended(self) -> Ended | None:
        """Wait for its end; None when it does not come."""
        self.process.join(_PATIENCE_SECONDS)
        status = self.process.exitcode
        if status is None:
            os.kill(self.process.pid or 0, signal.SIGUSR1)  # it writes to stderr what it is doing
            self.process.join(1)
            self.process.kill()
            self.process.join()
            return None
        left = tuple(path.name for path in self.scratch.glob("aesthetics-ops-scratch-*"))
        texts = [(self.out / name).read_text(errors="replace") for name in ("out", "err")]
        return Ended(status, texts[0], texts[1], left)


def start_child(bucket: Bucket, words: tuple[str, ...], limits: Limits | None = None) -> Child:
    """Start a command as the shell does."""
    out = bucket.scratch / "child"
    out.mkdir(exist_ok=True)
    limits = limits or Limits()
    environ = {
        name: os.environ[name]
        for name in os.environ
        if name.startswith(("AWS_", "AESTHETICS_", "TMPDIR", "NO_PROXY", "TF_"))
    }
    process = _context.Process(target=_be, args=(words, environ, limits, out))
    process.start()
    return Child(process, out, Path(limits.environ.get("TMPDIR", bucket.scratch)))


def _be(words: tuple[str, ...], environ: Mapping[str, str], limits: Limits, out: Path) -> None:
    """Be the command."""
    from aesthetics_ops.publishing.documents import DOCUMENTS
    from tests.support.documents import QUICK_DOCUMENTS

    DOCUMENTS.update(QUICK_DOCUMENTS)
    os.environ.update(environ)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(out / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    sys.argv = ["aesthetics-ops", *words]
    from aesthetics_ops.__main__ import main

    faulthandler.register(signal.SIGUSR1)
    tempfile.tempdir = None  # as TMPDIR says now
    limits.take_effect()
    sys.exit(main())
