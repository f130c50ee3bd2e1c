"""Photos that the store lists and does not hand out: each is a reject that the gate judges, not the end of the night."""

from pathlib import Path

import pytest

from aesthetics_ops.errors import GateError, StoreRefusedError
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.faults import SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3
from tests.support.nights import PHOTOS, Source, build_once, photo, shard_hashes

REFUSALS = {
    "source_denied": (403, "AccessDenied: no identity-based policy allows the s3:GetObject action"),
    "source_archived": (403, "InvalidObjectState: the operation is not valid for the object's storage class"),
}


@pytest.fixture
def source(server: OddS3) -> Source:
    source = Source("s3://bucket/", {})
    for number, name in enumerate(PHOTOS[:6]):
        source.add(name, photo(name), number)
    return source


def refuse(server: OddS3, answer: tuple[int, str], *names: str) -> None:
    def answered(request: SeenRequest, number: int) -> tuple[int, str] | None:
        refused = request.method == "GET" and any(f"photos/{name}" in request.path for name in names)
        return answer if refused else None

    server.answer = answered


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_photo_that_is_refused_is_a_reject_and_comes_the_next_night(
    source: Source, server: OddS3, reason: str
) -> None:
    settings = source.settings(max_reject_fraction=0.5, validation_fraction=0, test_fraction=0)
    refuse(server, REFUSALS[reason], PHOTOS[1])
    first = build_once(settings)
    assert first.manifest.rejects == {reason: 1}
    assert first.manifest.records == 5
    (reject,) = first.table("rejects")
    assert (reject["key"], reject["reason"]) == (f"{PHOTOS[1]}.jpg", reason)
    assert REFUSALS[reason][1].partition(":")[0] in reject["detail"]
    assert build_once(settings).published.is_new is False
    server.answer = lambda request, number: None
    healed = build_once(settings)
    assert (healed.manifest.records, healed.manifest.rejects) == (6, {})
    fresh = build_once(settings.model_copy(update={"dataset": "s3://bucket/fresh/"}))
    assert shard_hashes(healed.manifest) == shard_hashes(fresh.manifest)


@pytest.mark.parametrize("reason", REFUSALS)
def test_the_shard_of_a_refused_photo_is_the_one_of_a_build_without_it(
    source: Source, server: OddS3, reason: str
) -> None:
    settings = source.settings(max_reject_fraction=0.5, validation_fraction=0, test_fraction=0, shard_bytes=10_000_000)
    refuse(server, REFUSALS[reason], PHOTOS[1])
    refused = build_once(settings)
    source.remove(PHOTOS[1])
    without = build_once(settings.model_copy(update={"dataset": "s3://bucket/without/"}))
    assert shard_hashes(refused.manifest) == shard_hashes(without.manifest)


@pytest.mark.parametrize("reason", REFUSALS)
def test_when_all_photos_are_refused_the_gate_says_so(source: Source, server: OddS3, reason: str) -> None:
    refuse(server, REFUSALS[reason], *PHOTOS)
    with pytest.raises(GateError, match=rf"6 of 6 labelled photos could not be used \(6 {reason}") as caught:
        build_once(source.settings())
    hint = {"source_denied": "s3:GetObject", "source_archived": "restore"}[reason]
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"])
def test_credentials_that_are_not_known_end_the_build(source: Source, server: OddS3, code: str) -> None:
    refuse(server, (403, code), PHOTOS[1])
    with pytest.raises(StoreRefusedError, match=code):
        build_once(source.settings(max_reject_fraction=0.5))


def test_a_denied_photo_is_named_when_rejects_are_fetched(source: Source, server: OddS3, tmp_path: Path) -> None:
    from aesthetics_ops.versions.rejects import Outcome, list_rejects, save_rejects

    source.add("broken", photo(PHOTOS[1])[:5000], 3)
    refuse(server, REFUSALS["source_denied"], PHOTOS[1])
    night = build_once(source.settings(max_reject_fraction=0.5, validation_fraction=0, test_fraction=0))
    _, rejects = list_rejects(night.dataset)
    saved = save_rejects(rejects, open_store(f"{source.url}photos/"), tmp_path)
    assert {photo.key: photo.outcome for photo in saved} == {
        f"{PHOTOS[1]}.jpg": Outcome.DENIED,
        "broken.jpg": Outcome.SAVED,
    }
