"""Rows that name their photos loosely, from the score file to the published version."""

import pytest

from aesthetics_ops.cli import main
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.testing.manifests import publish_manifest
from aesthetics_ops.versions.verify import verify_version
from tests.support.nights import ARRIVING, PHOTOS, Source, build_once, photo


def test_what_each_rule_matched_is_counted_and_ambiguity_is_a_reject(
    source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    # an exact row, one of pandas, one in other case, one for a sub-folder, one for two photos
    for name in (f"x/{ARRIVING}", "y/twin", "z/twin"):
        source.add(name, photo(ARRIVING) + name.encode())
    source.scores = {f"{PHOTOS[0]}": 2, f"{PHOTOS[1]}.0": 3, f"{PHOTOS[2]}.JPG": 4, f"{PHOTOS[3]}.png": 5}
    source.score({f"{ARRIVING}.jpg": 6, "twin.jpg": 7, "nobody": 1})
    settings = source.settings(max_reject_fraction=1)
    first = build_once(settings)
    matched_by = {"stem": 1, "folder": 2, "case": 1, "suffix": 1, "number": 1}
    assert first.manifest.source.matched_by == matched_by
    assert sum(matched_by.values()) == first.manifest.accounting.matched
    assert {(row["id"], row["label"]) for row in first.table("records")} == {
        (PHOTOS[0], 2.0), (PHOTOS[1], 3.0), (f"{PHOTOS[2]}.jpg", 4.0), (f"{PHOTOS[3]}.jpg", 5.0), (f"x/{ARRIVING}.jpg", 6.0),
    }  # fmt: skip
    rejected = {row["key"]: row["detail"] for row in first.table("rejects") if row["reason"] == "label_invalid"}
    said = "the name 'twin.jpg' in the label row fits 2 photos by rule folder: 'y/twin.jpg', 'z/twin.jpg'"
    assert rejected == {"y/twin.jpg": said, "z/twin.jpg": said}
    verify_version(first.dataset, first.manifest.version)
    assert main(["show", settings.dataset]) == 0
    assert "matched     1 by stem, 2 by folder, 1 by case, 1 by suffix, 1 by number\n" in capsys.readouterr().out
    assert not build_once(settings).published.is_new


def test_a_row_that_is_corrected_changes_no_record(source: Source) -> None:
    source.scores = {f"{name}.0": score for name, score in source.scores.items()}
    source.score({})
    first = build_once(source.settings())
    source.scores = {name.removesuffix(".0"): score for name, score in source.scores.items()}
    source.score({})
    second = build_once(source.settings())
    assert first.manifest.source.matched_by == {"number": len(PHOTOS)}
    assert second.record.matched_by == {"stem": len(PHOTOS)}
    assert not second.published.is_new


def test_counts_of_matches_that_do_not_add_up_are_damage(source: Source) -> None:
    first = build_once(source.settings())
    changed = first.manifest.source.model_copy(update={"matched_by": {"stem": 3}})
    publish_manifest(first.dataset, first.manifest.model_copy(update={"source": changed}))
    with pytest.raises(IntegrityError, match=r"says source\.matched_by in all 3, and"):
        verify_version(first.dataset, first.manifest.version)
