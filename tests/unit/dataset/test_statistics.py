"""What a manifest counts of the stored JPEGs."""

import numpy as np
import pyarrow as pa
import pytest

from aesthetics_ops.dataset.manifest import Jpegs
from aesthetics_ops.dataset.statistics import contrary_copies, jpeg_statistics, vote_statistics
from aesthetics_ops.dataset.tables import RECORDS


def counted(*kinds: tuple[bool | None, str | None]) -> Jpegs:
    rows = [{"progressive": progressive, "sampling": sampling} for progressive, sampling in kinds]
    columns = [RECORDS.schema.field(name) for name in ("progressive", "sampling")]
    return jpeg_statistics(pa.Table.from_pylist(rows, schema=pa.schema(columns)))


@pytest.mark.parametrize(
    ("progressive", "sampling", "taken"),
    [
        *((False, sampling, True) for sampling in ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "gray")),
        *((False, sampling, False) for sampling in ("4:1:1", "4:1:0", "2x2,2x1,1x2", None)),
        *((True, sampling, False) for sampling in ("4:4:4", "4:2:0", "gray")),
        (None, None, False),
    ],
)
def test_a_hardware_decoder_takes_what_is_baseline_and_of_a_sampling_that_it_knows(
    progressive: bool | None, sampling: str | None, taken: bool
) -> None:
    jpegs = counted((progressive, sampling), (progressive, sampling))
    assert jpegs.hardware == (2 if taken else 0)
    assert jpegs.unknown == (2 if sampling is None else 0)


def test_kinds_stand_in_the_order_of_their_numbers_whatever_the_order_of_the_records() -> None:
    kinds = [(False, "4:2:0")] * 3 + [(True, "4:2:0")] * 2 + [(False, "gray")] * 2 + [(None, None)] * 2
    jpegs = counted(*kinds)
    assert jpegs == counted(*reversed(kinds))
    assert [(kind.progressive, kind.sampling, kind.records) for kind in jpegs.kinds] == [
        (False, "4:2:0", 3), (False, "gray", 2), (None, None, 2), (True, "4:2:0", 2),
    ]  # fmt: skip
    assert (jpegs.hardware, jpegs.unknown) == (5, 2)


COPIES = {
    "equal labels": ([("a", "1", 10, 3.0), ("b", "1", 10, 3.0)], 0, []),
    "other labels": ([("b", "1", 10, 5.0), ("a", "1", 10, 3.0)], 2, ["'a' (3) and 'b' (5)"]),
    "three": ([("a", "1", 10, 3.0), ("b", "1", 10, 3.0), ("c", "1", 10, 2.5)], 3, ["'c' (2.5) and 'b' (3)"]),
    "another size": ([("a", "1", 10, 3.0), ("b", "1", 11, 5.0)], 0, []),
    "another hash": ([("a", "1", 10, 3.0), ("b", "2", 10, 5.0)], 0, []),
    "two pairs": (
        [("a", "1", 10, 1.0), ("b", "1", 10, 2.0), ("c", "2", 10, 1.0), ("d", "2", 10, 2.0)],
        4,
        ["'a' (1) and 'b' (2)", "'c' (1) and 'd' (2)"],
    ),
}


@pytest.mark.parametrize("case", COPIES)
def test_copies_with_other_labels_are_counted_and_named(case: str) -> None:
    rows, count, examples = COPIES[case]
    records = pa.table(
        {
            "key": [row[0] for row in rows],
            "phash": [row[1] for row in rows],
            "bytes": [row[2] for row in rows],
            "width": [4] * len(rows),
            "height": [3] * len(rows),
            "label": [row[3] for row in rows],
        }
    )
    assert contrary_copies(records, records.select(["key"])) == (count, examples)
    assert contrary_copies(records, records.select(["key"]).slice(0, 0)) == (0, [])


@pytest.mark.parametrize("has_counts", [True, False])
@pytest.mark.parametrize("at_once", [1, 999, 20_000])
def test_votes_have_the_same_statistics_to_the_last_bit_whatever_the_chunks(at_once: int, has_counts: bool) -> None:
    counts = np.random.default_rng(0).integers(1, 300, (20_000, 7))
    shares = (counts / counts.sum(axis=1, keepdims=True)).astype(np.float32)
    lists = [pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 7) for values in (shares, counts)]
    rows = pa.table(
        {
            "distribution": lists[0].cast(pa.list_(pa.float32())),
            "label_std": pa.array(np.ones(20_000), pa.float32()),
            "votes": lists[1].cast(pa.list_(pa.int64())),
        }
    ).select(["distribution", "label_std", *(["votes"] if has_counts else [])])
    found = vote_statistics(pa.concat_tables(rows.slice(first, at_once) for first in range(0, 20_000, at_once)))
    assert found is not None
    assert found.mean_distribution == tuple(shares.astype(np.float64).mean(axis=0).tolist())
    totals = counts.sum(axis=1)
    assert (found.fewest, found.most) == ((totals.min(), totals.max()) if has_counts else (None, None))
    assert found.counts == (tuple(counts.sum(axis=0).tolist()) if has_counts else None)
