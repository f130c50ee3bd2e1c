"""Gates measure what is about to be published, and refuse; a gate is one object, and one can be added from outside."""

import re
from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.dataset.manifest import GateResult, Manifest, NearDuplicates
from aesthetics_ops.dataset.statistics import count_reasons
from aesthetics_ops.dataset.tables import RECORDS, REJECTS
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.publishing import gates
from aesthetics_ops.publishing.gates import GATES, Candidate, Gate, measure_gates, register_gate
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.words import gate_in_words
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos


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
        "max_reject_fraction": 0, "max_unmatched_fraction": 0, "max_shrink_fraction": 0, "min_records": 10,
    }  # fmt: skip


def test_a_result_says_what_it_measured_in_and_which_side_is_allowed() -> None:
    assert [(result.unit, result.bound) for result in results_of(candidate())] == [
        ("fraction", "most"), ("fraction", "most"), ("fraction", "most"), ("records", "least"),
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
            register_gate(GATES[-1])


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
