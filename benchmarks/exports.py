"""`make bench ONLY=exports`: what other tools' libraries make of exports, each in an environment of its own.

In: the bundled sample.  Out: one line a library; MosaicML's streaming reads MDS, DALI's CPU reader the pulled shards by their `.idx`.
The suite reads the other exports; these two bring gigabytes, and are not installed for it.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from peers import Peer, ready

__all__ = ["EXPORTS", "read_back"]

EXPORTS: Final = "exports"
ROOT: Final = Path(__file__).parent.parent
READERS: Final = (
    Peer("mds", "mds", (), "StreamingDataset over `export --format mds`", "read_back.py"),
    Peer("dali", "dali", (), "readers.tfrecord over `pull --for dali`", "read_back.py"),
)


def read_back(venvs: Path) -> int:
    """Export the sample and have each library read it; return 1 where one could not, or found anything else."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="exports-") as place:
        folders, expected = make_exports(Path(place))
        for reader in READERS:
            if why := ready(reader, venvs):
                print(f"{reader.name}: {why}")
                failed = 1
                continue
            python = venvs / reader.venv / "bin" / "python"
            command = [str(python), str(reader.script), reader.name, str(folders[reader.name]), str(expected)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            print(done.stdout.strip() or f"{reader.name}: exit {done.returncode}: {done.stderr[-2000:]}")
            failed |= done.returncode != 0
    return failed


def make_exports(place: Path) -> tuple[dict[str, Path], Path]:
    """Build the sample, export it and pull it; return the folders, and the file of what each record is."""
    program = [sys.executable, "-m", "aesthetics_ops"]
    dataset = (place / "dataset").as_uri() + "/"
    samples = ROOT / "samples"
    build = [
        *program,
        "build",
        "--photos",
        f"{(samples / 'photos').as_uri()}/",
        "--labels",
        (samples / "AVA.txt").as_uri(),
    ]
    folders = {"mds": place / "mds", "dali": place / "pulled"}
    for command in (
        [*build, "--dataset", dataset, "--max-reject-fraction", "1"],
        [*program, "export", dataset, str(folders["mds"]), "--format", "mds"],
        [*program, "pull", dataset, str(folders["dali"]), "--for", "dali"],
    ):
        subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, check=True
        )
    from aesthetics_ops.readers.dataset import open_dataset

    opened = open_dataset(dataset)
    rows = {
        split: {
            row.id: [row.label, hashlib.sha256(row.image).hexdigest(), row.votes] for row in opened.open_split(split)
        }
        for split, content in opened.splits.items()
        if content.records
    }
    expected = place / "expected.json"
    expected.write_text(json.dumps(rows))
    return folders, expected
