"""Delete old task logs, every six hours, until stopped: Airflow itself never does.

python groom_logs.py --days 30 [--directory /opt/airflow/logs] [--once]
"""

import argparse
import errno
import os
import signal
import sys
import time
from pathlib import Path

EVERY_SECONDS = 6 * 3600


def groom(directory: Path, *, older_than_seconds: float) -> int:
    """Delete files that were last written to longer ago than that, then empty directories; return how many files."""
    limit = time.time() - older_than_seconds
    deleted = 0
    deleted, _ = _groom(directory, limit)
    return deleted


def _groom(folder: Path, limit: float) -> tuple[int, bool]:
    """Delete what is old in a directory; return how many files, and whether the directory itself is empty and old."""
    # asked before anything in it is deleted, which makes it young; one that is young may be about to get its first file
    is_old = folder.stat().st_mtime < limit
    deleted = 0
    for entry in [*os.scandir(folder)]:
        try:
            if entry.is_dir(follow_symlinks=False):
                below, is_done_with = _groom(Path(entry.path), limit)
                deleted += below
                if is_done_with:
                    Path(entry.path).rmdir()
            elif entry.stat(follow_symlinks=False).st_mtime < limit:
                Path(entry.path).unlink()
                deleted += 1
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise
            # someone else was faster
    return deleted, is_old and not any(folder.iterdir())


def main() -> int:
    """Groom now, and then every six hours; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=30.0, help="how long a log is kept (default: 30)")
    parser.add_argument("--directory", type=Path, default=Path("/opt/airflow/logs"))
    parser.add_argument("--once", action="store_true", help="groom once and end")
    options = parser.parse_args()
    if options.days <= 0:
        parser.error(f"--days {options.days:g} must be above 0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        deleted = groom(options.directory, older_than_seconds=options.days * 86400)
        print(f"{deleted} logs older than {options.days:g} days deleted from {options.directory}", flush=True)
        if options.once:
            return 0
        time.sleep(EVERY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
