"""The digest of a recipe: what is in it, and that what came later changes none that was there."""

from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.dataset.recipe import Converter, recipe_digest
from aesthetics_ops.dataset.tables import PLAN
from aesthetics_ops.settings import BuildSettings

CONVERTER = Converter(6, "0123456789abcdef")
ROWS = [
    {"key": "a.jpg", "etag": "e", "size": 10, "id": "a", "label": 5.0},
    {"key": "b/ö.jpg", "etag": "f", "size": 20, "id": "b/ö.jpg", "label": 0.5},
]
VOTES = {"distribution": [0.25, 0.75], "votes": [1, 3], "label_std": 0.5}


def digest(*rows: dict[str, Any], columns: tuple[str, ...] = (), **settings: Any) -> str:
    table = pa.Table.from_pylist(list(rows), PLAN.schema)
    places = {"photos": "memory://p/", "labels": "memory://l/x", "dataset": "memory://d/"}
    return recipe_digest(table.drop_columns(list(columns)), BuildSettings(**places, **settings), converter=CONVERTER)


LATER = ("votes", "label_std", "extra_scores")


def test_a_shard_of_scores_alone_has_the_digest_that_it_always_had() -> None:
    expected = "fcfff4d05bce0da39a55c6d84f09e48386bdeab91063213f4655cfea04628cd3"
    assert digest(*ROWS) == digest(*ROWS, columns=LATER) == expected
    assert digest(*ROWS, keep_columns=["who"]) == expected


def test_a_plan_of_an_earlier_release_with_shares_has_its_digest() -> None:
    assert digest(*(row | {"distribution": [0.25, 0.75]} for row in ROWS), columns=LATER) == (
        "676f5d8077405a23008c4999b89f84aef2b66d335a839b69bb8b866fcd8abb1a"
    )


@pytest.mark.parametrize(
    "change",
    [{"votes": [2, 6]}, {"label_std": 0.25}, {"votes": None}, {"label_std": None}, {"distribution": [0.75, 0.25]}],
    ids=str,
)
def test_whatever_stands_in_a_record_is_in_the_recipe(change: dict[str, Any]) -> None:
    voted = [row | VOTES for row in ROWS]
    assert digest(voted[0], voted[1] | change) != digest(*voted)


def test_extra_scores_are_in_the_recipe_with_their_names() -> None:
    rows = [row | {"extra_scores": [1.0, 2.0]} for row in ROWS]
    found = {
        digest(*rows, extra_scores=["x", "y"]),
        digest(*rows, extra_scores=["y", "x"]),
        digest(rows[0], rows[1] | {"extra_scores": [2.0, 1.0]}, extra_scores=["x", "y"]),
        digest(*ROWS),
    }
    assert len(found) == 4
