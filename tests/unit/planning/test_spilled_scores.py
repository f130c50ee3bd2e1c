"""The rows of a large score file go to scratch block by block as they would go there together, or are read together."""

from collections import deque
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.errors import LabelError
from aesthetics_ops.planning.scores import Scores
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import ava, blocks, csv, parquet, read_labels
from tests.support.labels import PLACES, URL
from tests.support.labels import parquet as parquet_file

NUMBERS = range(1, 61)
AVA = "".join(f"{n} {n} {n % 3} 0 0 0 0 {9 ** (n // 12)} 0 0 0 1 {n % 2} 0 7\n" for n in NUMBERS)
PLAIN = [f"{n}.jpg,{n % 10}" for n in NUMBERS]
VOTES = [f"{n},{n % 4},{n * n},{n % 7}" for n in NUMBERS]

# text or columns, and settings
IN_BLOCKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ava": (AVA, {}),
    "ava, laid out freely": (AVA.replace("\n", " \r\n").replace("9 9 ", "\n  9\t9  ", 1), {"min_votes": 30}),
    "ava with votes that make no sense": (AVA.replace(" 7\n", " 7\n", 1).replace("30 30 0", "30 30 -4"), {}),
    "ava without a last line break": (AVA[:-1], {"label_range": (2, 9)}),
    "csv": ("\n".join(["id,score", *PLAIN]), {}),
    "csv, blank lines and blank rows": ("\n".join(["id,score", *PLAIN[:20], "", ",", *PLAIN[20:], "", ""]), {}),
    "csv, carriage returns": ("\r\n".join(["id,score", *PLAIN, ""]), {}),
    "csv, odd scores": ("\n".join(["id,score", *PLAIN, "61,", "62,nan", "63,words", ",4", "64,1e99", "/65.jpg,1"]), {}),
    "csv, blanks between": ("\n".join(["id score", *(row.replace(",", "  ") for row in PLAIN)]), {}),
    "csv, semicolons": ("\n".join(["id;score", *(row.replace(",", ";") for row in PLAIN)]), {}),
    "csv, no header": ("\n".join(PLAIN), {}),
    "csv, splits": (
        "\n".join(["id,score,part", *(f"{row},{['test', 'dev', 'train', 'x'][n % 4]}" for n, row in enumerate(PLAIN))]),
        {"split_column": "part"},
    ),
    "csv, more scores": (
        "\n".join(["id,score,sharp", *(f"{row},{'x' if n == 40 else n}" for n, row in enumerate(PLAIN))]),
        {"extra_scores": ["sharp"]},
    ),
    "csv, votes": ("\n".join(["id,c1,c2,c3", *VOTES, "71,,1,2", "72,0,0,0"]), {"vote_columns": ["c1..c3"]}),
    "parquet": ({"id": pa.array(NUMBERS), "score": pa.array([None, 2.5, float("nan")] * 20)}, {}),
    "parquet, text": ({"id": [f"{n}.jpg" for n in NUMBERS], "score": [f"{n / 4}" for n in NUMBERS]}, {}),
    "parquet, categories": ({"id": pa.array(["b", "a"] * 30).dictionary_encode(), "score": list(NUMBERS)}, {}),
    "parquet, lists of votes": (
        {"id": list(NUMBERS), "votes": [[n, n * n * n, 1] if n % 9 else [1] for n in NUMBERS]},
        {"vote_columns": ["votes"]},
    ),
}  # fmt: skip
AT_ONCE: dict[str, tuple[Any, dict[str, Any]]] = {
    "ava, exclusions": (AVA, {"exclude_tags": ["1"]}),
    "csv, quotes": ("\n".join(["id,score", *PLAIN, '"61\n.jpg",3']), {}),
    "csv, decimal commas": ("\n".join(["id;score", *(row.replace(",", ";") for row in PLAIN), "61;1,5"]), {}),
    "csv, shares": ("\n".join(["id,c1,c2", *(f"{n},1,{n % 5}" for n in NUMBERS), "61,0.25,0.75"]), {"vote_columns": ["c1..c2"]}),
    "csv, single votes": ("\n".join(["id,score", *PLAIN]), {"one_row_per_vote": True, "label_min": 0, "label_max": 9}),
    "csv, kept": ("\n".join(["id,score,camera", *(f"{row},{n}" for n, row in enumerate(PLAIN))]), {"keep_columns": ["camera"]}),
    "csv, two names": ("\n".join(["id,filename,score", *(f"{n},{n}.jpg,{n}" for n in NUMBERS)]), {}),
    "csv, a doubt about some rows": ("\n".join(["id,c1,c2,c3", *VOTES, "61,1.5,2,3"]), {"score_column": "c1"}),
    "json lines": ("".join(f'{{"id": {n}, "score": {n}}}\n' for n in NUMBERS), {}),
    "parquet, two names": ({"id": list(NUMBERS), "filename": [f"{n}.jpg" for n in NUMBERS], "score": list(NUMBERS)}, {}),
}  # fmt: skip
BROKEN: dict[str, tuple[Any, dict[str, Any]]] = {
    "ava, a field too many": (AVA + "61 61 1\n", {}),
    "ava, a word": (AVA.replace("50 50 2", "50 50 x"), {}),
    "csv, a field too many": ("\n".join(["id,score", *PLAIN, "61,1,2"]), {}),
    "csv, no range": ("\n".join(["id,score", *PLAIN, "61,1,2"]), {"label_scale": "unit"}),
    "csv, no votes": ("\n".join(["id,score", *PLAIN]), {"min_votes": 3}),
    "parquet, other things": ({"id": list(NUMBERS), "score": [[1, 2]] * 60}, {}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ava, csv):
        monkeypatch.setattr(module, "FEW_BYTES", 0)
    monkeypatch.setattr(blocks, "_BLOCK_BYTES", 150)
    monkeypatch.setattr(blocks, "_FEW_ROWS", 1)
    monkeypatch.setattr(parquet, "_FEW_ROWS", 0)
    monkeypatch.setattr(parquet, "_ROWS_AT_ONCE", 16)


def arguments(content: Any, settings: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    data = content.encode() if isinstance(content, str) else parquet_file(**content)
    return data, {"source": URL, "settings": BuildSettings(**PLACES, **settings)}


@pytest.mark.parametrize("case", IN_BLOCKS)
def test_what_is_in_scratch_is_what_reading_all_rows_leaves_there(case: str, tmp_path: Path) -> None:
    data, options = arguments(*IN_BLOCKS[case])
    (folder := tmp_path / "blocks").mkdir()
    taken = []

    def count(found: Any) -> Any:
        for block in found:
            taken.append(block.table.num_rows)
            yield block

    found, etag = Scores.read(
        lambda spill: (read_labels(data, **options, spill=lambda some: spill(count(some))), "etag"), folder
    )
    expected = Scores.of(read_labels(data, **options), tmp_path)
    assert len(taken) > 2
    assert sum(taken) == found.rows == expected.rows
    assert (found.labels, found.packed, found.alternatives, etag) == (expected.labels, expected.packed, (), "etag")
    one, other = pq.read_table(folder / "scores-0.parquet"), pq.read_table(tmp_path / "scores-0.parquet")
    assert one.schema == other.schema
    assert str(one.to_pylist()) == str(other.to_pylist())
    assert [path.name for path in folder.iterdir()] == ["scores-0.parquet"]


@pytest.mark.parametrize("case", AT_ONCE)
def test_rows_that_mean_something_by_others_are_read_together(case: str, tmp_path: Path) -> None:
    data, options = arguments(*AT_ONCE[case])
    labels = read_labels(data, **options, spill=lambda found: deque(found, 0).clear())
    expected = read_labels(data, **options)
    assert str(labels.table.to_pylist()) == str(expected.table.to_pylist())
    assert labels.notes == expected.notes
    found, _ = Scores.read(lambda spill: (read_labels(data, **options, spill=spill), ""), tmp_path)
    assert found.rows == expected.table.num_rows
    assert not isinstance(found.table, Path), "so few rows stay in memory"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_as_one_that_is_read_at_once(case: str, tmp_path: Path) -> None:
    data, options = arguments(*BROKEN[case])
    with pytest.raises(LabelError) as expected:
        read_labels(data, **options)
    with pytest.raises(LabelError) as found:
        Scores.read(lambda spill: (read_labels(data, **options, spill=spill), ""), tmp_path)
    assert str(found.value) == str(expected.value)
