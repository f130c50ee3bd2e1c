"""No secret appears in anything that a build leaves: where it was planted x how the command ends x what is left."""

import json
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import boto3
import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.config import load_configuration
from aesthetics_ops.conversion import partition
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store import S3Access, open_store
from tests.support.nights import PHOTOS, photo
from tests.support.s3 import S3TestBucket
from tests.support.secrets import (
    KEY,
    PASSWORD,
    SECRET_KEY,
    TOKEN,
    answering_with_secrets,
    found_in,
    left_in,
    with_password,
)

SOME = PHOTOS[:4]
REFUSED = "http://127.0.0.1:9"  # nobody listens there
PLACES = ("environment", "profile")


@pytest.fixture
def bucket(s3_bucket: S3TestBucket) -> S3TestBucket:
    store = open_store(s3_bucket.url)
    for name in SOME:
        store.put(f"photos/{name}.jpg", photo(name))
    store.put("photos/broken.jpg", b"no photo")
    store.put("scores.csv", "\n".join(["id,score", *(f"{name},3" for name in (*SOME, "broken"))]).encode())
    return s3_bucket


Plant = Callable[[str, str], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plant:
    """Makes the environment hold every secret, or one profile of AWS's file."""

    def plants(place: str, endpoint: str) -> None:
        values = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": TOKEN,
            "AWS_ENDPOINT_URL": with_password(endpoint),
        }
        if place == "environment":
            for name, value in values.items():
                monkeypatch.setenv(name, value)
            return
        for name in values:
            monkeypatch.delenv(name, raising=False)
        lines = [f"{name.lower()} = {value}".replace("aws_endpoint", "endpoint") for name, value in values.items()]
        config = tmp_path / "aws"
        config.write_text("\n".join(["[profile work]", "region = us-east-1", *lines]))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        monkeypatch.setenv("AWS_PROFILE", "work")

    return plants


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str]], tuple[int, str]]:
    """Runs a command; returns its exit status and all that it wrote."""

    def runs(words: Sequence[str]) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr(logging.root, "handlers", [])
            patch.setattr(logging.root, "level", logging.root.level)
            status = main(words)
        printed = capfd.readouterr()
        return status, printed.out + printed.err

    return runs


def words(bucket: S3TestBucket, *more: str) -> list[str]:
    places = [f"--photos={bucket.url}photos/", f"--labels={bucket.url}scores.csv", f"--dataset={bucket.url}dataset/"]
    return ["build", *places, "--max-reject-fraction=0.5", "--verbose", *more]


@pytest.mark.parametrize("place", PLACES)
def test_a_build_and_what_is_asked_of_it_leave_no_secret(
    bucket: S3TestBucket, plant: Plant, run: Callable[[Sequence[str]], tuple[int, str]], place: str, tmp_path: Path
) -> None:
    plant(place, bucket.endpoint_url)
    dataset = f"{bucket.url}dataset/"
    commands = {
        "build": words(bucket), "again": words(bucket, "--json"), "show": ["show", dataset, "--json"], "verify": ["verify", dataset, "--json"],
        "labels": ["labels", f"{bucket.url}scores.csv", f"--photos={bucket.url}photos/", "--json"], "versions": ["versions", dataset, "--json"],
        "rejects": ["rejects", dataset, "--save", str(tmp_path / "rejects")], "pull": ["pull", dataset, str(tmp_path / "pulled"), "--verbose"],
    }  # fmt: skip
    printed = {}
    for name, command in commands.items():
        status, text = run(command)
        assert (name, status) == (name, 0), text
        printed[name] = text.encode()
    left = left_in(open_store(dataset))
    assert {"LATEST.json", "report.html", "plan.json", "rejects.parquet"} <= {key.split("/")[-1] for key in left}
    pulled = {str(path): path.read_bytes() for path in (tmp_path / "pulled").rglob("*") if path.is_file()}
    assert found_in(printed | left | pulled) == set()


ENDS = ("wrong key", "refused connection", "no endpoint", "crash")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_command_that_fails_tells_no_secret(
    bucket: S3TestBucket,
    plant: Plant,
    run: Callable[[Sequence[str]], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    end: str,
) -> None:
    if end == "crash":
        monkeypatch.setattr(partition, "photos_of", None)
    with answering_with_secrets() as wrong:
        endpoints = {"wrong key": wrong, "refused connection": REFUSED, "no endpoint": "http://127.0.0.1:notaport"}
        plant(place, endpoints.get(end, bucket.endpoint_url))
        printed = {}
        dataset = f"{bucket.url}dataset/"
        for name, command in {
            "build": words(bucket), "json": words(bucket, "--json"), "show": ["show", dataset, "--verbose", "--json"],
            "verify": ["verify", dataset, "--verbose"], "labels": ["labels", f"{bucket.url}scores.csv", "--verbose"],
        }.items():  # fmt: skip
            if end == "refused connection" and name not in ("json", "show"):
                continue  # each waits for retries
            status, text = run(command)
            assert status or (end, name) == ("crash", "labels"), text
            printed[name] = text.encode()
    assert found_in(printed) == set()


@pytest.mark.parametrize("end", ENDS[:2])
@pytest.mark.parametrize("is_given", [False, True])
def test_no_exception_holds_a_secret_nor_does_what_caused_it(
    bucket: S3TestBucket, plant: Plant, end: str, is_given: bool
) -> None:
    """A scheduler logs the whole chain: what boto3 and obstore raised too."""
    with answering_with_secrets() as wrong:
        endpoint = with_password(wrong if end == "wrong key" else REFUSED)
        plant("environment", endpoint)
        session = boto3.Session(KEY, SECRET_KEY, TOKEN, region_name="us-east-1")
        access = S3Access(session, endpoint) if is_given else None
        store = open_store(bucket.url, s3=access)
        uses: list[Callable[[], object]] = [
            store.check, store.list, lambda: store.get("a"), lambda: store.get("a//b"), lambda: store.swap("a", b"x", "etag"),
        ]  # fmt: skip
        if end == "wrong key":
            uses += [
                lambda: store.head("a"),
                lambda: store.put("a", b"x"),
                lambda: store.delete(["a"]),
                lambda: store.get_range("a", 0, 1),
            ]
        seen = {}
        for number, use in enumerate(uses):
            try:
                use()
            except AestheticsOpsError as error:
                seen[str(number)] = "".join(traceback.format_exception(error)).encode()
    assert len(seen) >= 3
    assert found_in(seen) == set()


SIGNED = f"X-Amz-Credential={KEY}%2F20260101&X-Amz-Security-Token={TOKEN}&X-Amz-Signature={PASSWORD}"


@pytest.mark.parametrize(
    "url",
    [
        f"https://b.s3.amazonaws.com/k.csv?{SIGNED}", f"s3://b/k.csv?{SIGNED}", f"b.s3.amazonaws.com/k.csv?{SIGNED}",
        f"https://u:{PASSWORD}@host/k.csv", f"s3://u:{PASSWORD}@bucket/k.csv", f"ftp://u:{PASSWORD}@host/k.csv",
    ],
)  # fmt: skip
@pytest.mark.parametrize("setting", ["photos", "labels", "dataset"])
def test_a_url_with_a_secret_is_refused_and_not_shown(
    run: Callable[[Sequence[str]], tuple[int, str]], tmp_path: Path, setting: str, url: str
) -> None:
    places = {"photos": "memory://b/p/", "labels": "memory://b/l.csv", "dataset": "memory://b/d/"} | {setting: url}
    printed = {}
    flags = [f"--{name}={value}" for name, value in places.items()]
    config = tmp_path / "config.toml"
    config.write_text("[some]\n" + "\n".join(f"{name} = {json.dumps(value)}" for name, value in places.items()))
    for name, command in {
        "build": ["build", *flags, "--verbose"], "json": ["build", *flags, "--json"],
        "labels": ["labels", url, "--verbose"], "show": ["show", url, "--verbose"], "pull": ["pull", url, str(tmp_path), "--verbose"],
    }.items():  # fmt: skip
        status, text = run(command)
        assert status, text
        printed[name] = text.encode()
    (faulty,) = load_configuration(config).faulty
    printed["table"] = faulty.problem.encode()
    assert found_in(printed) == set()
