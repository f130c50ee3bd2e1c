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

_ANSWER = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from aesthetics_ops.airflow.access import s3_access
from aesthetics_ops.config import load_configuration

def answer(path):
    (config,) = load_configuration(Path(path)).datasets
    try:
        access = s3_access(config)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return [[
        one.session.get_credentials().access_key, one.endpoint_url, one.options.requester_pays, one.options.encryption,
        one.options.kms_key_id, one.options.addressing,
    ] for one in (access, access.for_sources)]

answers = os.fdopen(int(sys.argv[1]), "w")  # Airflow writes on stdout
for line in sys.stdin:
    path, variables = json.loads(line)
    os.environ.update(variables)
    print(json.dumps(answer(path)), file=answers, flush=True)
    for name in variables:
        del os.environ[name]
"""
TABLE = '[cats]\nphotos = "s3://b/p/"\nlabels = "s3://b/l.csv"\ndataset = "s3://c/d/"\n[cats.airflow]\n'


class Asked:
    """Another interpreter with Airflow, since its import takes seconds; the metadata database is not there."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "datasets.toml"
        env = os.environ | {
            "AIRFLOW_HOME": str(directory),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{directory}/absent/airflow.db",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        ours, theirs = os.pipe()
        self._answers = os.fdopen(ours)
        with (directory / "said.log").open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _ANSWER, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=[theirs],
                text=True,
            )
        os.close(theirs)

    def __call__(self, airflow: str, **variables: str) -> Any:
        """Return what it says of the table's access, with these variables in its environment."""
        self.config.write_text(TABLE + airflow)
        assert self.process.stdin is not None
        print(json.dumps([str(self.config), variables]), file=self.process.stdin, flush=True)
        answer = self._answers.readline()
        assert answer, self.config.with_name("said.log").read_text(errors="replace")[-3000:]
        return json.loads(answer)

    def end(self) -> None:
        """Let it go: nothing is asked any more."""
        self.process.communicate(timeout=300)
        self._answers.close()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    asked = Asked(tmp_path_factory.mktemp("asked"))
    yield asked
    asked.end()


def connection(login: str, **extra: str) -> str:
    return json.dumps({"conn_type": "aws", "login": login, "password": "secret", "extra": extra})


def test_photos_and_dataset_have_connections_and_options_of_their_own(asked: Asked) -> None:
    airflow = (
        'aws_conn_id = "ours"\nsources_conn_id = "theirs"\nrequester_pays = true\nencryption = "aws:kms"\nkms_key_id = "k"\n'
        'addressing = "auto"\n'
    )
    ours = connection("ours", endpoint_url="http://127.0.0.1:1", region_name="us-east-1")
    theirs = connection("theirs", region_name="us-east-1")
    dataset, sources = asked(airflow, AIRFLOW_CONN_OURS=ours, AIRFLOW_CONN_THEIRS=theirs)
    assert dataset == ["ours", "http://127.0.0.1:1", False, "aws:kms", "k", "auto"]
    assert sources == ["theirs", None, True, None, None, "auto"]
    dataset, sources = asked('aws_conn_id = "ours"', AIRFLOW_CONN_OURS=ours, AESTHETICS_S3_ENCRYPTION="AES256")
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
    asked: Asked, status: int, code: str, message: str, kind: str, words: str
) -> None:
    role = connection("ours", region_name="us-east-1", role_arn="arn:aws:iam::1:role/r")
    with sts(status, code, message) as url:
        found, said = asked(
            'aws_conn_id = "role"', AIRFLOW_CONN_ROLE=role, AWS_ENDPOINT_URL_STS=url, AWS_ENDPOINT_URL=url
        )
    assert found == kind
    assert said.startswith("AssumeRole gave no credentials for Airflow connection 'role' ")
    assert words in said
    assert "hush" not in said


def test_an_sts_that_cannot_be_reached_is_tried_again(asked: Asked) -> None:
    role = connection("ours", region_name="us-east-1", role_arn="arn:aws:iam::1:role/r")
    found, said = asked('aws_conn_id = "role"', AIRFLOW_CONN_ROLE=role, AWS_ENDPOINT_URL_STS="http://127.0.0.1:9")
    assert (found, "check that STS can be reached" in said) == ("StoreUnavailableError", True)
