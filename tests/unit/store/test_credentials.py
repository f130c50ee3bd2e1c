"""Credential sources x failures, and what endpoints may hold: one line that names the thing and the next step, no secret."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import S3Access, Store, StoreLimits, open_store
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.certificates import self_signed
from tests.support.s3 import point_to

USES: dict[str, Callable[[Store], object]] = {
    "check": lambda store: store.check(),
    "list": lambda store: store.list(),
    "get": lambda store: store.get("k"),
    "get, odd": lambda store: store.get("odd//k"),
    "put": lambda store: store.put("k", b"1"),
    "swap": lambda store: store.put_if_absent("k", b"1"),
}
ROLE = "role_arn = arn:aws:iam::123456789012:role/x\n"
SSO = "sso_session = my\nsso_account_id = 1\nsso_role_name = x\n[sso-session my]\nsso_region = us-east-1\nsso_start_url = https://x.invalid/start\n"
SOURCES = {
    "no such program": ("credential_process = /no/such/program --key hush", StoreRefusedError, "'/no/such/program'.*credential_process"),
    "no such program, by name": ("credential_process = no-such-program-at-all", StoreRefusedError, "'no-such-program-at-all'"),
    "program that may not run": ("credential_process = {plain}", StoreRefusedError, "plain.*Permission denied"),
    "program that fails": ("credential_process = false --key hush", StoreUnavailableError, "credential_process 'false' of profile 'p'"),
    "program that prints no JSON": ("credential_process = echo hush", StoreRefusedError, "'echo'.*not a JSON document.*run it by hand"),
    "program that prints other JSON": ("credential_process = echo {{}}", StoreUnavailableError, "'echo' of profile 'p'"),
    "no such token file": (ROLE + "web_identity_token_file = /no/such/token", StoreRefusedError, "'/no/such/token'.*web_identity_token_file"),
    "no such source profile": (ROLE + "source_profile = nope", StoreRefusedError, "nope"),
    "half of a key": ("aws_access_key_id = hush", StoreRefusedError, "no complete AWS credentials|Partial"),
    "not signed in": (SSO, StoreRefusedError, "aws sso login --profile p"),
}  # fmt: skip


def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(f"[profile p]\n{text}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "p")


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("source", SOURCES)
def test_credentials_that_cannot_be_had_are_told_in_one_line(
    source: str, use: str, server: OddS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, expected, words = SOURCES[source]
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    profile(monkeypatch, tmp_path, text.format(plain=tmp_path / "plain"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with pytest.raises(expected, match=words) as caught:
        USES[use](open_store("s3://bucket/"))
    assert type(caught.value) is expected, "it is no ObjectMissingError, and not the object that is denied"
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.seen == []


@pytest.mark.parametrize("use", [use for use in USES if use != "put"])
@pytest.mark.parametrize("kind", ["environment", "profile", "session"])
def test_a_static_token_that_has_expired_is_to_be_renewed_by_a_person(
    kind: str, use: str, server: OddS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = lambda request, number: (400, "ExpiredToken: The provided token has expired.")
    keys = "aws_access_key_id = k\naws_secret_access_key = hush\naws_session_token = hush"
    if kind == "profile":
        profile(monkeypatch, tmp_path, keys)
    elif kind == "environment":
        monkeypatch.setenv("AWS_SESSION_TOKEN", "hush")
    access = S3Access(boto3.Session("k", "hush", "hush", region_name="us-east-1")) if kind == "session" else None
    where = {"environment": "AWS_SESSION_TOKEN", "profile": "profile 'p'", "session": "the connection"}[kind]
    with pytest.raises(StoreRefusedError, match=f"expired.*get a new one and put it into.*{where}") as caught:
        USES[use](open_store("s3://bucket/", s3=access))
    assert not isinstance(caught.value, ObjectMissingError)
    assert "later" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_token_that_renews_itself_may_be_good_later(
    server: OddS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = '{"Version": 1, "AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2099-01-01T00:00:00Z"}'
    (tmp_path / "document").write_text(document)
    profile(monkeypatch, tmp_path, f"credential_process = cat {tmp_path}/document")
    server.answer = lambda request, number: (400, "ExpiredToken: The provided token has expired.")
    for use in ("check", "get"):
        with pytest.raises(StoreUnavailableError, match=r"expired and is being renewed; try again later"):
            USES[use](open_store("s3://bucket/", limits=StoreLimits(20, 0.3)))


ENDPOINTS = [
    "http://user:hush@{}",
    "http://user:hu@hush@{}",
    "http://user:hush#hush@{}",
    "http://user:hush/hush@{}",
    "http://hush@{}",
]


@pytest.mark.parametrize("how", ["environment", "connection", "profile"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_password_in_an_endpoint_is_neither_needed_nor_shown(
    endpoint: str, how: str, server: OddS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def access(host: str) -> S3Access | None:
        url = endpoint.format(host)
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        if how == "profile":
            (tmp_path / "config").write_text(f"[profile p]\nendpoint_url = {url}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
            monkeypatch.setenv("AWS_PROFILE", "p")
        elif how == "environment":
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        return S3Access(boto3.Session("k", "s"), url) if how == "connection" else None

    if how == "profile":
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
        (tmp_path / "keys").write_text("[p]\naws_access_key_id = k\naws_secret_access_key = s\n")
    host = server.url.removeprefix("http://")
    store = open_store("s3://bucket/", s3=access(host))
    store.put("k", b"1")
    assert store.get("k").data == b"1"
    assert open_store("s3://bucket/", s3=access(host)).put_if_absent("l", b"1")
    with pytest.raises(StoreUnavailableError) as caught:
        open_store("s3://bucket/", s3=access("127.0.0.1:9"), limits=StoreLimits(20, 0)).check()
    with pytest.raises(StoreRefusedError, match="endpoint URL") as malformed:
        open_store("s3://bucket/", s3=access("127.0.0.1:notaport")).check()
    for error in (caught.value, malformed.value):
        assert "hush" not in "".join(traceback.format_exception(error)).replace(str(Path(__file__)), "")


@pytest.mark.parametrize(
    "endpoint",
    [
        "user:hush@nowhere", "http://user:hush", "ftp://user:hush@host", "http://", "http://host?secret=hush", "http://host#hush",
        "http://host:9000?secret=hush@hush", "http://host/?secret=hush@hush", "http://host/#hush@hush", "http://host/hush@hush",
        "http://user:hush@host?secret=hush@hush", "http://user:hush@host/path?hush", "http://[::1]:9000?secret=hush@hush", "http://?hush@hush",
    ],
)  # fmt: skip
def test_an_endpoint_that_is_none_is_told_without_it(
    endpoint: str, server: OddS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for use in ("check", "get"):
        with pytest.raises(StoreRefusedError, match=r"endpoint URL.*write http\(s\)://host:port") as caught:
            USES[use](open_store("s3://bucket/"))
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("how", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "ca_bundle", "given"])
def test_a_private_authority_is_trusted_by_both_clients_wherever_it_is_named(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_s3(OddS3(tls=self_signed(tmp_path))) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        for name in ("certificate.pem", "missing.pem"):
            bundle = str(tmp_path / name)
            if how == "ca_bundle":
                (tmp_path / "config").write_text(f"[default]\nca_bundle = {bundle}\n")
                monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
            elif how != "given":
                monkeypatch.setenv(how, bundle)
            access = S3Access(boto3.Session(), server.url, bundle) if how == "given" else None
            store = open_store("s3://bucket/", s3=access)
            if name == "missing.pem":
                for use in ("check", "get"):
                    with pytest.raises(StoreRefusedError, match=r"trusted certificates.*missing\.pem.*ca_bundle"):
                        USES[use](store)
            else:
                store.put("k", b"1")
                assert store.put_if_absent("l", b"1")
                assert store.list()["key"].to_pylist() == ["k", "l"]
