"""Delete old task logs, every six hours, until stopped: Airflow itself never does.

python groom_logs.py --days 30 [--directory /opt/airflow/logs] [--once]
"""

import argparse
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
    for parent, _, names in os.walk(directory, topdown=False):
        for name in names:
            path = Path(parent, name)
            try:
                if path.lstat().st_mtime < limit:
                    path.unlink()
                    deleted += 1
            except FileNotFoundError:
                continue  # someone else was faster
        folder = Path(parent)
        # a directory that is young may be about to get its first file
        if folder != directory and folder.stat().st_mtime < limit and not any(folder.iterdir()):
            folder.rmdir()
    return deleted


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
