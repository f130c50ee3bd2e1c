"""`aesthetics-ops`, also as `python -m aesthetics_ops`: starts the command line."""

import gc
import os
import signal
import sys
from typing import NoReturn

__all__ = ["main", "run"]


def run() -> NoReturn:
    """Run one command, and end the process with its exit status."""
    status = main()
    from aesthetics_ops.shell import leave

    leave(status)


def main() -> int:
    """Run one command; return the exit status."""
    # until signals are caught, Ctrl-C is to end this process as SIGTERM does: Python would show a traceback
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # before numpy is imported: photos are worked on side by side, so threads that BLAS starts only spin and then sleep
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from aesthetics_ops.shell import catch_sigterm, guarded, open_closed_streams

    open_closed_streams()
    catch_sigterm()
    return guarded(_run, as_json="--json" in sys.argv, verbose="--verbose" in sys.argv)


def _run() -> int:
    """Run the command; loading it takes seconds, in which a signal may come or memory end.

    What is loaded stays, so Python's collector of cycles is not to look through it again and again.
    """
    from aesthetics_ops.machine import while_loading

    with while_loading():
        from aesthetics_ops.cli import main as command
        from aesthetics_ops.dataset.columns import without_pandas

        if sys.argv[1:2] != ["train"]:  # the function that trains may count on it
            without_pandas()
    gc.freeze()
    return command()


if __name__ == "__main__":
    run()
