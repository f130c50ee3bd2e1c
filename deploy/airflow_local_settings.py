"""Import what tasks need before the Celery worker forks: every task is a fork and finds it there already.

Airflow executes this file in each of its processes; the image puts it into `$AIRFLOW_HOME/config/`.  Without it every
task imports for itself: 7 s of CPU for TensorFlow alone.  Only imports belong here: a connection, a TensorFlow operation
or obstore's runtime (gs://, az://) that is started before a fork is broken after it.  The last starts at obstore's first use, so
importing it is harmless and using it here would not be.
"""

import importlib
import sys

__all__: list[str] = []  # Airflow takes over every name that is offered

MODULES = (
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.dagbag",
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.execution_time.task_runner",
    "aesthetics_ops.airflow.tasks",
    "aesthetics_ops.conversion.partition",
    "aesthetics_ops.publishing.publish",
    "aesthetics_ops.store.s3",
    "aesthetics_ops.validation.partition",
    "tensorflow",
)


def is_celery_worker(arguments: list[str]) -> bool:
    """Say whether the command line is `airflow celery worker`, in whatever way `airflow` was found."""
    return arguments[1:3] == ["celery", "worker"]


if is_celery_worker(sys.argv):
    for module in MODULES:
        importlib.import_module(module)
