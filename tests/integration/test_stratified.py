"""Stratified splits from night to night: the edges stand in the manifest, and nothing new publishes nothing."""

from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import ARRIVING, PHOTOS, Night, Source, build_once, photo


def splits(night: Night) -> dict[str, str]:
    return {row["id"]: row["split"] for row in night.table("records")}


def test_a_photo_keeps_its_split_whatever_comes_and_whatever_its_score_becomes(source: Source) -> None:
    settings = source.settings(stratify=True)
    first = build_once(settings)
    assert first.manifest.stratification is not None
    assert first.manifest.stratification.edges == first.record.split_edges
    verify_version(first.dataset, first.manifest.version)
    assert not build_once(settings).published.is_new
    source.add(ARRIVING, photo(ARRIVING), 4)
    source.score({PHOTOS[0]: 9, PHOTOS[1]: 1})
    second = build_once(settings)
    assert second.published.is_new
    assert splits(first).items() <= splits(second).items()
    assert second.manifest.stratification == first.manifest.stratification
    assert not build_once(settings).published.is_new


def test_turning_it_on_makes_a_version_that_says_so_and_off_one_without(source: Source) -> None:
    plain = build_once(source.settings(test_fraction=0, validation_fraction=0))
    assert plain.manifest.stratification is None
    on = build_once(source.settings(test_fraction=0, validation_fraction=0, stratify=True))
    # the shards are the same, but what the next night keeps to is not
    assert on.published.is_new
    assert on.manifest.fingerprint == plain.manifest.fingerprint
    assert (on.manifest.stratification is not None, on.built) == (True, 0)
    off = build_once(source.settings(test_fraction=0, validation_fraction=0))
    assert (off.published.is_new, off.manifest.stratification) == (True, None)


def test_near_duplicates_meet_in_one_split_and_the_next_night_changes_nothing(source: Source) -> None:
    for number in range(6):
        source.add(f"twin{number}", photo(PHOTOS[number]) + b"\0" * number, 3 + number)
    settings = source.settings(stratify=True)
    first = build_once(settings)
    found = splits(first)
    for number in range(6):
        assert found[f"twin{number}"] == found[PHOTOS[number]]
    assert first.manifest.near_duplicates.spanning_splits == 0
    assert not build_once(settings).published.is_new
