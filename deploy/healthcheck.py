"""Say by the exit status whether one of the services in this container is well: 0 it is, 1 it is not.

    python healthcheck.py api-server | scheduler | dag-processor | triggerer | worker

Starts no Airflow, which would cost five seconds of CPU each time.  The DAG processor and the triggerer listen on no
port, so the API server is asked when it last heard of them.
"""

import json
import os
import socket
import sys
import urllib.request
from urllib.parse import urljoin

TIMEOUT_SECONDS = 8


def get(url: str) -> bytes:
    """Return what stands at a URL; an answer that is not good is an exception."""
    # the services are neighbours: no proxy stands before them
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=TIMEOUT_SECONDS) as reply:
        return bytes(reply.read())


def find_problem(service: str) -> str:
    """Return what is wrong with a service; empty when nothing is."""
    match service:
        case "api-server":
            port = os.environ.get("AIRFLOW__API__PORT", "8080")
            # the part that tasks talk to gets ready at the first request to it, which takes seconds: not a task's, but this
            get(f"http://127.0.0.1:{port}/execution/health")
            return find_problem_in_report("metadatabase", f"http://127.0.0.1:{port}/")
        case "scheduler":
            # says it by the status alone: 200 or 503, without a body
            port = os.environ.get("AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT", "8974")
            get(f"http://127.0.0.1:{port}/health")
            return ""
        case "dag-processor" | "triggerer":
            return find_problem_in_report(
                service.replace("-", "_"), os.environ["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
            )
        case "worker":
            return find_problem_of_worker()
        case _:
            return f"there is no service {service!r}"


def find_problem_in_report(part: str, api_server: str) -> str:
    """Ask the API server, which reports of all parts and answers with 200 whatever it reports."""
    status = json.loads(get(urljoin(api_server, "/api/v2/monitor/health")))[part]["status"]
    return "" if status == "healthy" else f"{part} is {status or 'unheard of'}"


def find_problem_of_worker() -> str:
    """Ask the worker on this host for a sign of life, through the broker as its tasks come."""
    from celery import Celery  # type: ignore[import-untyped]

    name = f"celery@{socket.gethostname()}"
    with Celery(broker=os.environ["AIRFLOW__CELERY__BROKER_URL"], set_as_current=False) as app:
        app.conf.broker_connection_retry = False
        answers = app.control.ping(destination=[name], timeout=TIMEOUT_SECONDS, limit=1)
    return "" if answers else f"{name} does not answer"


def main() -> int:
    """Check what the command line names; return the exit status."""
    try:
        problem = find_problem(sys.argv[1])
    except Exception as error:  # whatever it is, the service cannot be reached
        problem = f"{type(error).__name__}: {error}"
    if problem:
        print(problem)
    return int(bool(problem))


if __name__ == "__main__":
    sys.exit(main())
