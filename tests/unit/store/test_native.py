"""memory://: what only the stores of obstore can get wrong."""

import subprocess
import sys
import textwrap
import uuid

import pytest

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store import open_store


def test_one_name_is_one_store() -> None:
    name = uuid.uuid4().hex
    open_store(f"memory://{name}/a/").put("b/c", b"1")
    assert open_store(f"memory://{name}").get("a/b/c").data == b"1"
    assert open_store(f"memory://{name}/a/b").list()["key"].to_pylist() == ["c"]


def test_a_key_that_cannot_be_addressed_is_refused() -> None:
    with pytest.raises(StoreRefusedError, match="cannot be addressed"):
        open_store("memory://odd/").put("a//b", b"1")


def test_a_forked_child_is_refused_instead_of_hanging() -> None:
    script = """
        import os, signal
        from aesthetics_ops.errors import PermanentError
        from aesthetics_ops.store import open_store

        store = open_store("memory://fork/")
        store.put("k", b"1")
        if os.fork() == 0:
            signal.alarm(120)
            for use in (lambda: store.get("k"), lambda: open_store("memory://other/").put("k", b"1")):
                try:
                    use()
                except PermanentError as error:
                    print(error, flush=True)
            os._exit(0)
        _, status = os.wait()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("spawn or forkserver") == 2
