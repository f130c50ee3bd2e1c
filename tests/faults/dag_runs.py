"""Runs of the DAG by `airflow dags test` in which some requests fail: LATEST stays whole, and a run without faults heals.

    .venv/bin/python -m tests.faults.dag_runs --runs 4

Every second run has faults, at random; the one after it has none, and makes what a build from nothing makes.  The bucket holds the
samples.  Exit status 1 when anything is wrong.
"""

# ruff: noqa: T201 -- a command that prints its findings
import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import boto3

from aesthetics_ops.store import S3Access, open_store
from aesthetics_ops.testing.fault_proxy import FaultyProxy, running_proxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from demo.sandbox import BUCKET, Sandbox
from tests.faults.judge import BrokenError, Found, read_latest_version
from tests.faults.sweep import RandomFaults
from tests.support.sandbox import passing_sandbox

__all__: list[str] = []

_DATASET = f"s3://{BUCKET}/datasets/photo_dataset/"
_FIRST_NIGHT = datetime(2026, 11, 1, tzinfo=UTC)
_SHARE = 0.01
_CONF = {"max_reject_fraction": 1, "max_shrink_fraction": 1}


@dataclass
class Runs:
    """Airflow's sandbox, with a proxy before its S3.

    Attributes:
        sandbox: as `make shell` opens it, but for the proxy.
        proxy: where its tasks send their requests.
        endpoint: of the S3 itself.
        nights: how many runs there were.
    """

    sandbox: Sandbox
    proxy: FaultyProxy
    endpoint: str
    nights: int = 0

    def run(self, choose: Callable[[SeenRequest, int], Fault], quality: int) -> int:
        """Run the DAG of the next night; return Airflow's exit status."""
        self.nights += 1
        self.proxy.reset()
        self.proxy.choose = choose
        date = f"{_FIRST_NIGHT + timedelta(days=self.nights):%Y-%m-%d}"
        conf = json.dumps(_CONF | {"quality": quality})
        log = self.sandbox.directory / f"run-{self.nights}.log"
        status = self.sandbox.run("airflow", "dags", "test", "photo_dataset", date, "-c", conf, log=log)
        self.proxy.settle()
        return status

    def found(self) -> Found:
        clean = open_store(_DATASET, s3=S3Access(boto3.Session("x", "x", region_name="us-east-1"), self.endpoint))
        keys = clean.list()["key"].to_pylist()
        kept = [key for key in keys if key == "LATEST.json" or key.startswith(("versions/", "shards/"))]
        return read_latest_version({key: bytes(clean.get(key).data) for key in kept}, clean)


def open_runs(stack: ExitStack, name: str) -> Runs:
    sandbox = stack.enter_context(passing_sandbox(name))
    endpoint = sandbox.env["AWS_ENDPOINT_URL"]
    proxy = stack.enter_context(running_proxy(endpoint))
    environ = {key: value.replace(endpoint, proxy.url) for key, value in sandbox.env.items()}
    return Runs(replace(sandbox, env=environ | {"AESTHETICS_STORE_RETRY_S": "6"}), proxy, endpoint)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=4, help="with faults; as many follow without")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bad = 0
    with ExitStack() as stack:
        runs = open_runs(stack, f"faults-{os.getpid()}")
        for number in range(options.runs):
            wrong = []
            quality = 80 + number
            status = runs.run(RandomFaults(f"{options.seed}/{number}", _SHARE), quality)
            said = f"run {number}: status {status}, {len(runs.proxy.seen)} requests, {len(runs.proxy.struck)} faults"
            try:
                runs.found()
                again = runs.run(lambda request, number: None, quality)
                healed = runs.found()
                if again or healed.version is None or len(healed.content) < 70:
                    wrong.append(f"a run without faults ends with {again}: {len(healed.content)} records")
            except BrokenError as error:
                wrong.append(f"LATEST is broken: {error}")
            print(said, *wrong, sep="; ", flush=True)
            bad += bool(wrong)
    print(f"{options.runs} runs with faults, {bad} with violations")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
