"""Airflow's commands, each in a child of one process that has imported Airflow already.

In: the environment of an Airflow home, and commands.  Out: exit statuses, and what was said.
Promised: a command is a process of its own with the environment that it is given, ends as `airflow` ends, and finds loaded what
`airflow` itself imports and nothing of this project.  Airflow's own processors of DAGs and workers fork the same way.

The same imports, and the API that `airflow tasks test` generates for itself, are 10 of the 15 CPU seconds of such a command.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

__all__ = ["WarmAirflow", "warm_airflow"]

_PATIENCE_S: Final = 900.0  # where a command never ends


class WarmAirflow:
    """Runs commands in one home, one at a time."""

    def __init__(self, env: Mapping[str, str], channel: socket.socket, scratch: Path) -> None:
        self._env, self._scratch = dict(env), scratch
        self._lines = channel.makefile("rw", encoding="utf-8")

    def run(self, *command: str, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run an `airflow` command to its end; return its exit status and what it said."""
        return self._ask({"arguments": ["airflow", *command]}, variables)

    def python(self, code: str, *arguments: str, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run Python code, as `python -c` does; return its exit status and what it said."""
        return self._ask({"arguments": ["-c", *arguments], "code": code}, variables)

    def _ask(self, question: dict[str, Any], variables: Mapping[str, str] | None) -> tuple[int, str]:
        said = self._scratch / "said.log"
        question |= {"env": self._env | dict(variables or {}), "said": str(said)}
        self._lines.write(f"{json.dumps(question)}\n")
        self._lines.flush()
        answer = self._lines.readline()
        assert answer, (self._scratch / "server.log").read_text(errors="replace")[-3000:]
        return int(answer), said.read_text(errors="replace")


@contextlib.contextmanager
def warm_airflow(env: Mapping[str, str], *, tasks: bool = True) -> Iterator[WarmAirflow]:
    """Start the process that commands are children of, and stop it at the end.

    Args:
        env: the whole environment; what Airflow reads while it is imported (its home, its database) is that of all commands.
        tasks: commands that run tasks are to come, so the API that they generate is generated once.
    """
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        ours, theirs = map(stack.enter_context, socket.socketpair())
        ours.settimeout(_PATIENCE_S)
        log = stack.enter_context((Path(scratch) / "server.log").open("wb"))
        # -P: the folder of this file is none of modules
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno()), *(["tasks"] if tasks else [])],
            env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()], start_new_session=True,
        )  # fmt: skip
        theirs.close()
        try:
            yield WarmAirflow(env, ours, Path(scratch))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _serve(channel: socket.socket, *, tasks: bool) -> None:
    import airflow.dag_processing.dagbag  # noqa: F401

    if tasks:
        _generate_api()
    gc.freeze()  # no child looks through it again
    lines = channel.makefile("rw", encoding="utf-8")
    for line in lines:
        question = json.loads(line)
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _become(question)
        lines.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        lines.flush()


def _generate_api() -> None:
    """Ask the API in which tasks run in this process for something: it is generated when it is first asked, in no thread that stays."""
    import asyncio

    import httpx
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    async def ask() -> None:
        async with httpx.AsyncClient(
            transport=in_process_api_server().atransport, base_url="http://in-process.invalid"
        ) as client:
            (await client.get("/health")).raise_for_status()

    asyncio.run(ask())


def _become(question: dict[str, Any]) -> NoReturn:
    """Be the process that was asked for, to its end."""
    said = os.open(question["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.environ.clear()
    os.environ.update(question["env"])
    sys.argv = question["arguments"]
    if "code" in question:
        exec(compile(question["code"], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        from airflow.__main__ import main

        main()
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), tasks="tasks" in sys.argv[2:])
