"""How a table's stores are reached with Airflow's connections: two of them, their options, and a role that STS does not give."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.testing.loopback import LoopbackServer, serving

_ASK = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from aesthetics_ops.airflow.access import s3_access
from aesthetics_ops.config import load_configuration

(config,) = load_configuration(Path(sys.argv[1])).datasets
try:
    access = s3_access(config)
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
else:
    print(json.dumps([[
        one.session.get_credentials().access_key, one.endpoint_url, one.options.requester_pays, one.options.encryption,
        one.options.kms_key_id, one.options.addressing,
    ] for one in (access, access.for_sources)]))
"""
TABLE = '[cats]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://c/d/"\n[cats.airflow]\n'


def asked(tmp_path: Path, airflow: str, **environment: str) -> Any:
    """Return what a fresh interpreter says of the table's access; the metadata database is not there."""
    config = tmp_path / "datasets.toml"
    config.write_text(TABLE + airflow)
    env = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/absent/airflow.db",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(config)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def connection(login: str, **extra: str) -> str:
    return json.dumps({"conn_type": "aws", "login": login, "password": "secret", "extra": extra})


def test_photos_and_dataset_have_connections_and_options_of_their_own(tmp_path: Path) -> None:
    airflow = (
        'aws_conn_id = "ours"\nsources_conn_id = "theirs"\nrequester_pays = true\nencryption = "aws:kms"\nkms_key_id = "k"\n'
        'addressing = "auto"\n'
    )
    ours = connection("ours", endpoint_url="http://127.0.0.1:1", region_name="us-east-1")
    theirs = connection("theirs", region_name="us-east-1")
    dataset, sources = asked(tmp_path, airflow, AIRFLOW_CONN_OURS=ours, AIRFLOW_CONN_THEIRS=theirs)
    assert dataset == ["ours", "http://127.0.0.1:1", False, "aws:kms", "k", "auto"]
    assert sources == ["theirs", None, True, None, None, "auto"]
    dataset, sources = asked(
        tmp_path, 'aws_conn_id = "ours"', AIRFLOW_CONN_OURS=ours, AESTHETICS_S3_ENCRYPTION="AES256"
    )
    assert dataset == ["ours", "http://127.0.0.1:1", False, "AES256", None, "path"]
    assert sources[:3] == dataset[:3]


@contextmanager
def sts(status: int, code: str, message: str) -> Iterator[str]:
    """A server that answers every request to STS with one error; gives its URL."""
    body = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>".encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(LoopbackServer(Handler)) as server:
        yield server.url


DENIED = (
    "User: arn:aws:iam::1:user/night is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/r"
)


@pytest.mark.parametrize(
    ("status", "code", "message", "kind", "words"),
    [
        (403, "AccessDenied", DENIED, "StoreRefusedError", f"AccessDenied: {DENIED}); the store was not asked: check its role_arn"),
        (403, "InvalidClientTokenId", "hush", "StoreRefusedError", "(InvalidClientTokenId); the store was not asked"),
        (503, "ServiceUnavailable", "hush", "StoreUnavailableError", "now (ServiceUnavailable); try again later"),
        (400, "ThrottlingException", "hush", "StoreUnavailableError", "now (ThrottlingException); try again later"),
    ],
)  # fmt: skip
def test_a_role_that_sts_does_not_give_is_told_apart_from_the_store_and_tried_again_only_where_that_may_help(
    tmp_path: Path, status: int, code: str, message: str, kind: str, words: str
) -> None:
    role = connection("ours", region_name="us-east-1", role_arn="arn:aws:iam::1:role/r")
    with sts(status, code, message) as url:
        found, said = asked(
            tmp_path, 'aws_conn_id = "role"', AIRFLOW_CONN_ROLE=role, AWS_ENDPOINT_URL_STS=url, AWS_ENDPOINT_URL=url
        )
    assert found == kind
    assert said.startswith("AssumeRole gave no credentials for Airflow connection 'role' ")
    assert words in said
    assert "hush" not in said


def test_an_sts_that_cannot_be_reached_is_tried_again(tmp_path: Path) -> None:
    role = connection("ours", region_name="us-east-1", role_arn="arn:aws:iam::1:role/r")
    found, said = asked(
        tmp_path, 'aws_conn_id = "role"', AIRFLOW_CONN_ROLE=role, AWS_ENDPOINT_URL_STS="http://127.0.0.1:9"
    )
    assert (found, "check that STS can be reached" in said) == ("StoreUnavailableError", True)
