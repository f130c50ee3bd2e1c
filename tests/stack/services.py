"""The services of a deployment, as plain processes on loopback: started, waited for with a deadline, and always stopped.

In: what `tests/apt.sh` installs, and this project's `.venv`.  Out: a `Machine` that runs them, and a `Service` for each.
Promised: every process started here is in a session that is stopped by its id, after a failure or Ctrl-C too; ports
are free ones; files lie in one temporary directory; whoever waits fails with the end of the log of what it waited for.
"""

import contextlib
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

__all__ = ["PATIENCE_SECONDS", "Machine", "Service", "ServiceError", "tail", "wait_for"]

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # where Debian keeps it, not in PATH
PATHS: Final = os.pathsep.join(
    [str(Path(sys.executable).parent), *map(str, _POSTGRES), os.environ["PATH"], "/usr/sbin", "/sbin"]
)
NEEDED: Final = (
    "postgres", "initdb", "redis-server", "ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin",
)  # fmt: skip
PATIENCE_SECONDS: Final = 900.0  # where something hangs; on a busy machine minutes pass where nothing does
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0
_Found = TypeVar("_Found")
_log = logging.getLogger("stack")


class ServiceError(AssertionError):
    """A service is missing, died, or did not do in time what was waited for; has the end of its log."""


def tail(log: Path, lines: int = 40) -> str:
    """Return the end of a log, under its name."""
    text = log.read_text(errors="replace") if log.exists() else "(no log)"
    return f"--- {log.name}: its last lines\n" + "\n".join(text.splitlines()[-lines:])


def wait_for(
    what: str, ask: Callable[[], _Found | None], *, within_seconds: float, of: "tuple[Service, ...]" = ()
) -> _Found:
    """Ask until the answer is true, and return it.

    Args:
        what: is waited for, for the message.
        ask: returns something true when it is there; may raise OSError while it is not.
        within_seconds: then the wait fails.
        of: services without which it would be in vain: the wait ends at once when one of them dies.

    Raises:
        ServiceError: not in time, or one of the services ended.
    """
    started = time.monotonic()
    while True:
        error = None
        try:
            if found := ask():
                if (seconds := time.monotonic() - started) >= 1:
                    _log.info("%5.1f s  waited for %s", seconds, what)
                return found
        except OSError as caught:
            error = caught
        dead = [service for service in of if not service.is_running]
        if dead or time.monotonic() > started + within_seconds:
            why = f"{dead[0].name} ended" if dead else f"not within {within_seconds:g} s"
            raise ServiceError(
                "\n".join([f"waiting for {what}: {why} ({error})", *(tail(service.log) for service in dead or of)])
            )
        time.sleep(_POLL_SECONDS)


@dataclass
class Service:
    """One running service: a process and what it starts, in a session of their own.

    Attributes:
        name: of the service and its log.
        process: leads the session.
        log: its output.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    _is_gone: bool = False

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """Take all its processes away at once, as the loss of its machine does."""
        if self._is_gone:
            return
        wait_for(f"{self.name} to be gone", self._killed, within_seconds=_GRACE_SECONDS)
        self.process.wait(_GRACE_SECONDS)
        self._is_gone = True  # and its id may be another's from here on

    def ask_to_end(self) -> None:
        """Ask it to end in good order."""
        if self.is_running:
            os.killpg(self.process.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Ask it to end, then make it and whatever it left behind."""
        if self.is_running:
            self.ask_to_end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE_SECONDS)
        self.kill()

    def _killed(self) -> bool:
        members = _members_of_session(self.process.pid)
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        return not members


def _members_of_session(session: int) -> list[int]:
    """Return the living processes of a session: a Celery worker's tasks have process groups of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, _, its_session = path.read_text().rpartition(") ")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


@dataclass
class Machine:
    """Runs services in one temporary directory, which is removed unless something failed.

    Attributes:
        directory: holds logs and data.
        services: all that were started, in order.
        keep: leave the directory there, to look at.
    """

    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="aesthetics-stack-")))
    services: list[Service] = field(default_factory=list)
    keep: bool = False

    def __enter__(self) -> "Machine":
        missing = [name for name in NEEDED if shutil.which(name, path=PATHS) is None]
        if missing:
            self.directory.rmdir()
            raise ServiceError(f"{', '.join(missing)}: not installed; run `tests/apt.sh stack` as root first")
        self.directory.chmod(0o755)  # PostgreSQL has an account of its own
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for service in reversed(self.services):
            service.ask_to_end()
        for service in reversed(self.services):
            service.stop()
        if error is None and not self.keep:
            shutil.rmtree(self.directory)

    def start(
        self, name: str, *command: str, env: Mapping[str, str] | None = None, account: str | None = None
    ) -> Service:
        """Start a service, its output to a log of its name.

        Args:
            name: of the service.
            command: the program and its arguments; it must stay in the foreground.
            env: its environment; this process's own if None.
            account: to run it under, where this process may choose.
        """
        log = self.directory / f"{name}.log"
        with log.open("ab") as file:
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, env=_environment(env), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True, **_identity(account),
            )  # fmt: skip
        service = Service(name, process, log)
        self.services.append(service)
        return service

    def run(
        self, name: str, *command: str, env: Mapping[str, str] | None = None, account: str | None = None,
        within_seconds: float = PATIENCE_SECONDS,
    ) -> str:  # fmt: skip
        """Run a command to its end; return its output.

        Raises:
            ServiceError: it failed, or took too long.
        """
        started = time.monotonic()
        service = self.start(name, *command, env=env, account=account)
        try:
            status = service.process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"{name} did not end within {within_seconds:g} s\n{tail(service.log)}") from None
        finally:
            service.kill()
            self.services.remove(service)
        if status != 0:
            raise ServiceError(f"{name} ended with status {status}\n{tail(service.log)}")
        _log.info("%5.1f s  %s", time.monotonic() - started, name)
        return service.log.read_text(errors="replace")

    def logs(self) -> str:
        """Return the end of every service's log."""
        return "\n\n".join(tail(service.log) for service in self.services)


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    return {**(os.environ if env is None else env), "PATH": PATHS}


def _identity(account: str | None) -> dict[str, Any]:
    """What `Popen` needs to run under another account; nothing where only root may do that."""
    if account is None or os.getuid() != 0:
        return {}
    entry = pwd.getpwnam(account)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
