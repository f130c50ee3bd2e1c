"""Read one file of scores, with this project or with the bare library for its format: seconds, CPU and memory.

    .venv/bin/python benchmarks/read_labels.py {ours,bare} FILE SMALL_FILE

The small file is of the same kind and is read first, so that imports are not counted.  Prints one JSON object; memory is
what reading added at its highest to what the process had before it read the file's bytes, and the whole peak.  Fails where not every row has a score.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.json as pjson
import pyarrow.parquet as pq
from score_files import VOTES_PER_PHOTO

__all__ = ["BARE", "main"]

_LINES_OF_VOTES: Final = "eva-votes.csv"


def _split(separator: str, *, header: bool = True) -> Callable[[bytes], int]:
    def read(data: bytes) -> int:
        table = pcsv.read_csv(
            pa.BufferReader(data),
            read_options=pcsv.ReadOptions(autogenerate_column_names=not header),
            parse_options=pcsv.ParseOptions(delimiter=separator),
        )
        return int(table.num_rows)

    return read


def _sheet(data: bytes) -> int:
    from python_calamine import CalamineWorkbook

    return len(CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).to_python()) - 1


BARE: Final[dict[str, tuple[str, Callable[[bytes], int]]]] = {
    "AVA.txt": ("pyarrow.csv", _split(" ", header=False)),
    "scores.csv": ("pyarrow.csv", _split(",")),
    "koniq.csv": ("pyarrow.csv", _split(",")),
    _LINES_OF_VOTES: ("pyarrow.csv", _split("=")),
    "scores.parquet": ("pyarrow.parquet", lambda data: int(pq.read_table(pa.BufferReader(data)).num_rows)),
    "nima.json": ("json", lambda data: len(json.loads(data))),
    "nima.jsonl": ("pyarrow.json", lambda data: int(pjson.read_json(pa.BufferReader(data)).num_rows)),
    "scores.jsonl": ("pyarrow.json", lambda data: int(pjson.read_json(pa.BufferReader(data)).num_rows)),
    "spaq.xlsx": ("python-calamine", _sheet),
}
"""Name of the library and how it reads a file, by its kind; each returns the number of rows."""


def _ours(path: Path) -> Callable[[bytes], int]:
    from aesthetics_ops.settings import BuildSettings
    from aesthetics_ops.sources.labels import read_labels

    urls = {"photos": "s3://bucket/photos/", "labels": path.resolve().as_uri(), "dataset": "s3://bucket/dataset/"}
    settings = BuildSettings(**urls)

    def read(data: bytes) -> int:
        scores = read_labels(data, source=urls["labels"], settings=settings).table["score"]
        return len(scores) - int(scores.null_count)

    return read


def _status(name: str) -> int:
    """Return a number of /proc/self/status, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) << 10


def main() -> int:
    """Read, and print what it cost."""
    who, path, small = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    rows, _, kind = path.name.partition("-")
    read: Callable[[bytes], Any] = _ours(path) if who == "ours" else BARE[kind][1]
    read(small.read_bytes())
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    wall, cpu = time.monotonic(), time.process_time()
    data = path.read_bytes()
    found = read(data)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = _status("VmHWM")
    expected = -(-int(rows) // VOTES_PER_PHOTO) if who == "ours" and kind == _LINES_OF_VOTES else int(rows)
    if found != expected:
        print(f"{found} rows of {path.name} came out, not {expected}", file=sys.stderr)
        return 1
    figures: dict[str, Any] = {"wall_seconds": wall, "cpu_seconds": cpu, "peak_bytes": peak}
    print(json.dumps(figures | {"added_bytes": max(peak - before, 0), "file_bytes": len(data)}), flush=True)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # pyarrow's threads abort a process that ends soon after they read, now and then
