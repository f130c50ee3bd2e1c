"""What a probe finds out: store behaviours x faults between, each judged by what is stored and never by one answer."""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.dataset.latest import compares_writes
from aesthetics_ops.dataset.layout import is_probe, probe_key
from aesthetics_ops.errors import AccessDeniedError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store, open_store, probing
from aesthetics_ops.testing.faults import SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from aesthetics_ops.testing.stores import CarelessStore, FailingStore, WrappedStore
from tests.support.certificates import self_signed
from tests.support.s3 import point_to

KEPT, IGNORED, REFUSED = (True, True, ""), (False, False, ""), (False, False, "NotImplemented")
SERVERS: dict[str, tuple[dict[str, Any], tuple[bool, bool, str]]] = {
    "as S3 does": ({}, KEPT),
    "aws-chunked bodies are kept as they come": ({"aws_chunked": "kept"}, KEPT),
    "aws-chunked bodies are refused": ({"aws_chunked": "refused"}, KEPT),
    "checksums are refused": ({"checksums": "refused"}, KEPT),
    "conditions are ignored": ({"conditions": "ignored"}, IGNORED),
    "conditions are refused": ({"conditions": "refused"}, REFUSED),
    "nothing but plain uploads": ({"conditions": "refused", "checksums": "refused", "aws_chunked": "refused"}, REFUSED),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_PAUSE_SECONDS", 0.0)


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OddS3, tuple[bool, bool, str]]]:
    options, expected = SERVERS[request.param]
    with running_s3(OddS3(**options, tls=self_signed(tmp_path))) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        yield server, expected


def found_out(store: Store) -> tuple[bool, bool, str]:
    found = store.probe(probe_key())
    return found.creates_once, found.compares, "NotImplemented" if "NotImplemented" in found.said else found.said


class TestServers:
    """Servers over TLS that are not quite S3."""

    def test_what_the_server_does_is_found_out_and_nothing_is_left(
        self, server: tuple[OddS3, tuple[bool, bool, str]]
    ) -> None:
        assert found_out(open_store("s3://bucket/p/")) == server[1]
        assert server[0].objects == {}

    def test_what_is_said_of_it_is_true(self, server: tuple[OddS3, tuple[bool, bool, str]]) -> None:
        store, (_, _, said) = open_store("s3://bucket/p/"), server[1]
        if server[1] == KEPT:
            assert compares_writes(store, single_writer=False) is True
            return
        word = "refuses" if said else "ignores"
        with pytest.raises(
            StoreRefusedError, match=f"{word} If-None-Match and If-Match on writes.*{said}.*single_writer"
        ):
            compares_writes(store, single_writer=False)
        assert compares_writes(store, single_writer=True) is False

    @pytest.mark.parametrize("seed", range(3))
    def test_a_busy_server_changes_nothing_in_the_answer(
        self, server: tuple[OddS3, tuple[bool, bool, str]], seed: int, quick: None
    ) -> None:
        chance = random.Random(seed)  # noqa: S311
        server[0].answer = lambda request, number: (503, "SlowDown") if chance.random() < 0.05 else None
        assert found_out(open_store("s3://bucket/p/")) == server[1]

    def test_whether_checksums_are_looked_at_is_told_only_where_they_are_taken(
        self, server: tuple[OddS3, tuple[bool, bool, str]]
    ) -> None:
        found = open_store("s3://bucket/p/").probe(probe_key())
        assert found.checks_uploads is (None if server[0].checksums == "refused" else False)


ANSWERS = (
    (403, "AccessDenied"),
    (404, "NoSuchKey"),
    (409, "OperationAborted"),
    (412, "PreconditionFailed"),
    (501, "NotImplemented"),
    (503, "SlowDown"),
)


def odd_answer(server: OddS3, position: int, answer: tuple[int, str]) -> None:
    """Answer the n-th request falsely, instead of doing what it asks for."""
    count = iter(range(10_000))

    def answered(request: SeenRequest, number: int) -> tuple[int, str] | None:
        if next(count) != position:
            return None
        return answer

    server.answer = answered


class TestOneFalseAnswer:
    """One answer is false, whichever: the store is never said to ignore conditions that it keeps, or the reverse."""

    @pytest.mark.parametrize(
        ("conditions", "answer"),
        [("kept", answer) for answer in ANSWERS]
        + [("ignored", answer) for answer in ANSWERS if answer[0] in (403, 412)],
        ids=lambda value: value if isinstance(value, str) else str(value[0]),
    )
    def test_whichever_request_it_meets(
        self, conditions: Any, answer: tuple[int, str], monkeypatch: pytest.MonkeyPatch, quick: None
    ) -> None:
        with running_s3(OddS3(conditions=conditions)) as server:
            point_to(monkeypatch, server.url, "testing", "testing")
            store = open_store("s3://bucket/p/")
            found_out(store)
            requests = len(server.seen)
            for position in range(0, requests, 1 if conditions == "kept" else 4):
                odd_answer(server, position, answer)
                found = found_out(store)
                assert found == KEPT if conditions == "kept" else found[:2] != (True, True), (position, found)
            assert requests > 15


class SpoilingStore(WrappedStore):
    """Cuts each upload, as a proxy with a bug might."""

    def put(self, key: str, data: bytes | memoryview) -> None:
        super().put(key, bytes(data)[:10])

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        return super()._put_if(key, data[:10], expected_etag, attempt)


class TestWrappedStores:
    """What a server would have to be programmed for."""

    @pytest.fixture
    def memory(self) -> Store:
        return open_store(f"memory://{uuid.uuid4().hex}/")

    def test_a_store_that_spoils_uploads_is_refused_whatever_it_does_with_conditions(self, memory: Store) -> None:
        for single_writer in (False, True):
            with pytest.raises(StoreRefusedError, match=r"does not keep what it is sent.*holds 10 that begin with"):
                compares_writes(SpoilingStore(memory), single_writer=single_writer)

    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_a_plain_write_that_is_denied_is_called_denied_when_it_stays_so(
        self, memory: Store, times: int, quick: None
    ) -> None:
        class Denying(WrappedStore):
            left = times

            def put(self, key: str, data: bytes | memoryview) -> None:
                if self.left:
                    self.left -= 1
                    raise AccessDeniedError("access is denied")
                super().put(key, data)

        if times < 3:
            assert Denying(memory).probe("probe").are_safe
        else:
            with pytest.raises(AccessDeniedError):
                Denying(memory).probe("probe")

    def test_a_careless_store_is_told(self, memory: Store) -> None:
        with pytest.raises(StoreRefusedError, match="ignores If-None-Match and If-Match"):
            compares_writes(CarelessStore(memory), single_writer=False)

    def test_a_reply_that_is_lost_every_time_is_no_answer(self, memory: Store, quick: None) -> None:
        store = FailingStore(memory, lambda request: request.method == "put_if")
        with pytest.raises(StoreUnavailableError, match=r"could not be found out: .*has gone away; try again later$"):
            store.probe("probe")
        assert memory.list()["key"].to_pylist() == []


KEY = f"probe-{'0123456789abcdef' * 2}"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (KEY, True),
        ("probe-", False),
        ("probe-notes.txt", False),
        (f"x/{KEY}", False),
        (f"{KEY}/x", False),
        ("LATEST.json", False),
    ],
)
def test_only_a_probes_key_is_one(key: str, expected: bool) -> None:
    assert is_probe(key) is expected
    assert is_probe(probe_key())
