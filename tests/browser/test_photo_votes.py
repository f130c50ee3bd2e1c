"""The page of a photo shows how many people gave it which rating."""

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import Request

from aesthetics_ops.browser import make_browser
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.tables import write_parquet
from aesthetics_ops.testing.datasets import SyntheticVersion
from tests.support.nights import reseal
from tests.support.versions import publish_once, sample_photos
from tests.support.web import Html, TestClient

VOTES: dict[str, tuple[Any, pa.DataType]] = {
    "distribution": ([0.25, 0.0, 0.75], pa.list_(pa.float32())),
    "votes": ([1, 0, 3], pa.list_(pa.int64())),
    "label_std": (0.8660254, pa.float32()),
}


def let_in(request: Request) -> set[str]:
    return {"flowers"}


def shown(columns: dict[str, tuple[Any, pa.DataType]], *, status: int = 200) -> tuple[Html, str]:
    """The page of the first photo, and its source, where all photos have these votes for 1, 2.5 and 3."""
    made: SyntheticVersion = publish_once(sample_photos(3), [])
    key = version_key(made.version, VersionFile.RECORDS)
    table = pq.read_table(io.BytesIO(bytes(made.store.get(key).data)))
    for name, (value, kind) in columns.items():
        table = table.append_column(name, pa.array([value] * table.num_rows, kind))
    made.store.put(key, write_parquet(table))
    change: Callable[[dict[str, Any]], Any] = lambda values: values["source"].update(ratings=[1, 2.5, 3])  # noqa: E731
    reseal(made.store, made.version, change)
    with TestClient(make_browser(let_in, {"flowers": lambda: made.store})) as client:
        reply = client.get(f"/datasets/flowers/versions/{made.version}/shards/train/0/0")
        assert reply.status_code == status, reply.text[:2000]
        for other in ("/shards/train/0", f"/search?text={made.rows[0]['id']}"):
            assert client.get(f"/datasets/flowers/versions/{made.version}{other}").status_code in (200, status)
        return Html(reply.text), reply.text


def test_counts_and_shares_stand_beside_each_rating() -> None:
    page, text = shown(VOTES)
    assert "Votes Rating Votes Share 1 1 25.0 % 2.5 0 0.0 % 3 3 75.0 %" in page.words
    assert "Spread of the votes 0.866" in page.words
    assert text.count("<progress") == 3
    assert "style=" not in text


def test_shares_alone_have_no_counts() -> None:
    page, _ = shown({name: VOTES[name] for name in ("distribution", "label_std")})
    assert "Votes Rating Share 1 25.0 % 2.5 0.0 % 3 75.0 %" in page.words


def test_a_photo_without_votes_has_no_table() -> None:
    page, text = shown({})
    assert "Votes" not in page.words
    assert "<progress" not in text


@pytest.mark.parametrize(
    "columns",
    [
        VOTES | {"votes": ([1, 0], pa.list_(pa.int64()))},
        VOTES | {"votes": ([1, None, 3], pa.list_(pa.int64()))},
        VOTES | {"distribution": ([0.5] * 4, pa.list_(pa.float32()))},
        VOTES | {"distribution": ([0.5, 0.5, float("nan")], pa.list_(pa.float32()))},
        VOTES | {"distribution": ("<b>", pa.string())},
    ],
)
def test_votes_that_cannot_be_are_told(columns: dict[str, tuple[Any, pa.DataType]]) -> None:
    page, _ = shown(columns, status=502)
    assert "records.parquet" in page.words
    assert "verify the version" in page.words
