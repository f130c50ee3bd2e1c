"""A redirect is never followed: whatever is asked, whatever the status, the other host sees no connection."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.errors import StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store, StoreLimits, open_store
from tests.support.certificates import self_signed
from tests.support.recorder import Recorder, Reply, running
from tests.support.s3 import point_to

USES: dict[str, Callable[[Store, Path], Any]] = {
    "GET": lambda store, _: store.get("k"),
    "GET a range": lambda store, _: store.get_range("k", 1, 2),
    "GET, odd": lambda store, _: store.get("odd//k"),
    "GET into a file": lambda store, path: store.download("k", path / "f"),
    "HEAD": lambda store, _: store.head("k"),
    "LIST": lambda store, _: store.list(),
    "LIST folders": lambda store, _: store.folders(""),
    "check": lambda store, _: store.check(),
    "DELETE": lambda store, _: store.delete(["k"]),
    "POST": lambda store, _: store.delete(["k", "l"]),
    "PUT": lambda store, _: store.put("k", b"1"),
    "PUT if absent": lambda store, _: store.put_if_absent("k", b"1"),
    "PUT a part": lambda store, path: store.upload("k", large(path)),
}


def large(path: Path) -> Path:
    with (path / "large").open("wb") as file:
        file.truncate(17 << 20)
    return path / "large"


@pytest.fixture(params=["http", "https"])
def hosts(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Recorder, Recorder]]:
    """The store's server, and another."""
    tls = self_signed(tmp_path) if request.param == "https" else None
    with running(tls) as server, running(tls) as other:
        point_to(monkeypatch, server.url, "testing", "testing")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "hush-hush")
        if tls:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        yield server, other


@pytest.mark.parametrize("use", USES)
def test_no_redirect_is_followed(use: str, hosts: tuple[Recorder, Recorder], tmp_path: Path) -> None:
    server, other = hosts
    document = b"<Error><Code>TemporaryRedirect</Code><Message>go there</Message></Error>"
    store = open_store("s3://bucket/p/")
    for status in (301, 302, 303, 307, 308):
        server.reply = (status, {"Location": f"{other.url}/bucket/k"}, document)
        server.seen.clear()
        with pytest.raises(
            StoreRefusedError, match=r"with a redirect to another place.*not followed.*set the bucket's region"
        ) as caught:
            USES[use](store, tmp_path)
        assert "\n" not in str(caught.value)
        assert "hush" not in str(caught.value)
        assert len(server.seen) == 1
        assert (other.connections, other.seen) == (0, [])


@pytest.mark.parametrize("use", ["GET", "HEAD", "LIST", "PUT", "DELETE"])
@pytest.mark.parametrize("region", ["eu-north-1", "../evil.example"])
def test_a_redirect_to_another_region_is_asked_for_at_the_same_endpoint_and_then_explained(
    region: str, use: str, hosts: tuple[Recorder, Recorder], tmp_path: Path
) -> None:
    server, other = hosts
    document = b"<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"
    server.reply = (301, {"Location": f"{other.url}/bucket/k", "x-amz-bucket-region": region}, document)
    with pytest.raises(StoreRefusedError, match="redirect to another place") as caught:
        USES[use](open_store("s3://bucket/p/"), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.seen) == (2 if region == "eu-north-1" else 1)
    assert other.connections == 0
    if region == "eu-north-1":
        assert "the bucket lies in region eu-north-1" in str(caught.value)


@pytest.mark.parametrize("is_in_header", [True, False])
@pytest.mark.parametrize("use", ["GET", "GET into a file", "PUT"])
def test_what_was_signed_for_another_region_is_signed_for_the_one_that_the_server_names(
    use: str, is_in_header: bool, hosts: tuple[Recorder, Recorder], tmp_path: Path
) -> None:
    server, _ = hosts
    code = "AuthorizationHeaderMalformed"
    region = "<Region>eu-north-1</Region>" if not is_in_header else ""
    document = f"<Error><Code>{code}</Code><Message>wrong region</Message>{region}</Error>".encode()
    headers = {"x-amz-bucket-region": "eu-north-1"} if is_in_header else {}

    def answering(text: str) -> Reply:
        return (200, {"ETag": '"1"'}, b"") if "/eu-north-1/s3/aws4_request" in text else (400, headers, document)

    server.answering = answering
    store = open_store("s3://bucket/p/")
    USES[use](store, tmp_path)
    USES[use](store, tmp_path)
    assert len(server.seen) == 3  # the store remembers
    server.answering = lambda text: (400, headers, document)
    with pytest.raises(StoreRefusedError, match=r"AuthorizationHeaderMalformed: wrong region") as caught:
        USES[use](open_store("s3://bucket/p/"), tmp_path)
    assert len(server.seen) == 5
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", ["GET", "HEAD", "LIST", "PUT"])
def test_obstore_takes_no_credential_of_azures_along(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(None) as server, running(None) as other:
        server.reply = (307, {"Location": f"{other.url}/elsewhere"}, b"")
        other.reply = (403, {}, b"")
        for name, value in {"ACCOUNT_NAME": "account", "TOKEN": "hush-hush", "ENDPOINT": server.url}.items():
            monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
        with pytest.raises((StoreRefusedError, StoreUnavailableError)):
            USES[use](open_store("az://box/p/", limits=StoreLimits(5, 0)), tmp_path)
        assert any("hush-hush" in text for text in server.texts)
        assert not [text for text in other.texts if "hush" in text]
