"""Other tools that make training shards, each in an environment of its own, and how a user would run them.

In: a folder for environments.  Out: `PEERS`, made ready one by one.  Each script here takes `ROWS OUT {keep,reencode}`,
where ROWS is a CSV file with the columns path, url and label, and prints how many photos came out.
"""

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["PEERS", "Peer", "ready"]

HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to make shards without this project.

    Attributes:
        name: in the table.
        venv: its environment, made from `requirements-<venv>.txt`.
        encodings: that it can do.
        described: what it is told to do, in the table's notes.
        file: the script's name.
        arguments: added to the script's.
    """

    name: str
    venv: str
    encodings: tuple[str, ...]
    described: str
    file: str
    arguments: tuple[str, ...] = ()

    @property
    def script(self) -> Path:
        """The script that runs in its environment."""
        return HERE / self.file


_BOTH: Final = ("keep", "reencode")
_I2D: Final = "photos by HTTP from the same server, 2 processes of 16 threads, at most 600 a shard; "
PEERS: Final = (
    Peer(
        "img2dataset-tfrecord", "img2dataset", _BOTH,
        _I2D + "keep is disable_all_reencoding, reencode is resize_mode=no, JPEG, quality 95", "run_img2dataset.py", ("tfrecord",),
    ),
    Peer(
        "img2dataset-webdataset", "img2dataset", _BOTH,
        _I2D + "as above, into tar files", "run_img2dataset.py", ("webdataset",),
    ),
    Peer(
        "mosaicml-streaming", "mds", _BOTH,
        "photos from local files, one process (MDSWriter); keep writes the file's bytes, reencode decodes and encodes with Pillow at quality 95", "run_mds.py",
    ),
    Peer(
        "litdata", "litdata", _BOTH,
        "photos from local files, optimize() with 2 workers, 64 MB a chunk; keep returns the file's bytes, reencode as above", "run_litdata.py",
    ),
    Peer(
        "tensorflow-script", "tensorflow", ("reencode",),
        "photos from local files, one process: cv2.imread, cv2.imencode, tf.train.Example, TFRecordWriter", "run_tensorflow.py",
    ),
)  # fmt: skip


def ready(peer: Peer, venvs: Path) -> str:
    """Make a peer's environment if it is not there; return why that failed, or nothing."""
    requirements = HERE / f"requirements-{peer.venv}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = venvs / peer.venv
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == digest:
        return ""
    print(f"bench: installing {peer.venv} into {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "--requirement", str(requirements)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            return f"cannot be installed: {lines[-1][:200]}"
    stamp.write_text(digest)
    return ""
