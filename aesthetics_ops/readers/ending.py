"""The end of a process in which TensorFlow reads.

TensorFlow asks Python for batches in threads of its own, and waits for them when an iterator is deleted.  While Python ends,
no such thread is answered: a process whose training failed would wait for ever, and keep its GPU.

In: nothing.  Out: nothing.
Promised: iterators of tf.data that are left, by the frames of an error or by variables, are deleted before Python ends.
"""

import atexit
import gc
import sys
from functools import cache

__all__ = ["end_iterators_at_exit"]


@cache
def end_iterators_at_exit() -> None:
    """Delete TensorFlow's iterators at the end of the process; the first call counts."""
    atexit.register(_end_iterators)


def _end_iterators() -> None:
    if (tf := sys.modules.get("tensorflow")) is None:  # Keras has another backend
        return
    for one in gc.get_objects():
        if issubclass(type(one), tf.data.Iterator):
            vars(one).clear()
    gc.collect()
