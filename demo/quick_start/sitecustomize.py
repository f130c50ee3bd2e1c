"""Airflow's commands in two thirds of the time: Python imports this first where the folder is in PYTHONPATH.

Airflow makes objects by the million before it does anything.  Python's collector of cycles looks through all of them again and again
meanwhile, and once more at the end, and finds nothing worth it.  Here it looks rarely, and not at the end.
"""

import atexit
import gc
import os

gc.set_threshold(100_000, 50, 50)  # Python's own: 700, 10, 10


@atexit.register
def _keep_all() -> None:
    """Leave what there is to the end of the process, of which some libraries would tell the terminal; nothing else is said any more."""
    gc.freeze()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
