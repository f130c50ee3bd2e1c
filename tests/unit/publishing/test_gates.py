"""Gates measure what is about to be published, and refuse; a gate is one object, and one can be added from outside."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from gate_nights import BAD, QUIET, measure, night_before, photos
from gate_nights import GATES as COMPARING

from aesthetics_ops.dataset.manifest import Accounting, GateResult, Manifest, NearDuplicates
from aesthetics_ops.dataset.statistics import count_reasons, label_statistics
from aesthetics_ops.dataset.tables import RECORDS, REJECTS
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.publishing import gates
from aesthetics_ops.publishing.gates import GATES, Gate, measure_gates, register_gate
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.words import gate_in_words
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import Photo, SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.manifests import bare_manifest

UNSEEN = {
    "scores turned round",
    "scores of other photos",
    "gray in place of colour",
    "red and blue swapped",
}  # but for chance
FRACTIONS = ("max_reject_rise", "max_label_distance")  # settings of 0 to 1


def candidate(
    records: int = 10, rejects: dict[str, int] | None = None, parent: Manifest | None = None, **settings: Any
) -> Candidate:
    """A version of photos 00.jpg, 01.jpg and so on, with these rejects by reason."""
    kept = [{"id": f"{n:02}", "key": f"{n:02}.jpg", "label": n / 2, "split": "train"} for n in range(records)]
    lost = [
        {"id": f"{reason} {n}", "key": None if reason == RejectReason.LABEL_WITHOUT_PHOTO else f"{reason}/{n}.jpg", "reason": reason}
        for reason, count in (rejects or {}).items() for n in range(count)
    ]  # fmt: skip
    table = pa.Table.from_pylist(lost, REJECTS.schema)
    places = {"photos": "s3://bucket/photos/", "labels": "s3://bucket/AVA.txt", "dataset": "s3://bucket/set/"}
    return Candidate(
        settings=BuildSettings(**(places | settings)),
        records=pa.Table.from_pylist(kept, RECORDS.schema),
        rejects=table,
        reasons=count_reasons(table),
        near_duplicates=NearDuplicates(max_distance=6, groups=0, records=0, spanning_splits=0, examples=()),
        parent=parent,
        label_rows=records + sum((rejects or {}).values()),
    )


@pytest.fixture
def parent() -> Manifest:
    return SyntheticDataset(open_store("memory://gates/")).publish(synthetic_photos(20), version="before").manifest


def results_of(version: Candidate) -> tuple[GateResult, ...]:
    """What the gates measured of a version that none refuses."""
    found = measure_gates(version)
    assert found.refused == ()
    return found.results


def refusals_of(version: Candidate) -> str:
    """What the gates that refuse a version say."""
    return "; ".join(map(str, measure_gates(version).refused))


def measured(results: tuple[GateResult, ...]) -> dict[str, float]:
    return {result.name: result.measured for result in results}


def test_the_first_version_has_nothing_to_shrink_from() -> None:
    assert measured(results_of(candidate())) == {
        "max_reject_fraction": 0, "max_unmatched_fraction": 0, "max_shrink_fraction": 0, "min_records": 10, "max_growth_fraction": 0,
        "max_reject_rise": 0, "max_label_shift": 0, "max_label_distance": 0, "max_pixel_shift": 0, "max_brightness_shift": 0,
        "max_contrast_shift": 0, "max_leak_fraction": 0,
    }  # fmt: skip


def test_a_result_says_what_it_measured_in_and_which_side_is_allowed() -> None:
    assert [(result.unit, result.bound) for result in results_of(candidate())] == [
        ("fraction", "most"), ("fraction", "most"), ("fraction", "most"), ("records", "least"), ("fraction", "most"),
        ("fraction", "most"), ("deviations", "most"), ("fraction", "most"), ("doublings", "most"), ("levels", "most"),
        ("levels", "most"), ("fraction", "most"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "reason",
    [
        RejectReason.NOT_A_PHOTO, RejectReason.UNLABELLED, RejectReason.EXCLUDED, RejectReason.DUPLICATE_PHOTO,
        RejectReason.LABEL_WITHOUT_PHOTO,
    ],
)  # fmt: skip
def test_what_is_left_out_on_purpose_holds_up_nothing(reason: RejectReason) -> None:
    assert measured(results_of(candidate(rejects={reason: 1000})))["max_reject_fraction"] == 0


@pytest.mark.parametrize(
    ("photos", "hint"), [("s3://bucket/photos/", "s3:GetObject"), ("file:///photos/", "owner and mode"), ("gs://bucket/photos/", "")]
)  # fmt: skip
def test_a_refusal_names_the_right_that_the_photos_store_asks_for(photos: str, hint: str) -> None:
    said = refusals_of(candidate(rejects={RejectReason.SOURCE_DENIED: 9}, photos=photos))
    assert "9 of 19 labelled photos could not be used (9 source_denied" in said
    assert {words for words in ("s3:GetObject", "owner and mode") if words in said} == {hint} - {""}


@pytest.mark.parametrize(("records", "spanning", "refused"), [(1000, 20, False), (1000, 21, True), (999, 500, False)])
def test_near_duplicates_in_several_splits_are_refused_where_many_records_have_them(
    records: int, spanning: int, refused: bool
) -> None:
    near = NearDuplicates(
        max_distance=6, groups=600, records=1200, spanning_splits=spanning, examples=(("a", "b"), ("c", "d"))
    )
    found = measure_gates(replace(candidate(records), near_duplicates=near))
    assert measured(found.results)["max_leak_fraction"] == (spanning / records if records >= 1000 else 0)
    assert [gate.name for gate in found.refused] == ["max_leak_fraction"] * refused
    assert all(
        f"{spanning} groups of near-duplicates" in gate.found and "for example a, b;" in gate.found
        for gate in found.refused
    )


def test_a_limit_itself_is_allowed() -> None:
    results = results_of(candidate(9, {"corrupt": 1}, max_reject_fraction=1 - 9 / 10, min_records=9))
    assert all(
        result.measured == result.limit for result in results if result.name in ("max_reject_fraction", "min_records")
    )


def test_a_refusal_names_number_limit_reasons_and_examples() -> None:
    assert refusals_of(candidate(6, {"corrupt": 3, "empty": 1, "unlabelled": 50})) == (
        "max_reject_fraction allows 0.05, measured 0.4: 4 of 10 labelled photos could not be used "
        "(3 corrupt, 1 empty; for example ['corrupt/0.jpg', 'corrupt/1.jpg', 'corrupt/2.jpg'])"
    )


def test_scores_without_photos_are_refused_only_above_the_limit() -> None:
    few_photos = candidate(1, {"label_without_photo": 99})
    assert measured(results_of(few_photos))["max_unmatched_fraction"] == 0.99
    assert results_of(candidate(1, {"label_without_photo": 1}, max_unmatched_fraction=0.5))
    assert (
        "max_unmatched_fraction allows 0.5, measured 0.75: 3 of 4 label rows name no photo, for example ['label_"
        in refusals_of(candidate(1, {"label_without_photo": 3}, max_unmatched_fraction=0.5))
    )


def test_a_version_that_shrinks_too_much_is_refused_and_one_that_grows_is_not(parent: Manifest) -> None:
    assert refusals_of(candidate(17, parent=parent)) == (
        "max_shrink_fraction allows 0.1, measured 0.15: 17 records, 20 in version before"
    )
    assert measured(results_of(candidate(18, parent=parent)))["max_shrink_fraction"] == pytest.approx(0.1)
    assert measured(results_of(candidate(30, parent=parent)))["max_shrink_fraction"] == 0


def test_every_gate_that_refuses_is_named() -> None:
    assert re.search(
        "max_reject_fraction allows 0.05.*min_records allows 15, measured 0: 0 records",
        refusals_of(candidate(0, {"corrupt": 2}, min_records=15)),
    )


class TestAgainstTheVersionBefore:
    """Growth, reasons, scores and sizes are compared with a version of enough records, made with the same settings."""

    @staticmethod
    def before(records: int = 1000, **changes: Any) -> Manifest:
        """A version whose scores are 0, 0.5, 1 and so on, 10 of them, and whose photos have 600 x 400 pixels; 10 were corrupt."""
        labels = [number % 10 / 2 for number in range(records)]
        of_records = {
            "accounting": Accounting(
                listed=records + 10, converted=records, rejected=10, label_rows=records, matched=records, unmatched=0
            ),
            "labels": label_statistics(pa.chunked_array([pa.array(labels, pa.float32())]), "none", None, None),
            "rejects": {"corrupt": 10},
            "settings_digest": candidate().settings.digest,
        }
        made = bare_manifest("s3://bucket/set/", {})
        images = made.images.model_copy(
            update={"total_pixels": records * 240_000, "measured": records, "brightness": 100.0, "contrast": 50.0}
        )
        return made.model_copy(update=of_records | {"images": images} | changes)

    @staticmethod
    def now(
        parent: Manifest,
        records: int = 1000,
        *,
        score: Callable[[float], float] = float,
        width: int = 600,
        brightness: float = 100.0,
        contrast: float = 50.0,
        unmeasured: int = 0,
        rejects: dict[str, int] | None = None,
        label_range: tuple[float, float] | None = None,
        **settings: Any,
    ) -> Candidate:
        made = candidate(0, {"corrupt": 10} if rejects is None else rejects, parent, **settings)
        labels = pa.array([score(number % 10 / 2) for number in range(records)], pa.float32())
        sides = {"width": pa.array([width] * records), "height": pa.array([400] * records)}
        tones = {
            name: pa.array([None] * unmeasured + [level] * (records - unmeasured), pa.float32())
            for name, level in (("brightness", brightness), ("contrast", contrast))
        }
        return replace(made, records=pa.table({"label": labels, **sides, **tones}), label_range=label_range)

    def test_the_same_measures_nothing(self) -> None:
        found = measured(results_of(self.now(self.before())))
        assert [found[name] for name in (*COMPARING,)] == [0] * 7

    @pytest.mark.parametrize(("gate", "changes", "value", "found"), [
        ("max_growth_fraction", {"records": 2000}, 1, "2000 records, 1000 in version v0"),
        ("max_reject_rise", {"records": 960, "rejects": {"corrupt": 50}}, 50 / 1010 - 10 / 1010,
         "4.95% of the labelled photos are corrupt, 0.99% before; for example ['corrupt/0.jpg', 'corrupt/1.jpg', 'corrupt/2.jpg']"),
        ("max_reject_rise", {"records": 960, "rejects": {"corrupt": 10, "empty": 40, "unlabelled": 500}}, 40 / 1010,
         "3.96% of the labelled photos are empty, 0.00% before; for example ['empty/0.jpg', 'empty/1.jpg', 'empty/2.jpg']"),
        ("max_label_shift", {"score": lambda score: score + 1.0}, 1 / 1.4361407, "the mean score is 3.25, 2.25 before, where the scores deviate by 1.436"),
        ("max_label_distance", {"score": lambda score: score + 1.0}, 0.2, "% of the scores are below"),
        ("max_label_distance", {"score": lambda score: 2.25}, 0.5, "of the scores are below"),
        ("max_pixel_shift", {"width": 1200}, 1, "a photo has 480,000 pixels on average, 240,000 before"),
        ("max_pixel_shift", {"width": 150}, 2, "a photo has 60,000 pixels on average, 240,000 before"),
        ("max_brightness_shift", {"brightness": 80}, 20, "the mean brightness of a photo is 80.0 of 255 levels, 100.0 before"),
        ("max_brightness_shift", {"brightness": 130, "records": 1500, "unmeasured": 500}, 30, "is 130.0 of 255 levels, 100.0 before"),
        ("max_contrast_shift", {"contrast": 39.5}, 10.5, "the mean contrast of a photo is 39.5 of 255 levels, 50.0 before"),
    ])  # fmt: skip
    def test_a_change_is_measured_and_refused_beyond_the_limit(
        self, gate: str, changes: dict[str, Any], value: float, found: str
    ) -> None:
        limits: dict[str, Any] = {name: 0.999 if name in FRACTIONS else 99 for name in COMPARING}
        below, above = (
            limits | {gate: value * 0.99},
            limits | {gate: min(value * 1.01, 1.0) if gate in FRACTIONS else value * 1.01},
        )
        version = self.now(self.before(), max_reject_fraction=1, **changes, **above)
        assert measured(results_of(version))[gate] == pytest.approx(value, rel=1e-5)
        (refused,) = measure_gates(self.now(self.before(), max_reject_fraction=1, **changes, **below)).refused
        assert (refused.name, found in refused.found) == (gate, True), refused

    @pytest.mark.parametrize("why", ["few records", "other settings", "no version"])
    def test_nothing_is_compared_with_too_little_or_with_something_else(self, why: str) -> None:
        parent = {
            "few records": self.before(999), "other settings": self.before(settings_digest="0" * 64), "no version": None,
        }[why]  # fmt: skip
        version = replace(self.now(self.before(), 20_000, score=lambda score: 9 - score, width=9), parent=parent)
        assert {measured(results_of(version))[name] for name in COMPARING} == {0}

    def test_brightness_is_compared_where_enough_records_have_it_on_both_sides(self) -> None:
        """Those of earlier releases have none."""
        images = self.before(5000).images
        tone = ("max_brightness_shift", "max_contrast_shift")

        def shifts(measured_before: int, unmeasured: int) -> list[float]:
            known = {"measured": measured_before} | ({} if measured_before else {"brightness": None, "contrast": None})
            before = self.before(5000, images=images.model_copy(update=known))
            version = self.now(before, 5000, brightness=0, contrast=0, unmeasured=unmeasured)
            return [measured(measure_gates(version).results)[name] for name in tone]

        assert shifts(1000, 4000) == [100, 50]
        assert shifts(999, 0) == shifts(5000, 4001) == shifts(0, 0) == shifts(5000, 5000) == [0, 0]

    def test_scores_that_were_scaled_by_another_range_are_compared_as_the_score_file_has_them(self) -> None:
        """With minmax one better photo moves every label; no score moved."""
        labels = [number % 10 / 2 / 4.5 for number in range(1000)]
        scaled = label_statistics(pa.chunked_array([pa.array(labels, pa.float32())]), "minmax", 0, 4.5)
        version = self.now(self.before(labels=scaled), score=lambda score: score / 9, label_range=(0, 9))
        found = measure_gates(version).results
        assert max(measured(found)[name] for name in ("max_label_shift", "max_label_distance")) < 1e-5

    def test_a_version_of_equal_scores_is_compared_too(self) -> None:
        flat = label_statistics(pa.chunked_array([pa.array([3.0] * 1000, pa.float32())]), "none", None, None)
        found = measured(measure_gates(self.now(self.before(labels=flat))).results)
        assert found["max_label_shift"] == 0  # there is no deviation to measure by
        assert found["max_label_distance"] > 0.3
        assert measured(results_of(self.now(self.before(labels=flat), score=lambda _: 3.0)))["max_label_distance"] == 0


def test_a_night_of_darkened_photos_is_refused_and_a_quiet_one_is_not() -> None:
    """The numbers are those of the JPEGs, 1,000 of them."""

    def jpegs(night: int, gain: float) -> list[Photo]:
        rng = np.random.default_rng(night)
        levels = gain * np.clip(rng.normal(110, 39, (1000, 1, 1)) + rng.normal(0, 48, (1000, 8, 8)), 0, 255)
        files = (cv2.imencode(".jpg", picture)[1].tobytes() for picture in levels.astype(np.uint8))
        return [Photo(f"p{number:04}", data, 1 + number % 91 / 10) for number, data in enumerate(files)]

    def refused(night: int, gain: float) -> set[str]:
        dataset = SyntheticDataset(open_store("memory://gates/"), per_shard=500)
        dataset.publish(jpegs(0, 1))
        found = dataset.publish(jpegs(night, gain)).manifest
        assert found.images.measured == 1000
        return {gate.name for gate in found.gates if not gate.passed}

    assert refused(1, 1) == set()
    assert refused(1, 0.53) == {"max_brightness_shift", "max_contrast_shift"}  # two stops darker


@pytest.mark.parametrize("kind", QUIET)
def test_no_quiet_night_is_refused(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        before = photos(rng, 1000)
        assert measure(night_before(before), QUIET[kind](rng, before))[1] == set(), kind


@pytest.mark.parametrize("kind", sorted(set(BAD) - UNSEEN))
def test_bad_nights_are_refused(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        before = photos(rng, 1000)
        assert measure(night_before(before), BAD[kind](rng, before))[1], kind


class TestGatesFromOutside:
    """A gate of somebody else's is one object; it needs no setting and no other file of the package."""

    @pytest.fixture(autouse=True)
    def _forget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gates, "_registered", list(GATES))

    @staticmethod
    def gate(limit: float) -> Gate:
        return Gate(
            name="max_mean_score",
            unit="points",
            bound="most",
            limit=lambda _: limit,
            measure=lambda version: float(version.records["label"].to_numpy().mean()),
            explain=lambda version: f"the mean of {version.records.num_rows} scores",
        )

    def test_one_that_refuses_stops_the_version(self) -> None:
        register_gate(self.gate(2))
        assert refusals_of(candidate()) == "max_mean_score allows 2, measured 2.25: the mean of 10 scores"

    def test_one_that_passes_stands_after_the_others_and_is_written_in_words(self) -> None:
        register_gate(self.gate(2.25))
        result = results_of(candidate())[-1]
        assert (result.name, result.measured, result.limit) == ("max_mean_score", 2.25, 2.25)
        assert gate_in_words(result) == ("Max mean score", "2.25", "2.25", "passed")

    def test_a_name_is_given_once(self) -> None:
        register_gate(self.gate(2))
        with pytest.raises(SettingsError, match="there is a gate 'max_mean_score' already"):
            register_gate(self.gate(3))
        with pytest.raises(SettingsError, match="there is a gate 'min_records' already"):
            register_gate(next(gate for gate in GATES if gate.name == "min_records"))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"name": "max_reject_fraction", "measured": 0.0274, "limit": 0.05, "unit": "fraction", "bound": "most"},
         ("Largest share of rejects", "2.74%", "5%", "passed")),
        ({"name": "min_records", "measured": 1234, "limit": 1, "unit": "records", "bound": "least"},
         ("Fewest records", "1,234", "1", "passed")),
        ({"name": "min_records", "measured": 0, "limit": 1, "unit": "records", "bound": "least"},
         ("Fewest records", "0", "1", "failed")),
        # a manifest of before the gates said unit and bound
        ({"name": "min_records", "measured": 60, "limit": 1}, ("Fewest records", "60", "1", "passed")),
        ({"name": "max_reject_fraction", "measured": 0.0274, "limit": 0.05},
         ("Largest share of rejects", "0.0274", "0.05", "passed")),
    ],
)  # fmt: skip
def test_a_gate_in_words(result: dict[str, Any], words: tuple[str, ...]) -> None:
    assert gate_in_words(GateResult(**result)) == words
