"""URL forms x outcome: what a setting, `open_store` and so every command make of them."""

import re
import traceback
from pathlib import Path

import pytest

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import parse_settings
from aesthetics_ops.store import open_store
from aesthetics_ops.urls import as_url, without_secrets

TAKEN = {
    "s3://bkt/My Photos/": "s3://bkt/My Photos/",
    "s3://bkt/100%25 #1?x=1/": "s3://bkt/100%25 #1?x=1/",
    "s3://bkt/x": "s3://bkt/x/",
    "file:///data/My%20Photos/": "file:///data/My%20Photos/",
    "/data/photos/": "file:///data/photos/",
    "/data/photos": "file:///data/photos/",
    "/data/My Photos #1/50%/": "file:///data/My%20Photos%20%231/50%25/",
    "~/photos/": "file:///home/me/photos/",
    "memory://name/a b/": "memory://name/a b/",
    "S3://bkt/X/": "s3://bkt/X/",
    "  s3://bkt/x  ": "s3://bkt/x/",
    "s3://bkt/x /": "s3://bkt/x /",
    "GS://bkt/x/": "gs://bkt/x/",
    "Az://container/x/": "az://container/x/",
    "MEMORY://name/X/": "memory://name/X/",
    "FILE:///data/X/": "file:///data/X/",
    "file:/data/x/": "file:///data/x/",
    "File://LocalHost/data/x/": "file:///data/x/",
    " /data/x\n": "file:///data/x/",
    "/": "file:///",
}
_NAMES = (
    "access_key",
    "AWSAccessKeyId",
    "secret_access_key",
    "AWS_SECRET_KEY",
    "secret",
    "password",
    "pwd",
    "token",
    "session_token",
    "Signature",
)
PASSWORDS = [
    "SECRET",
    *(f"SE{mark}CRET" for mark in "/#?@:[]%\\ \n\t&\u2100"),
    "%40SECRET",
    "SE//CRET",
    "12/SECRET",
    "SECRET/",
]
WITH_PASSWORDS = [
    "{scheme}://me:{password}@bkt/photos/", "{scheme}://me:{password}@bkt", "{scheme}:/me:{password}@bkt/x", "{scheme}:me:{password}@bkt",
    "{scheme}://:{password}@bkt/x", "{scheme}:///me:{password}@bkt/x", "https://me:{password}@bkt.s3.amazonaws.com/k",
    "https://me:{password}@s3.eu-west-1.amazonaws.com/bkt/k", "me:{password}@bkt/photos/",
]  # fmt: skip
REFUSED = {
    "photos/": "'photos/' is a relative path; write an absolute path such as '/data/photos', or a URL such as 's3://bucket/prefix/'",
    "./photos": "'./photos' is a relative path",
    "../my photos/x://y": "'../my photos/x://y' is a relative path",
    "photos": "'photos' is a relative path",
    "": "'' is nothing; write an absolute path",
    " ": "'' is nothing; write an absolute path",
    "C:\\photos": "is no URL; write an absolute path",
    "me:hush@host/photos": "'host' is no URL; write an absolute path",
    "file:photos": "'file:photos' names no absolute path; write 'file:///photos' for one",
    "file://data/photos": "'file://data/photos' names no absolute path; write 'file:///data/photos' for one",
    "FILE://me:hush@host/x": "'FILE://host' names no absolute path; write 'file:///host' for one",
    "S3://": "'S3://' names nothing; write a URL such as 's3://bucket/prefix/'",
    "s3:/bkt/x": "'s3:/bkt/x' lacks a slash; write 's3://bkt/x'",
    "S3:/me:hush@bkt/x": "lacks a slash; write 's3://bkt'",
    "https://bkt.s3.eu-west-1.amazonaws.com/My/key": "write 's3://bkt/My/key'",
    "https://s3.amazonaws.com/bkt/key": "write 's3://bkt/key'",
    "HTTP://me:hush@minio:9000/bkt/key?X-Amz-Signature=hush": "'HTTP://minio:9000' is a web address; write s3://bucket/prefix/",
    "ftp://me:hush@host/x/": "'ftp://host' with a user and a password would stand in every manifest",
    "ftp://host/x/": "'ftp://host/x/' is not a store; write s3://bucket/prefix/",
    "s3://me:hush@bkt/x/": "'s3://bkt' with a user and a password",
    "sftp://me:hu@sh@bkt": "'sftp://bkt' with a user and a password",
    "~nobody-of-this-name/photos/": "starts with a home that is not there; write an absolute path",
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize("text", TAKEN)
def test_what_can_be_read_is_taken_everywhere(text: str) -> None:
    assert (
        parse_settings({"photos": text, "labels": "s3://b/l", "dataset": "s3://b/d/"}, where="t").photos == TAKEN[text]
    )
    assert (
        parse_settings({"photos": "s3://b/p/", "labels": "s3://b/l", "dataset": text}, where="t").dataset == TAKEN[text]
    )
    labels = parse_settings({"photos": "s3://b/p/", "labels": text, "dataset": "s3://b/d/"}, where="t").labels
    assert labels == as_url(text)
    if as_url(text).startswith(("file:", "memory:")):
        assert open_store(text).url == open_store(TAKEN[text]).url


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_is_refused_with_what_to_write(text: str) -> None:
    for use in (
        lambda: open_store(text),
        lambda: parse_settings({"photos": text, "labels": "s3://b/l", "dataset": "s3://b/d/"}, where="t"),
    ):
        with pytest.raises(SettingsError) as caught:
            open_store(getattr(use(), "photos", text))
        assert REFUSED[text] in str(caught.value)
        assert "hush" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_path_and_its_url_are_one_store(tmp_path: Path) -> None:
    (tmp_path / "a b%").mkdir()
    open_store(f"{tmp_path}/a b%").put("k", b"1")
    assert (tmp_path / "a b%" / "k").read_bytes() == b"1"
    assert open_store((tmp_path / "a b%").as_uri()).get("k").data == b"1"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:9000", "http://host:9000"),
        ("http://host:9000/path", "http://host:9000"),
        ("http://user:hush@host:9000/", "http://host:9000"),
        ("http://user:hu@sh@host", "http://host"),
        ("http://user:hu#sh@host", "http://host"),
        ("http://user:hu/sh@host:1/", "http://host:1"),
        ("http://user:hu?sh@host", "http://host"),
        ("user:hush@host", "host"),
        ("https://host/key?X-Amz-Signature=hush", "https://host"),
        ("http://[::1]:9000/path", "http://[::1]:9000"),
        ("http://user:hush@[::1]:9000/path?hush", "http://[::1]:9000"),
        ("http://user:hush@host?secret=hush", "http://host"),
        ("http://host?secret=hush", "http://host"),
        ("http://host#hush", "http://host"),
        ("http://host:9000?secret=hush@hush", "http://..."),
        ("http://host?secret=hush@hush", "http://..."),
        ("http://host/?secret=hush@hush", "http://..."),
        ("http://host/hush@hush", "http://..."),
        ("http://host:9000#hush@hush", "http://..."),
        ("http://[::1]:9000/?secret=hush@hush", "http://..."),
        ("http://user:hush@host?secret=hush@hush", "http://..."),
        ("http://user:hush@host/hu@hush#hush", "http://..."),
        ("http://user:123#hush@host", "http://..."),
        ("host:9000?secret=hush@hush", "..."),
    ],
)
def test_what_is_shown_of_a_url_has_no_secret(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "https://b.s3.amazonaws.com/k.csv?X-Amz-Algorithm=a&X-Amz-Signature=SECRET",
        "s3://b/k.csv?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET",
        "b.s3.amazonaws.com/k.csv?AWSAccessKeyId=SECRET&Signature=SECRET",
        "file://host/k.csv?x-amz-signature=SECRET",
        "az://b/k.csv?sv=2024&sig=SECRET",
        "https://u:SECRET@host/k?X-Amz-Signature=SECRET",
        "/data/k.csv?X-Amz-Security-Token=SECRET",
        "s3://b/k.csv&sig=SECRET",
        *(f"{scheme}://b/k?x=1&{name}=SECRET" for scheme in ("s3", "az", "file", "sftp") for name in _NAMES),
    ],
)
def test_a_presigned_url_is_refused_and_its_signature_stands_nowhere(url: str) -> None:
    with pytest.raises(SettingsError, match=r"is a presigned URL|is a web address") as caught:
        as_url(url)
    assert "SECRET" not in str(caught.value)
    places = {"photos": "s3://b/p/", "labels": url, "dataset": "s3://b/d/"}
    with pytest.raises(SettingsError) as caught:
        parse_settings(places, where="test")
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("form", WITH_PASSWORDS)
@pytest.mark.parametrize("scheme", ["s3", "gs", "az", "memory", "sftp", "http"])
def test_a_password_of_whatever_characters_is_refused_and_stands_nowhere(form: str, scheme: str) -> None:
    for password in PASSWORDS:
        url = form.format(scheme=scheme, password=password)
        with pytest.raises(SettingsError) as caught:
            as_url(url)
        assert not re.search("SE|CRET", str(caught.value)), (url, str(caught.value))
        for setting in ("photos", *(["labels"] if "\n" not in password else []), "dataset"):  # a file of scores a line
            places = {"photos": "s3://b/p/", "labels": "s3://b/s.csv", "dataset": "s3://b/d/"}
            for value in (url, [url], {url: 1}):
                with pytest.raises(SettingsError) as caught:
                    parse_settings(places | {setting: value}, where="test")
                assert not re.search("SE|CRET", str(caught.value)), (url, str(caught.value))


def test_a_user_without_a_password_is_none_of_a_bucket() -> None:
    with pytest.raises(SettingsError, match=r"^'s3://bkt' with a user"):
        as_url("s3://SECRET@bkt/x/")
    assert as_url("s3://bkt/me@home/x:y/") == "s3://bkt/me@home/x:y/"


def test_a_question_mark_in_a_key_stands_for_itself() -> None:
    assert as_url("s3://b/what?.csv") == "s3://b/what?.csv"
    assert as_url("s3://b/a?b=c&d=e") == "s3://b/a?b=c&d=e"
