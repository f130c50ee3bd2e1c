"""Whatever the shell gives a command, it gets a line and an exit status back, and never a traceback.

Rows are commands, columns are conditions, and each condition is a real one: a closed pipe, a full device, a small tmpfs.
"""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aesthetics_ops import open_dataset
from aesthetics_ops.cli import main
from aesthetics_ops.readers.sampling.sampler import Sampler
from aesthetics_ops.readers.sampling.state import Receipt
from aesthetics_ops.shell import guarded
from tests.support.documents import make_reports_quick
from tests.support.nights import ARRIVING, PHOTOS, Source, build_once, photo

COMMANDS = (
    "show",
    "versions",
    "verify",
    "diff",
    "pull",
    "rejects",
    "rejects --save",
    "replay",
    "rollback",
    "point",
    "pointers",
    "pin",
    "log",
    "expire",
    "build",
    "--help",
)
WRITERS = ("pull", "rejects --save")  # those that the user names a local directory to


class Desk(NamedTuple):
    """A published dataset on files: its source, and its two versions."""

    source: Source
    versions: tuple[str, str]

    def words(self, command: str, directory: Path) -> list[str]:
        """Return a whole command line."""
        name, *flags = command.split()
        if name == "--help":
            return [name]
        if name == "build":
            settings = self.source.settings(max_reject_fraction=1).model_dump(mode="json", exclude_defaults=True)
            return [name, *(f"--{key.replace('_', '-')}={value}" for key, value in settings.items())]
        if name == "replay":
            flags = ["--state", str(self.reader_state(directory / "state.json"))]
        more = {
            "diff": list(self.versions),
            "replay": flags,
            "rollback": [self.versions[1]],
            "expire": ["--keep", "2", "--yes"],
            "point": ["prod", self.versions[1], "--reason", "tried"],
            "pin": [self.versions[1], "run-7", "--reason", "trained"],
            "pull": [str(directory)],
            "rejects": [*flags, *([str(directory)] if flags else [])],
        }
        return [name, f"{self.source.url}dataset/", *more.get(name, [])]

    def reader_state(self, file: Path) -> Path:
        """Write the state of a reader that has handed out one batch."""
        dataset = open_dataset(f"{self.source.url}dataset/")
        names = (dataset.manifest.dataset, dataset.version, dataset.source.manifest_sha256, "train")
        sampler = Sampler(dataset.splits["train"].records, 2, receipt=Receipt(*names))
        next(iter(sampler))
        file.write_text(json.dumps(sampler.state_dict()))
        return file


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    source = Source(tmp_path_factory.mktemp("source").as_uri() + "/", {})
    for number, name in enumerate(PHOTOS[:6]):
        source.add(name, photo(name), number)
    source.add("cut", photo(PHOTOS[7])[:-9000], 3)
    settings = source.settings(max_reject_fraction=1)
    with pytest.MonkeyPatch.context() as patch:
        make_reports_quick(patch)
        first = build_once(settings).manifest.version
        source.add(ARRIVING, photo(ARRIVING), 4)
        return Desk(source, (first, build_once(settings).manifest.version))


def run(words: list[str], *before: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE} | options
    command = [*before, sys.executable, "-m", "aesthetics_ops", *words]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300, check=False, **options)


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command wrote on stderr."""
    assert done.stderr.startswith("aesthetics-ops: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("aesthetics-ops: ").rstrip("\n")


@pytest.mark.parametrize("command", COMMANDS)
class TestOutput:
    """Standard output that takes nothing."""

    def test_a_pipe_that_nobody_reads_ends_a_command_quietly(self, desk: Desk, command: str, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = run(desk.words(command, tmp_path), stdout=writer)
        finally:
            os.close(writer)
        assert (done.returncode, done.stderr) == (141, "")

    def test_a_full_device_is_one_line(self, desk: Desk, command: str, tmp_path: Path) -> None:
        with Path("/dev/full").open("w") as full:
            done = run(desk.words(command, tmp_path), stdout=full)
        assert done.returncode == 3
        assert the_line(done) == ("standard output: its disk is full; free some space, and run the same command again")

    def test_a_closed_one_is_one_line_and_no_file_takes_its_place(
        self, desk: Desk, command: str, tmp_path: Path
    ) -> None:
        done = run(desk.words(command, tmp_path), "sh", "-c", 'exec "$@" >&-', "sh")
        assert done.returncode == 1
        assert the_line(done) == "standard output: it is closed, so the command's output cannot be written"


def test_without_stderr_errors_keep_their_exit_status(desk: Desk, tmp_path: Path) -> None:
    words = desk.words("pull", tmp_path / "file" / "x")
    (tmp_path / "file").write_bytes(b"")
    assert run(words, "sh", "-c", 'exec "$@" 2>&-', "sh").returncode == 1
    assert run(words, "sh", "-c", 'exec "$@" 2>/dev/full', "sh").returncode == 1
    assert run(desk.words("show", tmp_path), "sh", "-c", 'exec "$@" 2>&-', "sh").returncode == 0


@pytest.mark.parametrize("command", ["verify", "pull"])
def test_on_a_terminal_progress_is_shown_in_bytes_up_to_the_whole(desk: Desk, command: str, tmp_path: Path) -> None:
    terminal, end = os.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    words = [sys.executable, "-m", "aesthetics_ops", *desk.words(command, tmp_path)]
    with os.fdopen(terminal, "rb", buffering=0) as shown:
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=end, timeout=300, check=True)
        os.close(end)
        written = b""
        with suppress(OSError):  # a terminal whose other end is closed ends like this
            while more := shown.read(1 << 16):
                written += more
    assert f"{command}: 100%" in written.decode()
    assert "B/s" in written.decode()


def test_an_error_is_a_json_document_too(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = run([*desk.words("pull", tmp_path / "file"), "--json"])
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"error": {"type": "NotADirectoryError", "message": the_line(done)}}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    yield from mounted(tmp_path / "small", "size=64k")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "frozen", "ro")


def mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this machine lets these tests mount no tmpfs: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


class TestPlaces:
    """A local directory that takes nothing."""

    @pytest.mark.parametrize("command", WRITERS)
    @pytest.mark.parametrize("below", [False, True], ids=["itself", "below"])
    @pytest.mark.parametrize("kind", ["file", "dangling link"])
    def test_what_is_in_the_way_is_named(
        self, desk: Desk, command: str, kind: str, below: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        way = tmp_path / "way"
        if kind == "file":
            way.write_bytes(b"mine")
        else:
            way.symlink_to(tmp_path / "nowhere")
        assert main(desk.words(command, way / "deep" if below else way)) == 1
        out, err = capsys.readouterr()
        named = way / "deep" if below and (kind == "file" or command == "pull") else way
        assert (out, err) == ("", f"aesthetics-ops: '{named}': it is in the way, "
            "and not a directory; move it away, or name another directory\n")  # fmt: skip
        assert [path.name for path in tmp_path.iterdir()] == ["way"]

    @pytest.mark.parametrize("command", WRITERS)
    def test_a_name_that_is_too_long_is_named(
        self, desk: Desk, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(desk.words(command, tmp_path / ("n" * 300))) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "nnn" in err
        assert "the name is too long for its file system; name a shorter one" in err

    @pytest.mark.parametrize("command", WRITERS)
    def test_a_read_only_file_system_is_named(
        self, desk: Desk, command: str, read_only_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for directory in (read_only_disk, read_only_disk / "new"):
            assert main(desk.words(command, directory)) == 1
            err = capsys.readouterr().err
            assert err.startswith(f"aesthetics-ops: '{directory}")
            assert err.endswith("its file system is read-only; name another place\n")
            assert err.count("\n") == 1

    def test_what_was_pulled_is_found_whole_on_a_file_system_that_is_read_only_now(
        self, desk: Desk, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        assert main(desk.words("pull", small_disk)) == 0
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        capsys.readouterr()
        assert main(desk.words("pull", small_disk)) == 0
        assert " 0 bytes downloaded" in capsys.readouterr().out
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

    @pytest.mark.parametrize("command", WRITERS)
    def test_a_directory_that_may_not_be_written_is_named(self, desk: Desk, command: str, tmp_path: Path) -> None:
        as_owner: tuple[str, ...] = ()
        if os.geteuid() == 0:  # root may write everywhere, unless this is taken from it
            as_owner = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        for directory in (locked, locked / "new"):
            done = run(desk.words(command, directory), *as_owner)
            assert done.returncode == 1
            assert the_line(done).startswith(f"'{directory}")
            assert "access is denied; check its owner and mode, or name another place" in done.stderr

    @pytest.mark.parametrize("command", WRITERS)
    @pytest.mark.parametrize("left", [0, 8 << 10])
    def test_a_disk_that_is_full_is_one_line_and_the_same_command_goes_on_later(
        self, desk: Desk, command: str, left: int, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill(small_disk, left)
        assert main(desk.words(command, small_disk / "set")) == 3
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert f"'{small_disk}/set" in err
        assert "free some" in err
        (small_disk / "ballast").unlink()
        assert not [path for path in small_disk.rglob("*") if path.suffix in (".partial", ".part")]
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        assert main(desk.words(command, small_disk / "set")) == 0
        capsys.readouterr()

    def test_a_disk_that_fills_up_during_a_pull_is_one_line_that_names_the_file(
        self, desk: Desk, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plenty = shutil.disk_usage("/")._replace(free=1 << 40)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: plenty)  # there was room when pull asked
        assert main(desk.words("pull", small_disk)) == 3
        err = capsys.readouterr().err
        assert err.startswith(f"aesthetics-ops: '{small_disk}/.aesthetics-ops-")
        assert err.endswith("its disk is full; free some space, and run the same command again\n")
        assert not list(small_disk.glob("manifest.json")), "nothing claims a whole version"
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        assert main(desk.words("pull", small_disk)) == 0
        assert not list(small_disk.glob("*.part"))

    @pytest.mark.parametrize("command", ["build", "verify"])
    def test_scratch_that_cannot_be_written_is_one_line(
        self,
        desk: Desk,
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
        assert main(desk.words(command, tmp_path)) == 3
        err = capsys.readouterr().err
        assert err.startswith("aesthetics-ops: no scratch directory can be made")
        assert err.endswith("point TMPDIR at a directory that can be written\n")
        assert err.count("\n") == 1

    def test_a_dataset_on_a_full_disk_is_one_line(
        self, desk: Desk, small_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fill(small_disk, 8 << 10)
        words = [word for word in desk.words("build", small_disk) if not word.startswith("--dataset")]
        assert main([*words, f"--dataset={small_disk.as_uri()}/set/"]) == 3
        err = capsys.readouterr().err
        assert f"{small_disk.as_uri()}/set/" in err
        assert "its disk is full; free some space, and run the same command again" in err
        assert err.count("\n") == 1

    def test_a_dataset_on_a_read_only_file_system_is_one_line(
        self, desk: Desk, read_only_disk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = [word for word in desk.words("build", read_only_disk) if not word.startswith("--dataset")]
        assert main([*words, f"--dataset={read_only_disk}/set"]) == 3
        err = capsys.readouterr().err
        assert f"'{read_only_disk}/set': its file system is read-only; name another place" in err
        assert err.count("\n") == 1


def fill(disk: Path, left: int) -> None:
    """Leave so many bytes of a file system."""
    with (disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(shutil.disk_usage(disk).free - left))


class TestMistakes:
    """What no rule foresees: one line without --verbose, the traceback with it."""

    @staticmethod
    def failing(error: BaseException) -> Any:
        def fail() -> int:
            raise error

        return fail

    @pytest.mark.parametrize(
        ("error", "status", "said"),
        [
            (
                KeyError("x"),
                4,
                "KeyError: 'x'; this is a mistake in aesthetics-ops: run the same command with --verbose",
            ),
            (ValueError("two\nlines\x1b[2J"), 4, r"ValueError: two lines\x1b[2J; this is"),
            (MemoryError(), 3, "not enough memory; "),
            (RuntimeError("can't start new thread"), 3, "not enough memory; "),
            (ImportError("x.so: failed to map segment from shared object"), 3, "not enough memory; "),
            (Exception("Unknown error: Failed to launch worker thread: busy"), 3, "not enough memory; "),
            (RuntimeError("std::bad_alloc"), 3, "not enough memory; "),
            (RuntimeError("of another kind"), 4, "RuntimeError: of another kind; this is a mistake"),
            (RecursionError("too deep"), 1, "the input is nested too deeply to be read: too deep; "),
            (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), 3, "not enough memory; "),
            (OSError(errno.ENOMEM, "Cannot allocate memory"), 3, "not enough memory; "),
            (OSError(errno.ENOMEM, "Cannot allocate memory", "/a/file"), 3, "not enough memory; "),
            (BlockingIOError(errno.EAGAIN, "busy", "standard output"), 1, "standard output: busy; check"),
            (OSError(errno.ENFILE, "x", "/a/file"), 1, "'/a/file': too many files are open on this machine; end"),
            (OSError(errno.EIO, "x", "/a/file"), 1, "'/a/file': the device cannot read or write it; check the disk"),
            (OSError(errno.EXDEV, "Invalid link", "/a", None, "/b"), 1, "'/b': Invalid link; check"),
            (OSError("no number"), 1, "a file: no number; check"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
    )
    def test_any_exception_is_one_line(
        self, error: Exception, status: int, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert guarded(self.failing(error), as_json=False, verbose=False) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"aesthetics-ops: {said}")
        assert err.count("\n") == 1

    def test_verbose_shows_where_it_was(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert guarded(self.failing(KeyError("x")), as_json=False, verbose=True) == 4
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert "in fail\n" in err
        assert err.splitlines()[-1].startswith("aesthetics-ops: KeyError")


LEAVING = """
import atexit, sys, threading, time
from aesthetics_ops.shell import leave
atexit.register(print, "at exit")
class Left:
    def __del__(self):
        print("taken down")
left = Left()
def work():
    time.sleep(1)
    print("the thread's end")
threading.Thread(target=work, daemon={daemon}).start()
sys.stdout.write("written, ")
leave(3)
"""


class TestLeave:
    """A process ends at once with its status: what has to be done at exit is done, and no thread that has to end is cut off."""

    @pytest.mark.parametrize(
        ("daemon", "said"),
        [
            (True, "written, at exit\n"),
            (False, "written, the thread's end\nat exit\ntaken down\n"),  # then as every Python process
        ],
    )
    def test_what_has_to_be_done_is_done(self, daemon: bool, said: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", LEAVING.format(daemon=daemon)], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (3, said, "")

    @pytest.mark.parametrize(("closed", "said"), [("1>&-", ""), ("2>&-", "x"), ("1>&- 2>&-", ""), ("1>/dev/full", "")])
    def test_closed_and_full_streams_are_no_error(self, closed: str, said: str) -> None:
        program = "from aesthetics_ops.shell import leave; import sys; sys.stdout and sys.stdout.write('x'); leave(3)"
        done = subprocess.run(
            ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program],
            check=False, capture_output=True, text=True, env=os.environ | {"PYTHONUNBUFFERED": ""},
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (3, said, "")


class TestSigterm:
    """SIGTERM, and SIGHUP of a terminal that closes, end a command within seconds, and its scratch is gone."""

    @pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
    def test_a_build_at_work_cleans_up(self, desk: Desk, tmp_path: Path, end: signal.Signals) -> None:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        words = [word for word in desk.words("build", tmp_path) if not word.startswith("--dataset")]
        with started([*words, f"--dataset={tmp_path.as_uri()}/set/"], TMPDIR=str(scratch)) as process:
            wait_for(lambda: any(scratch.glob("aesthetics-ops-scratch-*")))
            process.send_signal(end)
            self.assert_ended(process, end)
        assert list(scratch.iterdir()) == []

    @contextmanager
    def loading(self, tmp_path: Path, module: str) -> Iterator[subprocess.Popen[str]]:
        """A command that is loading a module, which takes two minutes."""
        begun = tmp_path / "begun"
        (tmp_path / f"{module}.py").write_text(
            f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(120)\n"
        )
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        with started(["show", "file:///nowhere/"], PYTHONPATH=path) as process:
            wait_for(begun.exists)
            yield process

    @pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_command_that_is_still_loading_ends_too(self, tmp_path: Path, end: signal.Signals) -> None:
        with self.loading(tmp_path, "pyarrow") as process:
            process.send_signal(end)
            self.assert_ended(process, end)

    @pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
    def test_a_command_that_does_not_catch_signals_yet_ends_without_a_traceback(
        self, tmp_path: Path, end: signal.Signals
    ) -> None:
        with self.loading(tmp_path, "tqdm") as process:
            process.send_signal(end)
            assert (process.communicate(timeout=300), process.returncode) == (("", ""), -end)

    def test_a_command_that_a_silent_server_keeps_waiting_ends(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}
            with started(["show", "s3://bucket/set/"], AWS_ENDPOINT_URL=url, **keys) as process:
                connection, _ = server.accept()
                with connection:
                    process.send_signal(signal.SIGTERM)
                    self.assert_ended(process)

    @staticmethod
    def assert_ended(process: subprocess.Popen[str], end: signal.Signals = signal.SIGTERM) -> None:
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out) == (128 + end, "")
        what = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}.get(end, "the terminal is gone")
        assert err == f"aesthetics-ops: {what}; the same command goes on where this one stopped\n"


@contextmanager
def started(words: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "aesthetics_ops", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(30_000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")
