"""A Docker engine of its own, on a machine that has none and reaches no container registry.

In: a directory to work in, and this machine's apt and pip.  Out: an `Engine` with Debian's dockerd, buildx and Compose.
Promised: the engine runs in namespaces of its own (mounts, processes, network), so that this machine's processes, network
settings and files stay as they are; it listens on a socket in the directory; when it is stopped, or whoever started it
dies, everything in it is gone at once.  Its way out is slirp4netns, a program that forwards connections and changes no firewall.
"""

import contextlib
import ctypes
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = ["Engine", "EngineError", "debian_mirror", "find_obstacle"]

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENGINE: Final = (
    "trixie",
    "docker.io,docker-cli,docker-buildx,docker-compose,iptables,iproute2,slirp4netns,ca-certificates",
)
# a program that sees none of this machine's processes, changes none of its mounts, and dies with whoever started it
_ALONE: Final = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
)  # fmt: skip
_TREE_SECONDS: Final = 900
_READY_SECONDS: Final = 90
_CGROUPS: Final = Path("/sys/fs/cgroup")
_Result = TypeVar("_Result")
_log = logging.getLogger("compose")

# Process 1 of the namespaces.  $1: the directory; $2: the parent of the containers' control groups.
_START: Final = r"""
set -e
tree=$1/engine
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
for part in sys dev; do mount --rbind "/$part" "$tree/$part"; done
for part in run tmp; do mount -t tmpfs tmpfs "$tree/$part"; done
mkdir -p "$tree$1" "$tree/old"  # after the others: the directory may lie in /tmp
mount --bind "$1" "$tree$1"
cd "$tree"
pivot_root . old
umount -l /old
cd /
echo 'nameserver 10.0.2.3' >/etc/resolv.conf  # slirp4netns, which asks this machine's
touch /run/net
unshare --net=/run/net ip link set lo up
slirp4netns --configure --mtu=65520 --disable-host-loopback --netns-type=path /run/net tap0 &
until nsenter --net=/run/net ip route get 10.0.2.3 >/dev/null 2>&1; do sleep 0.1; done
nsenter --net=/run/net dockerd --data-root "$1/data" --host "unix://$1/docker.sock" --cgroup-parent "$2" &
wait  # and bury what containers leave behind
"""


class EngineError(AssertionError):
    """The engine could not be made or started, or a command in it failed; has the end of what was said."""


def debian_mirror() -> str | None:
    """Return where this machine's apt gets Debian from, or None where it does not."""
    sources = Path("/etc/apt")
    for path in (sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))):
        text = path.read_text() if path.is_file() else ""
        found = re.search(r"^URIs:\s*(\S+/debian)/?\s*$|^deb\s+(?:\[[^]]*\]\s+)?(\S+/debian)/?\s", text, re.MULTILINE)
        if found:
            return found[1] or found[2]
    return None


def find_obstacle(needed_bytes: int) -> str:
    """Return in one line why no engine can be started here; empty when nothing stands in the way."""
    if shutil.disk_usage(tempfile.gettempdir()).free < needed_bytes:
        return f"{tempfile.gettempdir()} has less than {needed_bytes / 1e9:g} GB free"
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name in ("debootstrap", "unshare", "nsenter", "setpriv") if not shutil.which(name, path=_PATH)]
    if missing:
        return f"there is no {missing[0]}"
    if not debian_mirror():
        return "apt here has no Debian mirror, from which the engine and the base images are made"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    with tempfile.TemporaryDirectory() as scratch:
        script = (
            'cd "$1" && mkdir a b c d && '
            "mount -t overlay overlay -o lowerdir=a,upperdir=b,workdir=c d && mount -t proc proc /proc"
        )
        namespaces = ("unshare", "--mount", "--net", "--pid", "--fork", "--propagation", "private")
        done = subprocess.run([*namespaces, "sh", "-c", script, "sh", scratch], capture_output=True, text=True)
    return f"namespaces or overlayfs are missing: {done.stderr.strip().splitlines()[-1]}" if done.returncode else ""


class Engine:
    """A Docker engine in a directory.

    Attributes:
        directory: everything that it makes lies below it; the same path leads there inside.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._inside: ThreadPoolExecutor | None = None
        self._cgroup = f"aesthetics-compose-{os.getpid()}"
        self._first = 0  # process 1 of its namespaces, as this machine counts
        self._namespaces: set[str] = set()

    # --- trees of Debian

    def make_trees(self, trees: Mapping[str, tuple[str, str]]) -> None:
        """Make the engine's own system and others, side by side, but for those that were made before.

        Args:
            trees: suite and packages of Debian, by the name of the directory.

        Raises:
            EngineError: one could not be made.
        """
        wanted = {"engine": _ENGINE, **trees}
        missing = [name for name in wanted if not (self.directory / f"{name}.done").exists()]
        running = {name: self._make_tree(name, *wanted[name]) for name in missing}
        try:
            for name, process in running.items():
                if process.wait(_TREE_SECONDS):
                    raise EngineError(f"debootstrap of {name} failed\n{_tail(self.directory / f'{name}.log')}")
                (self.directory / f"{name}.done").touch()
        finally:
            for process in running.values():
                process.kill()  # with all that it started
                process.wait()

    def _make_tree(self, name: str, suite: str, packages: str) -> subprocess.Popen[bytes]:
        """Start debootstrap, in namespaces that end with it."""
        tree = self.directory / name
        shutil.rmtree(tree, ignore_errors=True)
        command = ("debootstrap", "--variant=minbase", f"--include={packages}", suite, str(tree), debian_mirror())
        with (self.directory / f"{name}.log").open("wb") as output:
            return subprocess.Popen(
                [*_ALONE, "--mount-proc", *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env={"PATH": _PATH, "DPKG_FORCE": "unsafe-io"},
            )  # fmt: skip

    # --- the engine

    def start(self) -> None:
        """Start the engine; return when it answers."""
        _make_group(_CGROUPS / "cpu" / self._cgroup)
        with (self.directory / "dockerd.log").open("wb") as output:
            self._process = subprocess.Popen(
                [*_ALONE, "bash", "-c", _START, "engine", str(self.directory), self._cgroup],
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, env={"PATH": _PATH},
            )  # fmt: skip
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"dockerd does not start\n{_tail(self.directory / 'dockerd.log')}")
            time.sleep(0.3)
        net = f"/proc/{self._first}/root/run/net"
        self._namespaces = {str(Path(f"/proc/{self._first}/ns/{kind}").readlink()) for kind in ("pid", "mnt")}
        self._namespaces.add(f"net:[{Path(net).stat().st_ino}]")
        self._inside = ThreadPoolExecutor(1, initializer=_enter_network, initargs=(net,))

    def _answers(self) -> bool:
        if not (self.directory / "docker.sock").exists():
            return False
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._first = int(children[0]) if children else 0
        return bool(self._first) and self.run("docker", "info", check=False).returncode == 0

    def stop(self) -> None:
        """Take the engine away with everything that runs in it."""
        if self._process and self._process.poll() is None:
            if self._first:
                os.kill(self._first, signal.SIGKILL)  # and the kernel ends every process of its namespace
            else:
                self._process.kill()
            self._process.wait(30)
        if self._inside:
            self._inside.shutdown(cancel_futures=True)
        for group in sorted(_CGROUPS.glob(f"**/{self._cgroup}"), reverse=True):
            for parent, _, _ in os.walk(group, topdown=False):
                _remove_group(Path(parent))

    def remove(self, *, keep: tuple[str, ...] = ()) -> None:
        """Delete the directory, or what is in it but for names that fit one of the patterns."""
        kept = {path for pattern in keep for path in self.directory.glob(pattern)}
        gone = [path for path in self.directory.iterdir() if path not in kept] if kept else [self.directory]
        subprocess.run(["rm", "--recursive", "--force", "--one-file-system", *gone], check=True)

    def leftovers(self) -> list[str]:
        """Return what is still there of a stopped engine: processes in its namespaces, mounts, control groups, files."""
        processes = []
        for path in Path("/proc").glob("[0-9]*/ns/*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if str(path.readlink()) in self._namespaces:
                    processes.append(str(path))
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self.directory) in line]
        files = [str(self.directory)] if self.directory.exists() else []
        return [*processes, *mounts, *map(str, _CGROUPS.glob(f"**/{self._cgroup}")), *files]

    # --- what is done in it

    def command(self, *words: str, directory: Path | None = None, env: Mapping[str, str] | None = None) -> list[str]:
        """Return a command line that runs another among the engine's files, processes and network."""
        settings = {
            "PATH": _PATH,
            "HOME": "/root",
            "DOCKER_HOST": f"unix://{self.directory}/docker.sock",
            **(env or {}),
        }
        enter = ("nsenter", "--target", str(self._first), "--mount", "--pid", f"--net=/proc/{self._first}/root/run/net")
        place = f"--chdir={directory or '/'}"
        return [*enter, "env", "-i", place, *(f"{name}={value}" for name, value in settings.items()), *words]

    def run(
        self, *words: str, directory: Path | None = None, env: Mapping[str, str] | None = None,
        stdin: Any = subprocess.DEVNULL, timeout_seconds: float = 300, check: bool = True,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command inside, and see that it ends well.

        Raises:
            EngineError: it failed, unless that is expected; has the end of what it said.
        """
        done = subprocess.run(
            self.command(*words, directory=directory, env=env),
            stdin=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_seconds, check=False,
        )  # fmt: skip
        if check and done.returncode:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-60:])
            raise EngineError(f"{' '.join(words)[:300]} ended with {done.returncode}\n{said}")
        return done

    def inside(self, call: Callable[[], _Result]) -> _Result:
        """Call something in the engine's network, whose loopback has the published ports."""
        future: Future[_Result] = self._inside.submit(call)
        return future.result()

    def import_tree(self, tree: Path, image: str) -> None:
        """Make a base image of a system of Debian packages."""
        changes = ("ENV PATH=" + _PATH, "ENV LANG=C.UTF-8")
        with subprocess.Popen(["tar", "--directory", tree, "--create", "."], stdout=subprocess.PIPE) as packed:
            self.run("docker", "import", *(word for change in changes for word in ("--change", change)), "-", image, stdin=packed.stdout)  # fmt: skip


def _enter_network(path: str) -> None:
    """Move the calling thread, and the threads that it starts, into a network namespace."""
    library = ctypes.CDLL(None, use_errno=True)
    with open(path) as file:  # noqa: PTH123
        if library.setns(file.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns to {path}")


def _make_group(group: Path) -> None:
    """Let the containers weigh as eight processes where cores are short: a control group weighs as one by itself."""
    if group.parent.is_dir():  # the first version of control groups; the second shares otherwise
        group.mkdir(exist_ok=True)
        (group / "cpu.shares").write_text("8192")


def _remove_group(group: Path) -> None:
    """Remove a control group, once the kernel has seen its last process go."""
    for _ in range(50):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
    _log.warning("%s could not be removed", group)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:]) if log.exists() else "(no log)"
