"""Asks the installed Airflow, in a process of its own, what it makes of a deployment's settings and commands.

    python probe.py < question.json > answer.json

The question: options (names of settings, `SECTION/KEY`) and commands (argument lists).  The environment is the
deployment's.  The installed versions are those of the image: test_image.py compares the locks.
"""

import contextlib
import io
import json
import os
import sys
from typing import Any


def answer(question: dict) -> dict:
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()
    known = {
        f"{section}/{key}": option.get("type", "string")
        for section, part in conf.configuration_description.items()
        for key, option in part["options"].items()
    }
    return {
        "types": {name: known.get(name) for name in question["options"]},
        "refused": refused(question["commands"]),
        "celery": celery(conf),
        "heartbeats": heartbeats(),
        "patience": patience(),
        "connection": connection(),
        "database": drivers(conf),
    }


def refused(commands: list) -> list:
    from airflow.cli.cli_parser import get_parser

    parser, found = get_parser(), []
    for command in commands:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
                parser.parse_args(command[1:])
        except SystemExit:
            found.append({"command": command, "because": said.getvalue()[-400:]})
    return found


def celery(conf: object) -> dict:
    from airflow.providers.celery.executors.default_celery import get_default_celery_config

    config = get_default_celery_config(conf)
    names = ("broker_transport_options", "task_acks_late", "worker_prefetch_multiplier", "worker_concurrency")
    return {name: config[name] for name in names}


def heartbeats() -> dict:
    from airflow.sdk.execution_time import supervisor

    return {"timeout": supervisor.HEARTBEAT_TIMEOUT, "every": supervisor.MIN_HEARTBEAT_INTERVAL}


def patience() -> dict:
    from airflow.sdk.api import client
    from airflow.sdk.execution_time import supervisor

    return {
        "failed_heartbeats": supervisor.MAX_FAILED_HEARTBEATS,
        "tries": client.API_RETRIES,
        "least_wait": client.API_RETRY_WAIT_MIN,
        "most_wait": client.API_RETRY_WAIT_MAX,
    }


def connection() -> dict:
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper
    from airflow.sdk import Connection

    found = Connection.from_json(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    wrapped = AwsConnectionWrapper(conn=found)
    return {
        "type": found.conn_type,
        "key": wrapped.aws_access_key_id,
        "secret": wrapped.aws_secret_access_key,
        "endpoint": wrapped.get_service_endpoint_url("s3"),
        "region": wrapped.region_name,
    }


def drivers(conf: Any) -> list:
    from sqlalchemy.engine import make_url

    urls = conf.get("database", "sql_alchemy_conn"), conf.get("celery", "result_backend").removeprefix("db+")
    return [make_url(url).get_dialect().import_dbapi().__name__ for url in urls]


if __name__ == "__main__":
    result = answer(json.load(sys.stdin))
    sys.stdout.write("\nANSWER " + json.dumps(result) + "\n")
