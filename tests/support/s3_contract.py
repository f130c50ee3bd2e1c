"""What every S3 server must keep: the tests that run on the embedded one (moto) and on Ceph's gateway alike.

In: the fixtures `s3_bucket`, a fresh bucket that boto3's default chain finds, and `signatures_are_checked`, which makes
the server refuse wrong ones.  Out: `S3Contract`, and `S3FaultContract` for a network that misbehaves before the server.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import boto3
import pytest

from aesthetics_ops.errors import ObjectMissingError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import S3Access, Store, StoreLimits, Swap, open_store
from aesthetics_ops.store.listing import Batches, batch_of
from aesthetics_ops.store.pace import pace_of
from aesthetics_ops.store.pages import Page
from aesthetics_ops.store.ranges import Ask, list_ranges
from aesthetics_ops.testing.fault_proxy import FaultyProxy
from aesthetics_ops.testing.faults import Fault, SeenRequest
from aesthetics_ops.testing.store_contract import StoreContract
from tests.support.certificates import self_signed
from tests.support.s3 import S3TestBucket


class S3Contract(StoreContract):
    """What every S3 server's prefix promises beyond the promises of every store."""

    @pytest.fixture
    def store(self, s3_bucket: S3TestBucket) -> Store:
        return open_store(f"{s3_bucket.url}pre fix/é")

    def test_access_can_be_given(self, s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        session = boto3.Session(s3_bucket.key, s3_bucket.secret, region_name="eu-west-1")
        store = open_store(s3_bucket.url, s3=S3Access(session, s3_bucket.endpoint_url))
        store.check()
        store.put("a", b"1")
        assert store.get("a").data == b"1"

    def test_odd_keys_are_listed_and_read(self, s3_bucket: S3TestBucket, tmp_path: Path) -> None:
        keys = ["a/../c.jpg", "a//b.jpg", "d/./e.jpg", "f\x01g\t.jpg", "plain.jpg", "x/\rreturn.jpg"]
        for key in keys:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="p/" + key, Body=key.encode())
        store = open_store(s3_bucket.url + "p")
        assert store.list()["key"].to_pylist() == keys
        for key in keys:
            assert store.get(key).data == key.encode()
            assert store.head(key) == (len(key), store.get(key).etag)
            assert store.get_range(key, 1, 3) == key.encode()[1:4]
            store.download(key, tmp_path / "f")
            store.upload(key + "\x02", tmp_path / "f")
            assert store.get(key + "\x02").data == key.encode()
        store.put("new//key", b"1")
        assert store.swap("new//key", b"2", store.get("new//key").etag) is Swap.DONE
        with pytest.raises(ObjectMissingError):
            store.get("a//nope")
        assert store.head("a//nope") is None
        with pytest.raises(StoreRefusedError):
            store.get_range("a//b.jpg", 100, 5)
        store.delete([*store.list()["key"].to_pylist(), "a//nope"])
        assert store.list().num_rows == 0

    def test_a_leading_slash_is_not_lost(self, s3_bucket: S3TestBucket) -> None:
        for key in ["/c", "c"]:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=key.encode())
        store = open_store(s3_bucket.url)
        assert store.list()["key"].to_pylist() == ["/c", "c"]
        assert store.get("/c").data == b"/c"

    def test_a_prefix_may_be_odd(self, s3_bucket: S3TestBucket) -> None:
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="a//b/c.jpg", Body=b"1")
        store = open_store(s3_bucket.url + "a//b/")
        assert store.list()["key"].to_pylist() == ["c.jpg"]
        assert store.get("c.jpg").data == b"1"

    @pytest.mark.parametrize("odd", [[], ["p/odd//key"]])
    def test_directory_markers_are_no_objects(self, s3_bucket: S3TestBucket, odd: list[str]) -> None:
        empty = ["p/", "p/d/", "p/e", "p/e/", "p/f/"]
        full = ["p/d/y", "p/f", *odd]
        for key in empty + full:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=b"1" if key in full else b"")
        expected = sorted(["p/d/y", "p/e", "p/f", *odd])
        assert open_store(s3_bucket.url).list()["key"].to_pylist() == expected
        table = open_store(s3_bucket.url + "p/").list()
        assert table["key"].to_pylist() == [key.removeprefix("p/") for key in expected]
        assert dict(zip(table["key"].to_pylist(), table["size"].to_pylist(), strict=True))["f"] == 1

    def test_a_listing_by_ranges_has_all_keys(self, s3_bucket: S3TestBucket) -> None:
        keys = sorted(
            [f"p/{n:03}.jpg" for n in range(60)] + [f"p/é{n} +%20" for n in range(40)] + ["p/Z//", "p/\U0001f600"]
        )
        for key in keys:
            s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=key, Body=b"1")

        def page(**options: object) -> dict[str, Any]:
            return dict(s3_bucket.client.list_objects_v2(Bucket=s3_bucket.name, Prefix="p/", **options))

        def rows(found: dict[str, Any]) -> list[tuple[str, int, str]]:
            return [(item["Key"], item["Size"], item["ETag"]) for item in found.get("Contents", ())]

        def pages(low: str) -> Iterator[Page]:
            found = page(MaxKeys=10, StartAfter=low)
            while found["IsTruncated"]:
                yield Page(rows(found), [], found["NextContinuationToken"])
                found = page(MaxKeys=10, ContinuationToken=found["NextContinuationToken"])
            yield Page(rows(found), [], None)

        ask = Ask(
            pages,
            lambda low: next((row[0] for row in rows(page(MaxKeys=1, StartAfter=low))), None),
            lambda found: batch_of(0, found),
        )
        head = rows(page(MaxKeys=20))
        into = Batches(None)
        numbers = list_ranges(ask, head, "p/", into)
        assert numbers is not None
        assert [row[0] for row in head] + into.table(numbers)["key"].to_pylist() == keys

    def test_a_missing_bucket_is_explained(self, s3_bucket: S3TestBucket, tmp_path: Path) -> None:
        store = open_store("s3://no-such-bucket/photos/")
        with pytest.raises(StoreRefusedError, match=r"s3://no-such-bucket does not exist.*create") as caught:
            store.check()
        assert s3_bucket.endpoint_url in str(caught.value)
        for use in (
            store.list,
            lambda: store.get("k"),
            lambda: store.put("k", b"1"),
            lambda: store.swap("k", b"1", None),
        ):
            with pytest.raises(StoreRefusedError, match="s3://no-such-bucket does not exist") as caught:
                use()
            assert not isinstance(caught.value, ObjectMissingError)

    def test_a_denial_is_explained(self, s3_bucket: S3TestBucket) -> None:
        store = open_store(s3_bucket.url)
        for key in ("k", "odd//k"):  # Ceph's owner learns that a key is missing even where all is denied
            store.put(key, b"1")
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{s3_bucket.name}*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        s3_bucket.client.put_bucket_policy(Bucket=s3_bucket.name, Policy=policy)
        # moto enforces a policy on objects only; what is denied on a bucket is the next test's
        for use in (lambda: store.get("k"), lambda: store.get("odd//k"), lambda: store.swap("k", b"2", None)):
            with pytest.raises(StoreRefusedError, match=r"denied.*credentials") as caught:
                use()
            assert not isinstance(caught.value, ObjectMissingError)

    def test_wrong_credentials_are_explained_without_naming_them(
        self, s3_bucket: S3TestBucket, signatures_are_checked: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
        store = open_store(s3_bucket.url)
        for use in (store.check, store.list, lambda: store.get("k"), lambda: store.put("k", b"1")):
            with pytest.raises(StoreRefusedError, match="denied") as caught:
                use()
            assert "hush" not in str(caught.value)
            assert "AKIAWRONG" not in str(caught.value)

    def test_missing_credentials_are_explained(self, s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        store = open_store(s3_bucket.url)
        for use in (store.check, store.list, lambda: store.get("k")):
            with pytest.raises(StoreRefusedError, match="no complete AWS credentials"):
                use()

    def test_credentials_that_cannot_be_fetched_now_may_come_later(
        self, s3_bucket: S3TestBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "config").write_text("[profile broken]\ncredential_process = false\n")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_PROFILE", "broken")
        store = open_store(s3_bucket.url)
        for use in (store.check, lambda: store.get("k"), store.list):
            with pytest.raises(StoreUnavailableError, match="credentials"):
                use()

    def test_a_name_that_no_bucket_can_have_is_explained(self, s3_bucket: S3TestBucket) -> None:
        with pytest.raises(StoreRefusedError, match="bad bucket!"):
            open_store("s3://bad bucket!/").check()

    def test_an_endpoint_that_is_no_url_is_explained(
        self, s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "user:hush@nowhere")
        with pytest.raises(StoreRefusedError, match="endpoint URL") as caught:
            open_store(s3_bucket.url).check()
        assert "hush" not in str(caught.value)

    def test_a_server_that_is_not_there_is_named_without_its_password(
        self, s3_bucket: S3TestBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:hush@127.0.0.1:9")
        store = open_store(s3_bucket.url)
        with pytest.raises(StoreUnavailableError, match=r"http://127\.0\.0\.1:9") as caught:
            store.check()
        assert "hush" not in str(caught.value)


class S3FaultContract:
    """A store behind a network that misbehaves."""

    @pytest.fixture
    def store(self, proxy: FaultyProxy, s3_bucket: S3TestBucket) -> Store:
        return open_store(s3_bucket.url)

    @pytest.mark.parametrize("create", [True, False])
    def test_a_swap_whose_reply_is_lost_is_done(self, store: Store, proxy: FaultyProxy, create: bool) -> None:
        etag = None
        if not create:
            store.put("k", b"old")
            etag = store.get("k").etag
        proxy.fault = lambda method, number: "lose the reply" if method == "PUT" else None
        assert store.swap("k", b"mine", etag) is Swap.DONE
        assert store.get("k").data == b"mine"

    def test_a_swap_that_never_arrived_is_sent_again(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "hang up" if (method, number) == ("PUT", 0) else None
        assert store.swap("k", b"mine", None) is Swap.DONE

    def test_a_swap_in_conflict_is_tried_again(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: 409 if (method, number) == ("PUT", 0) else None
        assert store.swap("k", b"mine", None) is Swap.DONE

    def test_a_swap_is_refused_when_another_writer_came_while_the_reply_was_lost(
        self, store: Store, proxy: FaultyProxy, s3_bucket: S3TestBucket
    ) -> None:
        def overwrite(method: str, number: int) -> Literal["hang up"] | None:
            if method == "PUT":
                s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="k", Body=b"theirs")
                return "hang up"
            return None

        proxy.fault = overwrite
        assert store.swap("k", b"mine", None) is Swap.REFUSED

    def test_a_swap_is_unknown_when_nothing_can_be_read_back(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "lose the reply" if method == "PUT" else "hang up"
        assert store.swap("k", b"mine", None) is Swap.UNKNOWN
        assert proxy.methods == ["PUT", "GET", "GET", "GET"]

    def test_a_server_that_never_answers_is_asked_three_times(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "hang up"
        with pytest.raises(StoreUnavailableError, match="try again later"):
            store.check()
        assert proxy.methods == ["GET"] * 3

    def test_a_swap_that_is_never_taken_is_an_error(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: 503 if method == "PUT" else None
        with pytest.raises(StoreUnavailableError, match="try again later"):
            store.swap("k", b"mine", None)

    def test_a_server_that_wants_the_etag_unquoted_gets_it(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("k", b"old")
        etag = store.get("k").etag
        proxy.fault = lambda method, number: (
            412 if method == "PUT" and proxy.methods.count("PUT") == 2 else None  # the second PUT; the first made "old"
        )
        assert store.swap("k", b"mine", etag) is Swap.DONE
        conditions = [request.headers["if-match"] for request in proxy.seen if "if-match" in request.headers]
        assert conditions == [f'"{etag}"', etag]

    def test_a_creation_whose_reply_is_lost_is_ours(self, store: Store, proxy: FaultyProxy) -> None:
        proxy.fault = lambda method, number: "lose the reply" if method == "PUT" else None
        assert store.put_if_absent("k", b"mine") is True

    def test_a_body_that_is_cut_is_resumed(self, store: Store, proxy: FaultyProxy, tmp_path: Path) -> None:
        data = os.urandom(3_000_000)
        store.put("k", data)
        store.put("odd//k", data)
        reads: list[Callable[[], object]] = [
            lambda: store.get("k").data,
            lambda: store.get("odd//k").data,
            lambda: data[:5] + store.get_range("k", 5, len(data) - 5),
            lambda: (store.download("k", tmp_path / "f"), (tmp_path / "f").read_bytes())[1],
        ]
        for read in reads:
            proxy.seen.clear()
            proxy.fault = lambda method, number: "cut the body" if number == 0 else None
            assert read() == data
            assert len(proxy.seen) >= 2

    def test_a_body_that_is_always_cut_is_an_error(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("odd//k", b"0123456789" * 1000)
        proxy.fault = lambda method, number: "cut the body"
        with pytest.raises(StoreUnavailableError, match="odd//k"):
            store.get("odd//k")

    @pytest.mark.parametrize("verify", ["its authority's file", False])
    def test_a_private_certificate_is_accepted_when_told_so(
        self, proxy: FaultyProxy, s3_bucket: S3TestBucket, tmp_path: Path, verify: str | bool
    ) -> None:
        proxy.tls = self_signed(tmp_path)
        url = proxy.url
        session = boto3.Session()
        store = open_store(s3_bucket.url, s3=S3Access(session, url, verify and str(tmp_path / "certificate.pem")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # urllib3's, about what verify=False means
            store.check()
        store.put("k", b"1")
        assert store.get("k").data == b"1"
        with pytest.raises(StoreRefusedError, match=r"certificate of https://127.0.0.1:\d+ is not trusted"):
            open_store(s3_bucket.url, s3=S3Access(session, url)).check()

    @pytest.mark.parametrize("place", [0, 3, 7])
    @pytest.mark.parametrize(
        "fault", ["hang up", "lose the reply", "hang", "cut the body", "redirect 307", 500, 503, 429, 403, 404]
    )
    def test_of_objects_that_are_asked_for_at_once_each_comes_as_if_it_were_alone(
        self, proxy: FaultyProxy, s3_bucket: S3TestBucket, fault: Fault, place: int
    ) -> None:
        # only what hangs is waited for: on a busy machine an answer that comes late must not count as none
        store = open_store(s3_bucket.url, limits=StoreLimits(timeout_s=3.0 if fault == "hang" else 20.0, retry_s=30.0))
        keys = [f"k{number}" for number in range(store.asks_at_once)]
        for key in keys:
            store.put(key, key.encode() * 1000)
        # over connections that are new, and then kept; a busy server is sent less
        for _ in range(1 if fault in (503, 429) else 2):
            proxy.seen.clear()
            proxy.choose = lambda request, _: fault if proxy.methods.count("GET") == place + 1 else None
            readings = store.readings(keys)
            struck = proxy.struck[-1][0].path.rpartition("/")[2]
            proxy.choose = lambda request, _: None
            is_refused = fault in (403, 404, "redirect 307")
            for key, read in zip(keys, readings, strict=True):
                if is_refused and key == struck:
                    expected = ObjectMissingError if fault == 404 else StoreRefusedError
                    with pytest.raises(expected, match=key):
                        read()
                else:
                    assert read().data == key.encode() * 1000
            assert len(proxy.seen) == len(keys) + (not is_refused), "only what was struck is asked for again"
        pace = pace_of(proxy.url)
        if pace.limit is None:
            round_ = pace.enter(0.0)
            assert round_ is not None
            pace.slow(round_)  # leaves half of what is in flight, and that is this one alone
            pace.leave()
            assert pace.limit == 1

    def test_a_server_that_asks_for_less_is_asked_for_no_more_objects_at_once_than_it_allows(
        self, store: Store, proxy: FaultyProxy
    ) -> None:
        keys = [f"k{number}" for number in range(store.asks_at_once)]
        for key in keys:
            store.put(key, key.encode())
        proxy.seen.clear()
        together: list[int] = []

        def refuse(request: SeenRequest, number: int) -> Fault:
            together.append(number)
            return 503 if len(together) <= len(keys) else None

        proxy.choose = refuse
        readings = store.readings(keys)
        assert len(together) == len(keys), "all were sent, and none again"
        limit = pace_of(proxy.url).limit
        assert limit is not None
        assert 0 < limit < len(keys)
        again = store.readings(keys)
        assert len(together) == len(keys) + limit, "after a 'slow down' as many are sent as may be in flight"
        assert [read().data for read in (*readings, *again)] == [key.encode() for key in (*keys, *keys)]

    def test_a_busy_server_is_asked_again(self, store: Store, proxy: FaultyProxy) -> None:
        store.put("k", b"1")
        proxy.fault = lambda method, number: 503 if number < 2 else None
        assert store.get("k").data == b"1"
        proxy.seen.clear()
        assert store.list()["key"].to_pylist() == ["k"]
