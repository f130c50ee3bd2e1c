"""Signals and time limits that end a task: in one line, without scratch, while its supervisor still listens.

In: a signal to the process of a task, as when its worker stops, somebody marks it in Airflow, or `task_timeout_h` is over.  Out: the
exception with which Airflow tries it again.
Promised: a task that native code keeps is ended a few seconds later.  Airflow 3.3 by itself lets a Python task go on after SIGTERM and
kills it five seconds later; SIGINT kills it at once.
"""

import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

from aesthetics_ops.airflow.notices import keep_problem

__all__ = ["SECONDS_TO_END", "ending_at_signals"]

_log = logging.getLogger(__name__)

SECONDS_TO_END: Final = 3.0  # a supervisor kills the task two seconds later
_GOES_ON: Final = "what is finished is kept, and the next try goes on from there"


@contextmanager
def ending_at_signals(context: Mapping[str, Any], seconds: float | None) -> Iterator[None]:
    """End what a task does at a signal or at its time limit, and keep the reason for the notifiers.

    Args:
        context: of the task.
        seconds: that it has for ending; None: as long as it takes.

    Raises:
        AirflowException: a signal came; a retry goes on.
        AirflowTaskTimeout: the time limit is over; likewise.
    """
    from aesthetics_ops.machine import drop_scratch
    from aesthetics_ops.signals import asked_to_end, ended_by_signals

    limit = getattr(context["ti"].task, "execution_timeout", None)

    def explained(number: int) -> str:
        if number == signal.SIGALRM:
            return f"took longer than {limit} (h:mm:ss), which task_timeout_h allows; {_GOES_ON}: set it higher if that happens often"
        return f"ended by {signal.Signals(number).name}, as when a worker stops or somebody marks or clears the task; {_GOES_ON}"

    with ended_by_signals(drop_scratch, lambda number: _log.error(explained(number)), seconds=seconds):
        try:
            yield
        except BaseException as error:  # also one that native code made of the signal's
            number = asked_to_end()
            if number is None or isinstance(error, AirflowException):  # of these it is a skip: the work is done
                raise
            drop_scratch()
        else:
            return
    ended = AirflowTaskTimeout if number == signal.SIGALRM else AirflowException
    failure = ended(explained(number))
    keep_problem(context, failure, str(failure))
    raise failure
