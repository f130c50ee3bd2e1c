"""Servers over TLS that are not quite S3: a version is published and can be read, or refused for the true reason."""

from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops import build_dataset, open_dataset
from aesthetics_ops.dataset.layout import probe_key
from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from aesthetics_ops.versions.expire import expire_versions
from aesthetics_ops.versions.verify import verify_version
from tests.support.certificates import self_signed
from tests.support.nights import PHOTOS, START, Source, build_once, photo
from tests.support.s3 import point_to

PUBLISHED: dict[str, dict[str, Any]] = {
    "aws-chunked bodies are kept as they come": {"aws_chunked": "kept"},
    "aws-chunked bodies are refused": {"aws_chunked": "refused"},
    "checksums are refused": {"checksums": "refused"},
    "ETags are weak": {"etags": "weak"},
    "ETags have no quotes": {"etags": "unquoted"},
    "ETags have 1,000 characters, as of an upload in parts": {"etags": "long"},
    "conditions are ignored, and there is one writer": {"conditions": "ignored"},
    "conditions are refused, and there is one writer": {"conditions": "refused"},
}
REFUSED = {
    "ignored": "ignores If-None-Match and If-Match on writes, so two builds",
    "refused": r"refuses If-None-Match and If-Match on writes \(.*NotImplemented",
}


def source_on(server: OddS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    point_to(monkeypatch, server.url, "testing", "testing")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    source = Source("s3://bucket/My place %25 #1/", {})
    for number, name in enumerate(PHOTOS[:3]):
        source.add(name, photo(name), number)
    return source


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_version_is_published_and_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_s3(OddS3(**PUBLISHED[name], tls=self_signed(tmp_path))) as server:
        source = source_on(server, tmp_path, monkeypatch)
        settings = source.settings(
            validation_fraction=0, test_fraction=0, single_writer="conditions" in PUBLISHED[name]
        )
        published = build_dataset(settings)
        assert published.manifest.records == published.manifest.accounting.listed == 3
        assert build_dataset(settings).is_new is False
        dataset = open_dataset(settings.dataset)
        assert dataset.version == published.manifest.version
        assert sorted(example.id for example in dataset.open_split("train", directory=tmp_path / "pulled")) == sorted(
            PHOTOS[:3]
        )
        verify_version(open_store(settings.dataset))
        assert not [key for key in server.objects if "probe-" in key]


@pytest.mark.parametrize("conditions", REFUSED)
def test_a_store_without_conditions_is_refused_for_that_reason_and_nothing_is_left(
    conditions: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_s3(OddS3(conditions=conditions, tls=self_signed(tmp_path))) as server:
        source = source_on(server, tmp_path, monkeypatch)
        before = sorted(server.objects)
        with pytest.raises(StoreRefusedError, match=REFUSED[conditions]) as caught:
            build_dataset(source.settings())
        assert "\n" not in str(caught.value)
        assert [key for key in server.objects if key not in before and not key.endswith("started.json")] == []


def test_photos_whose_listing_names_no_etags_are_refused_for_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_s3(OddS3(etags="unlisted", tls=self_signed(tmp_path))) as server:
        source = source_on(server, tmp_path, monkeypatch)
        with pytest.raises(StoreRefusedError, match=r"names 3 objects and no ETag, .*; use a server whose listings"):
            build_dataset(source.settings())


def test_what_a_killed_probe_leaves_is_expired(tmp_path: Path) -> None:
    source = Source(f"file://{tmp_path}/", {})
    source.add(PHOTOS[0], photo(PHOTOS[0]), 1)
    night = build_once(source.settings(validation_fraction=0, test_fraction=0))
    night.dataset.put(probe_key(), b"left")
    night.dataset.put("probe-notes.txt", b"somebody's")
    expire_versions(night.dataset, keep=1, now=START)
    assert [key for key in night.dataset.list()["key"].to_pylist() if "probe" in key] == ["probe-notes.txt"]
