"""What requests say of who pays, of encryption, and where they name the bucket: each kind of request, each setting."""

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from aesthetics_ops.errors import AccessDeniedError, SettingsError, StoreRefusedError
from aesthetics_ops.store import S3Access, S3Options, Store, Swap, open_store
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.s3 import S3TestBucket

PAYER, SSE = "x-amz-request-payer", "x-amz-server-side-encryption"
KEY = f"{SSE}-aws-kms-key-id"
ARN = "arn:aws:kms:eu-central-1:1:key/2"
READS, OTHERS = (
    {"list", "folders", "get", "get_range", "head", "download"},
    {"delete", "delete many", "part", "complete"},
)
BEGINS = {"put", "put_if new", "put_if old", "upload", "begin"}  # what an object's encryption is said with


@pytest.fixture(scope="module")
def server() -> Iterator[OddS3]:
    with running_s3(OddS3(domain="s3.test")) as server:
        yield server


def access(server: OddS3, options: S3Options | None, endpoint: str | None = None) -> S3Access:
    session = boto3.Session("key", "secret", region_name="us-east-1")
    return S3Access(session, endpoint or server.url, options=options)


def kind_of(method: str, path: str, headers: dict[str, str]) -> str:
    """Return which of the requests below one is."""
    condition = "put_if new" if "if-none-match" in headers else "put_if old" if "if-match" in headers else ""
    for pattern, kind in (
        (r"POST .*\?uploads=", "begin"),
        (r"PUT .*partNumber=", "part"),
        (r"POST .*uploadId=", "complete"),
        (r"POST .*\?delete=", "delete many"),
        (r"PUT .*", condition or ("upload" if "/file" in path else "put")),
        (r"DELETE .*", "delete"),
        (r"HEAD .*", "head"),
        (r"GET .*delimiter=", "folders"),
        (r"GET .*list-type=", "list"),
        (r"GET .*", "get_range" if "range" in headers else "download" if "/file" in path else "get"),
    ):
        if re.match(pattern, f"{method} {path}"):
            return kind
    raise AssertionError(path)


def ask_for_all(store: Store, tmp_path: Path) -> None:
    """Send each kind of request once at least."""
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"small")
    with large.open("wb") as file:
        file.truncate(17 << 20)
    store.put("a", b"1")
    store.upload("file", small)
    store.upload("big", large)
    assert store.put_if_absent("new", b"1")
    assert store.swap("new", b"2", store.get("new").etag) is Swap.DONE
    assert len(store.list()) == 4
    store.folders("")
    assert bytes(store.get("a").data) == b"1"
    assert bytes(store.get_range("big", 5, 2)) == bytes(2)
    assert store.head("a") is not None
    store.download("file", tmp_path / "back")
    store.delete(["a"])
    store.delete(["file", "big", "new"])
    assert len(store.list()) == 0


@pytest.mark.parametrize(
    ("options", "on_all", "on_begins"),
    [
        (S3Options(), {}, {}),
        (S3Options(requester_pays=True), {PAYER: "requester"}, {}),
        (S3Options(encryption="AES256"), {}, {SSE: "AES256"}),
        (S3Options(encryption="aws:kms"), {}, {SSE: "aws:kms"}),
        (S3Options(encryption="aws:kms", kms_key_id=ARN), {}, {SSE: "aws:kms", KEY: ARN}),
        (S3Options(True, "aws:kms:dsse", "2"), {PAYER: "requester"}, {SSE: "aws:kms:dsse", KEY: "2"}),
    ],
    ids=["none", "payer", "sse-s3", "sse-kms", "key", "all"],
)
def test_each_kind_of_request_has_the_headers_of_its_kind_and_no_other(
    server: OddS3, tmp_path: Path, options: S3Options, on_all: dict[str, str], on_begins: dict[str, str]
) -> None:
    server.seen.clear()
    ask_for_all(open_store("s3://bucket/in/", s3=access(server, options)), tmp_path)
    kinds = set()
    for request in server.seen:
        kind = kind_of(request.method, request.path, request.headers)
        kinds.add(kind)
        said = {name: value for name, value in request.headers.items() if name == PAYER or name.startswith(SSE)}
        assert said == (on_all | on_begins if kind in BEGINS else on_all), kind
        signed = re.search(r"SignedHeaders=([^,]+)", request.headers["authorization"])
        assert set(said) <= set(signed[1].split(";")), kind
    assert kinds == READS | OTHERS | BEGINS


@pytest.mark.parametrize(
    ("denied", "use", "action"),
    [
        (r"GET .*list-type", lambda store, _: store.list(), "s3:ListBucket"),
        (r"GET .*list-type", lambda store, _: store.check(), "s3:ListBucket"),
        (r"GET .*/a$", lambda store, _: store.get("a"), "s3:GetObject"),
        (r"HEAD ", lambda store, _: store.head("a"), "s3:GetObject"),
        (r"PUT ", lambda store, _: store.put("a", b""), "s3:PutObject"),
        (r"PUT ", lambda store, _: store.put_if_absent("a", b""), "s3:PutObject"),
        (r"POST .*uploads", lambda store, path: store.upload("a", path), "s3:PutObject"),
        (r"PUT .*partNumber", lambda store, path: store.upload("a", path), "s3:PutObject"),
        (r"DELETE ", lambda store, _: store.delete(["a"]), "s3:DeleteObject"),
        (r"POST .*delete", lambda store, _: store.delete(["a", "b"]), "s3:DeleteObject"),
        (r"DELETE ", lambda store, _: store.probe("a"), "s3:DeleteObject"),
    ],
)
def test_a_denial_names_the_right_that_is_missing(
    tmp_path: Path, denied: str, use: Callable[[Store, Path], object], action: str
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(17 << 20)
    with running_s3(OddS3()) as server:
        server.answer = lambda request, _: (
            (403, "AccessDenied") if re.match(denied, f"{request.method} {request.path}") else None
        )
        with pytest.raises(StoreRefusedError, match=f"check the credentials, and that they have {action} there"):
            use(open_store("s3://bucket/in/", s3=access(server, S3Options())), large)
        assert server.objects == {}  # a probe that may not be deleted is not written


def test_a_write_that_kms_encrypts_needs_rights_for_the_key_too(server: OddS3) -> None:
    with running_s3(OddS3()) as server:
        server.answer = lambda request, _: (403, "AccessDenied")
        with pytest.raises(
            AccessDeniedError, match=r"have s3:PutObject \(and kms:GenerateDataKey and kms:Decrypt for the key\) there"
        ):
            open_store("s3://bucket/in/", s3=access(server, S3Options(encryption="aws:kms"))).put("a", b"")


def test_the_environment_says_it_for_every_store_and_what_is_given_goes_first(
    server: OddS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AESTHETICS_S3_REQUESTER_PAYS", "yes")
    monkeypatch.setenv("AESTHETICS_S3_ENCRYPTION", "aws:kms")
    monkeypatch.setenv("AESTHETICS_S3_KMS_KEY_ID", ARN)
    monkeypatch.setenv("AESTHETICS_S3_ADDRESSING", "auto")
    assert S3Options.of() == S3Options(True, "aws:kms", ARN, "auto")
    assert S3Options.of(requester_pays=False, encryption="AES256", addressing="path") == S3Options(encryption="AES256")
    server.seen.clear()
    open_store("s3://bucket/in/", s3=access(server, None)).put("a", b"1")
    headers = server.seen[-1].headers
    assert (headers[PAYER], headers[SSE], headers[KEY]) == ("requester", "aws:kms", ARN)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AESTHETICS_S3_REQUESTER_PAYS", "maybe", "AESTHETICS_S3_REQUESTER_PAYS is 'maybe'; write one of 1, true, .*"),
        ("AESTHETICS_S3_ENCRYPTION", "kms", "AESTHETICS_S3_ENCRYPTION is 'kms'; write one of AES256, aws:kms, .*"),
        ("AESTHETICS_S3_KMS_KEY_ID", "2", "kms_key_id is set, but encryption is None, which takes no key; .*"),
        (
            "AESTHETICS_S3_ADDRESSING",
            "host",
            "AESTHETICS_S3_ADDRESSING is 'host'; write one of path, virtual, auto, .*",
        ),
    ],
)
def test_a_variable_that_says_nothing_known_is_one_line(
    variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        open_store("s3://bucket/in/")


def test_no_key_can_bring_a_header_of_its_own() -> None:
    with pytest.raises(SettingsError, match="which no key has"):
        S3Options(encryption="aws:kms", kms_key_id="2\r\nx-amz-acl: public-read")


@pytest.fixture
def named_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts below s3.test are this machine, as a name server would say."""
    real = socket.getaddrinfo

    def found(host: Any, *arguments: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith("s3.test") else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.parametrize("style", ["path", "virtual", "auto"])
def test_the_bucket_stands_in_the_path_or_before_the_host(
    server: OddS3, tmp_path: Path, named_hosts: None, style: Any
) -> None:
    endpoint = f"http://s3.test:{server.server_port}"
    server.seen.clear()
    ask_for_all(open_store("s3://my.bucket/in/", s3=access(server, S3Options(addressing=style), endpoint)), tmp_path)
    hosts = {request.headers["host"] for request in server.seen}
    in_path = {request.path.startswith("/my.bucket") for request in server.seen}
    before = "my.bucket." if style == "virtual" else ""
    assert hosts == {f"{before}s3.test:{server.server_port}"}
    assert in_path == {style != "virtual"}


@pytest.mark.parametrize(
    ("bucket", "host", "names_host"),
    [
        ("photos", "s3.eu-central-1.amazonaws.com", True),
        ("photos", "s3.amazonaws.com", True),
        ("my.photos", "s3.amazonaws.com", False),
        ("My_Photos", "s3.amazonaws.com", False),
        ("photos", "minio.example.com", False),
        ("photos", "s3.amazonaws.com.example.com", False),
    ],
)
def test_auto_is_virtual_at_aws_where_the_name_allows_it(bucket: str, host: str, names_host: bool) -> None:
    assert S3Options(addressing="auto").names_host(bucket, host) is names_host


def test_a_bucket_that_cannot_stand_before_a_host_is_one_line(server: OddS3) -> None:
    for bucket, endpoint in (("My_Bucket", "http://s3.test"), ("bucket", server.url), ("bucket", "http://[::1]:9")):
        store = open_store(f"s3://{bucket}/in/", s3=access(server, S3Options(addressing="virtual"), endpoint))
        with pytest.raises(
            StoreRefusedError, match=f"addressing is virtual, but '{bucket}' cannot stand before the host"
        ):
            store.get("a")


def test_a_server_that_encrypts_says_so_of_every_object_and_gives_it_back(
    s3_bucket: S3TestBucket, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(17 << 20)
    for options in (S3Options(encryption="AES256"), S3Options(True, "aws:kms", ARN)):
        session = boto3.Session(s3_bucket.key, s3_bucket.secret, region_name="us-east-1")
        store = open_store(
            f"{s3_bucket.url}{options.encryption}/", s3=S3Access(session, s3_bucket.endpoint_url, options=options)
        )
        store.put("put", b"1")
        store.upload("parts", large)
        assert store.put_if_absent("new", b"1")
        assert bytes(store.get("put").data) == b"1"
        assert bytes(store.get_range("parts", (17 << 20) - 2, 2)) == bytes(2)
        for key in store.list()["key"].to_pylist():
            head = s3_bucket.client.head_object(Bucket=s3_bucket.name, Key=f"{options.encryption}/{key}")
            assert head["ServerSideEncryption"] == options.encryption, key
            assert head.get("SSEKMSKeyId") == options.kms_key_id, key
