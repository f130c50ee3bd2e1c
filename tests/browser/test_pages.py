"""The browser's pages over an in-memory store: complete, escaped, paged, and closed to whoever is not let in."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from fastapi.routing import APIRoute

from aesthetics_ops.browser import make_browser
from aesthetics_ops.dataset.layout import (
    BuildFile,
    ShardFile,
    VersionFile,
    build_key,
    published_key,
    shard_key,
    version_key,
)
from aesthetics_ops.dataset.tables import RECORDS, write_parquet
from aesthetics_ops.errors import StoreUnavailableError
from aesthetics_ops.figures import ConversionFigures, ValidationFigures, WorkFigures
from aesthetics_ops.report.words import hardware_in_words
from aesthetics_ops.store import Store
from aesthetics_ops.testing.datasets import FIRST_NIGHT, LeftOut, Photo, SyntheticDataset, SyntheticVersion
from aesthetics_ops.testing.stores import CountingStore
from tests.support.nights import reseal
from tests.support.versions import HOSTILE, new_dataset, new_store, publish_once, sample_photos, sample_rejects
from tests.support.web import Html, TestClient, guard

SPEED = WorkFigures(
    ConversionFigures(
        seconds=4, photos=1200, fetched=1200, bytes=9, get_p50_s=0.021, get_p95_s=0.3, codec_share=0.7812, requests=16,
        limit="network latency",
    ),
    ValidationFigures(seconds=3, records=90_000, shards=2, bytes=9, get_p50_s=0.1, get_p95_s=0.1, waiting_s=0.2),
)  # fmt: skip


@pytest.fixture(scope="module")
def published() -> list[SyntheticVersion]:
    """Two versions in one store, the second with a photo whose id is hostile."""
    dataset = new_dataset()
    photos = sample_photos()
    first = dataset.publish(photos[1:], sample_rejects()[:1])
    photos[0] = replace(photos[0], id=HOSTILE)
    second = dataset.publish(photos, sample_rejects(), settings={"quality": 80})
    digests = [shard.digest for shard in second.manifest.splits["train"].shards]
    dataset.plan("2026-11-23T020000", second.manifest.created_at, [digests[:2], digests[2:]])
    dataset.store.put(shard_key("a" * 64, ShardFile.RESULT), b"{}")
    dataset.plan("2026-11-24T020000", FIRST_NIGHT + timedelta(days=9), [["a" * 64, "b" * 64], ["c" * 64]], SPEED)
    dataset.store.put(build_key("2026-11-25T020000", BuildFile.ROWS), b"")
    return [first, second]


@pytest.fixture(scope="module")
def watched(published: list[SyntheticVersion]) -> CountingStore:
    return CountingStore(published[0].store)


@pytest.fixture(scope="module")
def client(watched: CountingStore) -> Iterator[TestClient]:
    def unreachable() -> Store:
        raise StoreUnavailableError("no answer about 's3://x/' from https://name:secret@store.example/")

    app = make_browser(guard, {"flowers": lambda: watched, "broken": unreachable})
    with TestClient(app, headers={"user": "flowers broken"}) as client:
        yield client


def html(client: TestClient, path: str, status: int = 200) -> Html:
    reply = client.get(path)
    assert reply.status_code == status, reply.text[:2000]
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return Html(reply.text)


def routes(client: TestClient, version: str) -> list[str]:
    """A path for every route of the application."""
    values = {
        "dataset": "flowers", "version": version, "split": "train", "number": "0", "record": "0", "build": "2026-11-24T020000",
    }  # fmt: skip
    found = [route for route in client.app.routes if isinstance(route, APIRoute)]  # type: ignore[attr-defined]
    assert len(found) == len(client.app.routes) > 12  # type: ignore[attr-defined]
    return [re.sub(r"\{(\w+)\}", lambda match: values[match[1]], route.path) for route in found]


class TestWhoMayCome:
    def test_every_route_refuses_who_is_not_logged_in(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        client.headers.pop("user")
        try:
            for path in routes(client, published[1].version):
                assert client.get(path).status_code == 401, path
                assert client.get(path + "?page=x").status_code == 401, path
        finally:
            client.headers["user"] = "flowers broken"

    def test_every_route_of_a_dataset_refuses_who_may_not_read_it(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        for path in routes(client, published[1].version):
            if "/datasets/" in path:
                assert client.get(path, headers={"user": "other"}).status_code == 403, path

    def test_every_route_answers_who_may(self, client: TestClient, published: list[SyntheticVersion]) -> None:
        for path in routes(client, published[1].version):
            assert client.get(path).status_code == 200, path

    def test_a_dataset_that_one_may_not_read_is_not_listed(self, client: TestClient) -> None:
        assert "flowers" not in Html(client.get("/", headers={"user": "broken"}).text).words

    def test_nothing_can_be_written(self, client: TestClient, published: list[SyntheticVersion]) -> None:
        for path in routes(client, published[1].version):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert client.request(method, path).status_code == 405


class TestWhatAPageMayDo:
    def test_every_answer_has_a_policy_without_scripts_and_foreign_origins(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        for path in [*routes(client, published[1].version), "/nothing", "/datasets/nothing", "/?page=x"]:
            headers = client.get(path).headers
            policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert policy["base-uri"] == "'none'"
            assert policy["frame-ancestors"] == "'self'"
            assert "script-src" not in policy
            assert set(policy.values()) <= {"", "'none'", "'self'", "data:", "'unsafe-inline'"}
            assert "'unsafe-inline'" not in policy.values() or "sandbox" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"].startswith("private")

    def test_pages_hold_no_script_no_style_and_no_foreign_address(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        for path in routes(client, published[1].version):
            reply = client.get(path)
            if reply.headers["content-type"].startswith("text/html") and not path.endswith("report.html"):
                page = Html(reply.text)
                assert {"script", "style", "object", "embed", "base"}.isdisjoint(tag for tag, _ in page.tags)
                for _, attributes in page.tags:
                    assert not any(name == "style" or name.startswith("on") for name in attributes)
                    for name in ("href", "src", "action"):
                        assert re.match(r"/(?!/)|#", attributes.get(name) or "/")

    def test_addresses_begin_with_what_the_application_is_mounted_under(self, client: TestClient) -> None:
        from fastapi import FastAPI

        outer = FastAPI()
        outer.mount("/prefix/browser", client.app)
        with TestClient(outer, headers={"user": "flowers"}, root_path="/proxy") as mounted:
            page = Html(mounted.get("/proxy/prefix/browser/").text)
        assert page.all("link")[0]["href"] == "/proxy/prefix/browser/style.css"
        assert {"/proxy/prefix/browser/datasets/flowers"} <= {link["href"] for link in page.all("a")}

    def test_pages_can_be_used_with_a_keyboard_and_a_screen_reader(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        for path in routes(client, published[1].version):
            reply = client.get(path)
            if not reply.headers["content-type"].startswith("text/html") or path.endswith("report.html"):
                continue
            page = Html(reply.text)
            ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
            assert len(ids) == len(set(ids))
            assert page.all("html") == [{"lang": "en"}]
            assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
            assert next(attributes for tag, attributes in page.tags if tag == "a")["href"] == "#main"
            assert all(image["alt"] for image in page.all("img"))
            assert all(cell.get("scope") for cell in page.all("th"))
            assert all(frame["title"] for frame in page.all("iframe"))
            assert {region["aria-labelledby"] for region in page.all("div") if "aria-labelledby" in region} <= set(ids)
            assert len(page.all("label")) == len(page.all("select")) + len(page.all("input"))

    def test_what_is_hostile_in_ids_and_keys_is_text_and_reaches_nothing(
        self, client: TestClient, watched: CountingStore, published: list[SyntheticVersion]
    ) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}"
        watched.requests.clear()
        for path in ("/shards/train/0", "/rejects", "/search?text=%3Cscript", "/shards/train/0/0"):
            page = html(client, here + path)
            assert HOSTILE in page.text
            assert not page.all("script")
            assert all(image["src"] and image["src"].startswith("/datasets/") for image in page.all("img"))
        assert not any("script" in request.key or ".." in request.key for request in watched.requests)

    @pytest.mark.parametrize(
        "path",
        [
            "/datasets/..%2F..%2Fetc", "/datasets/flowers/versions/..%2F..%2FLATEST",
            "/datasets/flowers/versions/%3Cscript%3E", "/datasets/flowers/builds/..%2F..", "/datasets/https:%2F%2Fevil",
            "/datasets/flowers/builds/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/datasets/flowers/versions/a%00b",
            "/datasets/flowers/compare?before=..%2F..%2Fx&after=%3Cscript%3E", "/datasets/%3Cscript%3E",
        ],
    )  # fmt: skip
    def test_a_hostile_address_is_refused_before_the_store_is_asked(
        self, client: TestClient, watched: CountingStore, path: str
    ) -> None:
        watched.requests.clear()
        reply = client.get(path)
        assert reply.status_code == 404
        assert "<script>" not in reply.text
        assert {request.key for request in watched.requests} <= {"published/", "LATEST.json"}, unquote(path)


class TestDatasets:
    def test_each_is_listed_with_its_newest_version_or_the_reason_why_not(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        words = html(client, "/").words
        assert f"flowers memory://{published[0].store.url.removeprefix('memory://')} {published[1].version} 30" in words
        assert "no answer about 's3://x/'" in words
        assert "secret" not in words

    def test_an_unreachable_store_is_an_error_page_without_credentials(self, client: TestClient) -> None:
        words = html(client, "/datasets/broken", 503).words
        assert "No answer from the store" in words
        assert "secret" not in words

    def test_versions_are_listed_newest_first_and_only_those_shown_are_read(self) -> None:
        made = publish_once(sample_photos(3), [])
        store = made.store
        template = bytes(store.get(version_key(made.version, VersionFile.MANIFEST)).data).decode()
        for number in range(200):
            name = f"20260101T{number:06}Z-00000000"
            store.put(version_key(name, VersionFile.MANIFEST), template.replace(made.version, name).encode())
            store.put(published_key(name), b"{}")
        watched = CountingStore(store)
        with TestClient(make_browser(guard, {"flowers": lambda: watched}), headers={"user": "flowers"}) as client:
            page = html(client, "/datasets/flowers")
            assert "201 versions, newest first" in page.words
            assert "Page 1 of 11" in page.words
            assert page.words.index(made.version) < page.words.index("20260101T000199Z")
            assert len([key for key in watched.read if key.endswith("manifest.json")]) == 20
            last = html(client, "/datasets/flowers?page=11")
            assert "20260101T000000Z-00000000" in last.words
            assert html(client, "/datasets/flowers?page=12", 404)

    def test_a_dataset_without_a_version_says_so(self) -> None:
        with TestClient(make_browser(guard, {"new": new_store}), headers={"user": "new"}) as client:
            assert "nothing is published yet" in html(client, "/").words
            assert "Nothing is published yet" in html(client, "/datasets/new").words
            assert "nothing to compare yet" in html(client, "/datasets/new/compare").words
            assert "no build's state" in html(client, "/datasets/new/builds").words


class TestVersions:
    def test_one_shows_its_numbers_and_leads_to_report_photos_and_rejects(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}"
        page = html(client, here)
        assert "Records 30 of 152 photos listed" in page.words
        assert "latest" in page.words
        links = {link["href"] for link in page.all("a")}
        assert {f"{here}/report", f"{here}/shards/train/0", f"{here}/rejects?reason=corrupt"} <= links

    def test_reasons_and_transforms_of_a_newer_version_are_shown_by_name(self) -> None:
        dataset = new_dataset()
        store = dataset.store
        old = dataset.publish(sample_photos(3))
        sharpened = [replace(photo, transforms=("rgb_sharpened",)) for photo in sample_photos(3)]
        new = dataset.publish(sharpened, [LeftOut("blur.jpg", "too_blurred", "no edge in it")])
        with TestClient(make_browser(guard, {"flowers": lambda: store}), headers={"user": "flowers"}) as client:
            here = f"/datasets/flowers/versions/{new.version}"
            assert "too blurred 1" in html(client, here).words
            assert "1 photo" in html(client, f"{here}/rejects?reason=too_blurred").words
            assert "blur.jpg too blurred no edge in it" in html(client, f"{here}/rejects").words
            page = html(client, f"{here}/shards/train/0/0").words
            assert "RGB sharpened" in page
            assert re.search(r"Coding (baseline|progressive), (4:|gray)", page)
            assert re.search(r"Brightness, contrast \d+\.\d, \d+\.\d mean and", page)
            assert f"For hardware JPEG decoders {hardware_in_words(new.manifest.jpegs)}" in html(client, here).words
            compared = html(client, f"/datasets/flowers/compare?before={old.version}&after={new.version}").words
            assert "Photos left out 0 1 +1 too blurred 0 1 +1" in compared

    def test_a_version_without_a_report_says_so(self) -> None:
        made = publish_once(sample_photos(3), [])
        store = made.store
        store.delete([version_key(made.version, VersionFile.REPORT)])
        with TestClient(make_browser(guard, {"flowers": lambda: store}), headers={"user": "flowers"}) as client:
            here = f"/datasets/flowers/versions/{made.version}/report"
            page = html(client, here)
            assert "This version has no report" in page.words
            assert "<iframe" not in client.get(here).text
            html(client, f"{here}.html", 404)

    def test_the_report_is_framed_without_rights(self, client: TestClient, published: list[SyntheticVersion]) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}/report"
        (frame,) = html(client, here).all("iframe")
        assert (frame["src"], frame["sandbox"]) == (f"{here}.html", None)
        reply = client.get(f"{here}.html")
        assert reply.text.endswith("<p>the report")
        assert "sandbox" in reply.headers["content-security-policy"]

    def test_two_are_compared_side_by_side(self, client: TestClient, published: list[SyntheticVersion]) -> None:
        old, new = (version.version for version in published)
        page = html(client, f"/datasets/flowers/compare?before={old}&after={new}")
        assert "Records 29 30 +1" in page.words
        assert "Photos left out 1 122 +121" in page.words
        assert "Added 1" in page.words
        assert HOSTILE in page.text
        assert "Rows in the score file 29 31 +2 without a photo 0 1 +1" in page.words
        assert "label without photo" not in page.words
        assert "JPEG quality quality 95 80" in page.words

    def test_one_that_is_not_there_is_not_found(self, client: TestClient) -> None:
        assert "has no version" in html(client, "/datasets/flowers/versions/20200101T000000Z-00000000", 404).words


class TestPhotos:
    def test_shards_are_listed_and_the_photos_of_one_are_paged(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}/shards/train"
        assert "3 shards in reading order" in html(client, here).words
        page = html(client, f"{here}/1")
        rows = [row for row in published[1].rows if row["split"] == "train"][10:20]
        assert [image["src"] for image in page.all("img")] == [f"{here}/1/{place}/photo.jpg" for place in range(10)]
        for row in rows:
            assert f"{row['id']} Score {row['label']:.3f} {row['width']:,} × {row['height']:,} px" in page.words
            assert f"from {row['key']}" in page.words

    def test_a_large_shard_is_cut_into_pages(self) -> None:
        jpeg = sample_photos(1)[0].jpeg
        made = publish_once([Photo(f"p{n}", jpeg, float(n)) for n in range(50)], [], per_shard=50)
        store = made.store
        with TestClient(make_browser(guard, {"flowers": lambda: store}), headers={"user": "flowers"}) as client:
            here = f"/datasets/flowers/versions/{made.version}/shards/train/0"
            assert len(html(client, here).all("img")) == 24
            page = html(client, f"{here}?page=3")
            assert [image["alt"] for image in page.all("img")] == ["Photo p48", "Photo p49"]
            assert page.all("img")[0]["src"] == f"{here}/48/photo.jpg"
            assert html(client, f"{here}?page=4", 404)
            assert html(client, f"{here}?page=0", 422)

    def test_a_photo_is_the_stored_jpeg_read_by_byte_range(
        self, client: TestClient, watched: CountingStore, published: list[SyntheticVersion]
    ) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}/shards"
        originals = {photo.id: photo.jpeg for photo in sample_photos()}
        places = [(split, n, row) for split, n in (("train", 1), ("test", 0)) for row in range(3)]
        for split, number, record in places:
            rows = [row for row in published[1].rows if row["split"] == split]
            watched.requests.clear()
            reply = client.get(f"{here}/{split}/{number}/{record}/photo.jpg")
            assert reply.headers["content-type"] == "image/jpeg"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.content == originals[rows[number * 10 + record]["id"]]
            assert set(watched.read) - {rows[number * 10]["shard"]} <= {
                "LATEST.json", version_key(published[1].version, VersionFile.MANIFEST),
                version_key(published[1].version, VersionFile.RECORDS),
            }  # fmt: skip

    @pytest.mark.parametrize(
        ("place", "status"),
        [
            ("train/0/10", 404), ("train/0/-1", 404), ("train/99/0", 404), ("train/-1/0", 404), ("nosplit/0/0", 404),
            ("train/0/x", 422), ("..%2Ftrain/0/0", 404), ("train/0/1e9", 422),
        ],
    )  # fmt: skip
    def test_a_place_that_the_index_does_not_have_is_not_read(
        self, client: TestClient, watched: CountingStore, published: list[SyntheticVersion], place: str, status: int
    ) -> None:
        client.get(f"/datasets/flowers/versions/{published[1].version}/shards/train/0/0/photo.jpg")
        watched.requests.clear()
        reply = client.get(f"/datasets/flowers/versions/{published[1].version}/shards/{place}/photo.jpg")
        assert reply.status_code == status
        assert watched.requests == []

    def test_bytes_that_are_not_the_indexed_record_are_not_sent(self) -> None:
        made = publish_once(sample_photos(3), [])
        store = made.store
        key = made.rows[0]["shard"]
        store.put(key, bytes(store.get(key).data[:-1000]) + bytes(1000))
        with TestClient(make_browser(guard, {"flowers": lambda: store}), headers={"user": "flowers"}) as client:
            path = f"/datasets/flowers/versions/{made.version}/shards/train/0/2/photo.jpg"
            assert client.get(path).status_code == 502
            assert client.get(path).headers["content-type"].startswith("text/html")

    def test_a_manifest_that_names_another_object_as_a_shard_reads_nothing(self) -> None:
        made = publish_once(sample_photos(3), [])
        store = made.store
        shards = made.manifest.splits["train"].shards
        split = made.manifest.splits["train"].model_copy(
            update={"shards": (shards[0].model_copy(update={"path": "../../secret"}),)}
        )
        forged = made.manifest.model_copy(
            update={"splits": made.manifest.splits | {"train": split}, "version": "forged"}
        )
        store.put(version_key("forged", VersionFile.MANIFEST), forged.model_dump_json().encode())
        watched = CountingStore(store)
        with TestClient(make_browser(guard, {"flowers": lambda: watched}), headers={"user": "flowers"}) as client:
            assert client.get("/datasets/flowers/versions/forged/shards/train/0/0/photo.jpg").status_code == 502
            assert not any("secret" in request.key for request in watched.requests)


class TestSearch:
    def test_an_id_is_found_with_its_photo_score_and_place(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        row = published[1].rows[12]
        page = html(client, f"/datasets/flowers/versions/{published[1].version}/search?text={row['id']}")
        assert (
            page.all("img")[0]["src"] == f"/datasets/flowers/versions/{published[1].version}/shards/train/1/2/photo.jpg"
        )
        assert f"{row['id']} Score {row['label']:.3f}" in page.words
        assert "in train 1" in page.words

    def test_the_exact_id_comes_before_longer_ones_and_a_part_finds_many(self) -> None:
        jpeg = sample_photos(1)[0].jpeg
        ids = [f"x{n}" for n in range(30)] + ["x"]
        made = publish_once([Photo(name, jpeg, 5.0) for name in ids], [])
        store = made.store
        with TestClient(make_browser(guard, {"flowers": lambda: store}), headers={"user": "flowers"}) as client:
            page = html(client, f"/datasets/flowers/versions/{made.version}/search?text=X")
            assert "31 records with “X” in the id" in page.words
            page = html(client, f"/datasets/flowers/versions/{made.version}/search?text=x")
            assert page.all("img")[0]["alt"] == "Photo x"
            assert len(page.all("img")) == 24
            page = html(client, f"/datasets/flowers/versions/{made.version}/search?text=x&page=2")
            assert len(page.all("img")) == 7

    def test_what_was_left_out_is_found_with_its_reason(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}"
        words = html(client, f"{here}/search?text=959620").words
        assert "0 records" in words
        assert "959620.jpg corrupt Premature end of JPEG file" in words
        assert "no id or key of what was left out" in html(client, f"{here}/search?text=nowhere").words


class TestRejects:
    def test_they_are_paged_and_filtered_by_reason(self, client: TestClient, published: list[SyntheticVersion]) -> None:
        here = f"/datasets/flowers/versions/{published[1].version}/rejects"
        assert "123 photos or rows" in html(client, here).words
        assert len(html(client, here).all("tr")) == 1 + 50
        page = html(client, f"{here}?reason=unlabelled&page=3")
        assert "120 photos Photo or row" in page.words
        rows = html(client, f"{here}?reason=label_without_photo")
        assert "label without photo (1)" in rows.words
        assert "1 row of the score file Photo or row" in rows.words
        assert "too large (0)" in html(client, f"{here}?reason=too_large").words
        assert "tagged/119.jpg" in page.words
        page = html(client, f"{here}?reason=corrupt")
        assert "959620.jpg corrupt Premature end of JPEG file 100 bytes" in page.words
        assert "The decoder reports damage" in page.words
        assert "None in this version" in html(client, f"{here}?reason=empty").words
        assert html(client, f"{here}?reason=%3Cscript%3E", 404).all("script") == []


class TestBuilds:
    def test_each_says_how_many_of_its_shards_are_done(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        words = html(client, "/datasets/flowers/builds").words
        assert "2026-11-23T020000 2026-11-23 02:00 published 3 of 3" in words
        assert "2026-11-24T020000 2026-12-01 02:00 converting 0 of 3" in words
        assert "2026-11-25T020000 – planning" in words
        assert words.index("2026-11-25T") < words.index("2026-11-24T") < words.index("2026-11-23T020000")

    def test_one_shows_its_partitions_and_those_their_shards(
        self, client: TestClient, published: list[SyntheticVersion]
    ) -> None:
        words = html(client, "/datasets/flowers/builds/2026-11-24T020000").words
        assert "Made 1 of 3" in words
        assert "partition 1 300 21 ms 300 ms 16 78.12 % network latency 30,000" in words
        assert "How fast" not in html(client, "/datasets/flowers/builds/2026-11-23T020000").words
        page = html(client, "/datasets/flowers/builds/2026-11-24T020000/partitions/0")
        assert "2 shards: 1 made, 0 read back" in page.words
        assert f"{'a' * 16}….tfrecord made" in page.words
        assert f"Converted: {SPEED.conversion}. Read back: {SPEED.validation}." in page.words
        page = html(client, "/datasets/flowers/builds/2026-11-23T020000/partitions/0")
        assert "train 1" in page.words
        version = published[1].version
        assert f"/datasets/flowers/versions/{version}/shards/train/1" in {link["href"] for link in page.all("a")}
        assert html(client, "/datasets/flowers/builds/2026-11-23T020000/partitions/7", 404)
        assert html(client, "/datasets/flowers/builds/nosuch", 404)


class TestWhatIsDamagedOrOfAnotherRelease:
    """What cannot be read is said where it would stand, and hides nothing else."""

    @pytest.fixture
    def dataset(self) -> SyntheticDataset:
        return new_dataset()

    @pytest.fixture
    def made(self, dataset: SyntheticDataset) -> SyntheticVersion:
        return dataset.publish(sample_photos(12), sample_rejects())

    @pytest.fixture
    def client(self, made: SyntheticVersion) -> Iterator[TestClient]:
        with TestClient(make_browser(guard, {"flowers": lambda: made.store}), headers={"user": "flowers"}) as client:
            yield client

    def rewrite(self, made: SyntheticVersion, key: str, change: Callable[[dict[str, Any]], None]) -> None:
        document = json.loads(bytes(made.store.get(key).data))
        change(document)
        made.store.put(key, json.dumps(document).encode())

    def forge_manifest(self, made: SyntheticVersion, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a manifest and LATEST with it."""
        reseal(made.store, made.version, change)

    def test_a_damaged_manifest_is_one_line_of_the_list(self, client: TestClient, made: SyntheticVersion) -> None:
        made.store.put(version_key("20990101T000000Z-damaged", VersionFile.MANIFEST), b'{"version": 1}')
        made.store.put(published_key("20990101T000000Z-damaged"), b"{}")
        page = html(client, "/datasets/flowers")
        assert "2 versions, newest first" in page.words
        assert re.search(r"20990101T000000Z-damaged memory://.*manifest.json is not a manifest: ", page.words)
        assert f"{made.version} latest 2026-11-22 02:00 12" in page.words
        assert "is not a manifest" in html(client, "/datasets/flowers/versions/20990101T000000Z-damaged", 502).words

    def test_a_damaged_plan_is_one_line_of_the_list(
        self, client: TestClient, dataset: SyntheticDataset, made: SyntheticVersion
    ) -> None:
        dataset.plan("2026-11-24T020000", FIRST_NIGHT, [["a" * 64]])
        made.store.put(build_key("2026-11-23T020000", BuildFile.PLAN), b"{")
        words = html(client, "/datasets/flowers/builds").words
        assert "plan.json is not a plan of a build" in words
        assert "2026-11-24T020000 2026-11-22 02:00" in words

    def test_fields_of_a_newer_release_are_passed_over(
        self, client: TestClient, dataset: SyntheticDataset, made: SyntheticVersion
    ) -> None:
        def add(document: dict[str, Any]) -> None:
            document["new"] = document["reuse"]["new"] = document["splits"]["train"]["new"] = 1

        def age(document: dict[str, Any]) -> None:
            document["new"] = document["partitions"][0]["new"] = 1
            document["settings"] = {"a setting": "of another release"}
            del document["compares"]

        self.forge_manifest(made, add)
        dataset.plan("b", FIRST_NIGHT, [["a" * 64]])
        self.rewrite(made, "builds/b/plan.json", age)
        for path in ("", f"/versions/{made.version}", "/builds", "/builds/b"):
            html(client, f"/datasets/flowers{path}")

    @pytest.mark.parametrize(
        ("damage", "said"), [(None, "is gone, though versions were published"), (b"{", "is not a pointer")]
    )
    def test_without_latest_the_list_says_so_and_the_versions_are_shown(
        self, client: TestClient, made: SyntheticVersion, damage: bytes | None, said: str
    ) -> None:
        if damage is None:
            made.store.delete(["LATEST.json"])
        else:
            made.store.put("LATEST.json", damage)
        assert said in html(client, "/").words
        assert made.version in html(client, "/datasets/flowers").words
        html(client, f"/datasets/flowers/versions/{made.version}")

    def test_as_many_rejects_are_shown_as_the_table_has_whatever_the_manifest_counts(
        self, client: TestClient, made: SyntheticVersion
    ) -> None:
        def inflate(document: dict[str, Any]) -> None:
            document["rejects"]["corrupt"] += 10**12
            document["accounting"]["rejected"] += 10**12
            document["accounting"]["listed"] += 10**12

        self.forge_manifest(made, inflate)
        page = html(client, f"/datasets/flowers/versions/{made.version}/rejects")
        assert "123 photos or rows" in page.words
        assert "Page 1 of 3" in page.words

    @pytest.mark.parametrize(
        ("column", "value", "words"),
        [
            ("label", pa.scalar(None, pa.float32()), "has no label"),
            ("transforms", pa.scalar(None, pa.list_(pa.string())), "has no transforms"),
            ("width", pa.scalar("wide"), "belongs"),
            ("key", pa.scalar(b"\xff", pa.binary()), "belongs"),
        ],
    )
    def test_a_row_that_is_not_what_it_must_be_is_not_shown(
        self, client: TestClient, made: SyntheticVersion, column: str, value: pa.Scalar, words: str
    ) -> None:
        rows = made.records
        forged = rows.set_column(
            rows.schema.get_field_index(column), column, pa.array([value.as_py()] * len(rows), value.type)
        )
        made.store.put(version_key(made.version, VersionFile.RECORDS), write_parquet(forged))
        reseal(made.store, made.version)
        here = f"/datasets/flowers/versions/{made.version}"
        for path in ("/shards/train/0", "/shards/train/0/0", f"/search?text={made.rows[0]['id']}"):
            assert words in html(client, here + path, 502).words

    def test_a_photo_of_a_shard_that_the_version_does_not_have_has_no_place(
        self, client: TestClient, made: SyntheticVersion
    ) -> None:
        row = made.rows[0] | {"id": "stray", "shard": shard_key("e" * 64, ShardFile.RECORDS)}
        table = pa.Table.from_pylist([*made.rows, row], RECORDS.schema)
        made.store.put(version_key(made.version, VersionFile.RECORDS), write_parquet(table))
        reseal(made.store, made.version)
        words = html(client, f"/datasets/flowers/versions/{made.version}/search?text=stray", 502).words
        assert "photo 'stray' is in no shard" in words
