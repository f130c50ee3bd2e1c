"""Run a command with little memory, page cache included, and a slow disk: BYTES BYTES_PER_SECOND FOLDER COMMAND...

Linux's control groups (version 1) hold it: a group below this process's own for memory, and one for reads of the disk that FOLDER lies on.
What FOLDER holds is out of memory when the command begins: what another group has read would cost this one nothing.
Both groups go when the command ends; exit status is the command's.  `why_not` says why none can be made.  The command's memory stays a part of
what this process may have.

Source:
    Linux, Documentation/admin-guide/cgroup-v1/{memory,blkio-controller}.rst.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

__all__ = ["why_not"]

_GROUPS: Final = Path("/sys/fs/cgroup")


def why_not() -> str:
    """Return why no such group can be made here; nothing where it can."""
    try:
        with ExitStack() as stack:
            for controller in ("memory", "blkio"):
                stack.enter_context(_group(controller, {}))
    except OSError as error:
        return f"no control group can be made here ({error}); it takes root and version 1 of control groups"
    return ""


@contextmanager
def _group(controller: str, limits: dict[str, str]) -> Iterator[Path]:
    """Give a group below this process's own, empty, and take it away."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    own = next((path for _, names, path in lines if controller in names.split(",")), None)
    if own is None:
        raise OSError(f"there is no controller {controller}")
    group = _GROUPS / controller / own.lstrip("/") / f"aesthetics-bench-{os.getpid()}"
    group.mkdir()
    try:
        for name, value in limits.items():
            (group / name).write_text(value)
        yield group
    finally:
        group.rmdir()


def _disk_of(folder: Path) -> str:
    """Return the number of the disk that a folder lies on, without the number of a part of it."""
    device = folder.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    return ((block.parent if (block / "partition").exists() else block) / "dev").read_text().strip()


def _forget(folder: Path) -> None:
    """Have the system drop what it holds of a folder's files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> int:
    """Run it."""
    memory, speed, folder, *command = sys.argv[1:]
    limits = {
        "memory": {"memory.limit_in_bytes": memory},
        "blkio": {"blkio.throttle.read_bps_device": f"{_disk_of(Path(folder))} {speed}"},
    }
    _forget(Path(folder))
    with ExitStack() as stack:
        groups = [stack.enter_context(_group(name, content)) for name, content in limits.items()]

        def enter() -> None:
            for group in groups:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        return subprocess.run(command, preexec_fn=enter, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
