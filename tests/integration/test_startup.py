"""What a process of a stage, of a reader or of a command has loaded when its work is done: what it used, and no more.

tests/unit/test_architecture.py says what they begin with.  Here they work, since much is loaded only when it is called: one
method of a table may bring in pandas.
"""

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from aesthetics_ops.pipeline import build_dataset, start_build
from tests.support.crew import stored_photos
from tests.support.nights import PHOTOS, Source, photo, smaller
from tests.support.paths import ROOT

HEAVY = {
    "boto3", "cv2", "duckdb", "jinja2", "keras", "matplotlib", "obstore", "pandas", "pyarrow.acero", "pyarrow.compute", "pyarrow.csv",
    "pyarrow.dataset", "tensorflow", "torch", "aesthetics_ops.dataset.manifest", "aesthetics_ops.sources.labels",
}  # fmt: skip
CONVERT = """
from aesthetics_ops.builds import resume_build
from aesthetics_ops.conversion.partition import convert_partition
build, plan = resume_build(sys.argv[1], "night")
assert convert_partition(build, plan, 0).built
"""
VALIDATE = """
from aesthetics_ops.builds import resume_build
from aesthetics_ops.validation.partition import validate_partition
build, plan = resume_build(sys.argv[1], "night")
assert validate_partition(build, plan, 0).read
"""
OPEN = """
import aesthetics_ops
assert aesthetics_ops.open_dataset(sys.argv[1])
"""
COMMAND = """
from aesthetics_ops.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main({arguments}) == 0
"""
SHOW = COMMAND.format(arguments='["show", sys.argv[1]]')
HELP = COMMAND.format(arguments='["--help"]')


LOADED = """
import gc
from aesthetics_ops import cli
cli.main = lambda: print(gc.isenabled(), gc.get_threshold(), gc.get_freeze_count() > 10_000) or 0
from aesthetics_ops.__main__ import main
main()
"""


def loaded_by(work: str, dataset: str) -> set[str]:
    """Return which of HEAVY a process has loaded when it has done its work."""
    code = f"import contextlib, io, json, sys\n{work}\nprint(json.dumps(sorted(sys.modules.keys() & {HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code, dataset], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(json.loads(done.stdout))


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return stored_photos(tmp_path, monkeypatch)


def test_a_process_that_converts_or_reads_back_loads_what_it_uses(stored: Source) -> None:
    settings = stored.settings()
    start_build(settings, build_id="night")
    assert loaded_by(CONVERT, settings.dataset) <= {"cv2"}, "which photos of some formats need"
    assert loaded_by(VALIDATE, settings.dataset) == {"tensorflow"}


@pytest.mark.parametrize(
    ("work", "loads"),
    [
        (OPEN, {"aesthetics_ops.dataset.manifest", "pyarrow.compute"}),
        (SHOW, {"aesthetics_ops.dataset.manifest"}),
        (HELP, {"aesthetics_ops.dataset.manifest"}),
    ],
    ids=["open_dataset", "show", "help"],
)
def test_a_reader_and_a_command_load_what_they_use(stored: Source, work: str, loads: set[str]) -> None:
    published = build_dataset(stored.settings())
    assert loaded_by(work, published.manifest.dataset) == loads


def test_the_next_night_copies_records_without_more_than_that(stored: Source) -> None:
    build_dataset(stored.settings())
    stored.add("late", smaller(photo(PHOTOS[0])), 3.5)
    settings = stored.settings()
    start_build(settings, build_id="night")
    assert loaded_by(CONVERT.replace(".built", ".copied"), settings.dataset) <= {"cv2"}


def test_pythons_collector_looks_at_what_a_command_makes_and_no_more_at_what_it_has_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == f"True {gc.get_threshold()} True"


ARRAY = """
import sys
import pyarrow as pa
from aesthetics_ops import cli
cli.main = lambda: print(pa.array(["a"]).type, "pandas" in sys.modules, pa.table({"a": [1]}).to_pandas().shape) or 0
from aesthetics_ops.__main__ import main
main()
"""


@pytest.mark.parametrize(("command", "said"), [("build", "string False (1, 1)"), ("train", "string True (1, 1)")])
def test_pyarrow_brings_pandas_into_no_command_but_the_one_that_runs_a_function(command: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", ARRAY, command], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == said
