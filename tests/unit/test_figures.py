"""Figures of a stage: rounded once, told alike, and combined over partitions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aesthetics_ops.builds import PartitionResult
from aesthetics_ops.figures import ConversionFigures, ValidationFigures, WorkFigures, figure_in_words, percentile

MADE = ConversionFigures(
    seconds=4.098765, photos=1200, fetched=1100, bytes=31_234_567, get_p50_s=0.0213456, get_p95_s=0.048, codec_share=0.78123, waiting_s=1.8,
    requests=16, limit="codec",
)  # fmt: skip
READ = ValidationFigures(
    seconds=3.0, records=1200, shards=3, bytes=30_000_000, get_p50_s=0.12, get_p95_s=0.3, waiting_s=0.42
)


def test_a_line_has_the_digits_of_the_numbers() -> None:
    assert str(MADE) == (
        "1,200 photos in 4.099 s, 292.8 photos/s; 1,100 read, 31,234,567 bytes, each GET 21.35 ms, p95 48 ms, 16 requests at once; "
        "codec threads worked 78.12 % of their time, waited 1.8 s; limit: codec"
    )
    assert MADE.numbers == {
        "seconds": 4.099, "photos_per_second": 292.8, "source_bytes": 31_234_567, "get_p50_s": 0.02135, "get_p95_s": 0.048,
        "codec_share": 0.7812, "waiting_s": 1.8, "requests": 16,
    }  # fmt: skip
    assert str(READ) == (
        "1,200 records in 3 s, 400 records/s; 30,000,000 bytes, each shard's GET 120 ms, p95 300 ms; waited 0.42 s"
    )


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (0.02135, "0.02135"), (292.8, "292.8"), (12_340.0, "12,340"), (9999.0, "9999")]
)
def test_no_figure_has_an_exponent(value: float, words: str) -> None:
    assert figure_in_words(value) == words


def test_what_did_nothing_divides_by_nothing() -> None:
    assert set(ConversionFigures().numbers.values()) == set(ValidationFigures().numbers.values()) == {0}
    assert WorkFigures.of([ConversionFigures()], []) == WorkFigures(None, None)


def test_partitions_are_combined_as_they_weigh_and_those_that_did_nothing_do_not_count() -> None:
    slow = ConversionFigures(
        seconds=12.3, photos=300, fetched=100, bytes=1, get_p50_s=0.5, get_p95_s=1.0, codec_share=0.1, waiting_s=9.0, requests=64,
        limit="network latency",
    )  # fmt: skip
    both = ConversionFigures.combined([MADE, ConversionFigures(), slow])
    assert (both.photos, both.fetched, both.bytes, both.requests) == (1500, 1200, 31_234_568, 64)
    assert (both.seconds, both.waiting_s, both.limit) == (16.4, 10.8, "network latency")
    assert both.get_p50_s == pytest.approx((0.02135 * 1100 + 0.5 * 100) / 1200, rel=1e-3)
    assert both.codec_share == pytest.approx((0.7812 * 4.099 + 0.1 * 12.3) / 16.4, rel=1e-3)
    side_by_side = ConversionFigures.combined([MADE, slow], seconds=12.5)
    assert side_by_side.numbers["photos_per_second"] == 120
    assert ValidationFigures.combined([READ, READ]).numbers["records_per_second"] == 400


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_time_that_so_many_took_at_most(seconds: list[float], share: float) -> None:
    found = percentile(seconds, share)
    assert found in seconds
    assert sum(each <= found for each in seconds) >= share * len(seconds)


def test_a_result_of_an_earlier_release_has_no_figures_and_is_read() -> None:
    earlier = {"plan": "p", "shards": {"a": "b"}, "lost": []}
    result = PartitionResult.parse(json.dumps(earlier).encode(), name="it")
    assert result.figures is None
    told = PartitionResult(plan="p", shards={"a": "b"}, lost=(), figures=MADE)
    assert PartitionResult.parse(told.encoded(), name="it") == told
