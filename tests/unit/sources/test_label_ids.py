"""Which columns may name the photos, where several can: by their names, and by what is in them."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.errors import LabelError, PlanError
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, combine_labels, read_labels
from tests.support.sheets import xlsx

PLACES = {"photos": "memory://p/photos/", "labels": "memory://l/x", "dataset": "memory://d/"}
PHOTOS = ("1.jpg", "2.jpg", "3.jpg")
NAMES = ("3.jpg", "1.jpg", "2.jpg")  # of the rows 1, 2, 3


def read(data: bytes, **values: Any) -> Labels:
    return read_labels(data, source="x", settings=BuildSettings(**PLACES, **values))


def scores(labels: Labels, photos: tuple[str, ...] = PHOTOS) -> dict[str, float]:
    listing = pa.table({"key": photos, "size": [10] * len(photos), "etag": [f"of {key}" for key in photos]})
    plan = plan_photos(
        listing, labels, BuildSettings(**PLACES), converter=Converter(1, "c0dec" + "0" * 11), parent=None
    )
    return {
        row["key"]: row["label"]
        for row in plan.photos.select(["key", "label", "reason"]).to_pylist()
        if row["reason"] is None
    }


def written(form: str, rows: list[dict[str, Any]]) -> bytes:
    """The same rows in a format."""
    match form:
        case "csv":
            return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]).encode()
        case "jsonl":
            return "\n".join(map(json.dumps, rows)).encode()
        case "json":
            return json.dumps(rows).encode()
        case "xlsx":
            return xlsx({"S": [[*rows[0]], *([*row.values()] for row in rows)]})
        case _:
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows), sink)
            return sink.getvalue()


FORMS = ["csv", "jsonl", "json", "parquet", "xlsx"]


@pytest.mark.parametrize(
    ("form", "number", "column"),
    [
        *((form, "id", "image") for form in FORMS),
        *(("csv", "id", column) for column in ("file_name", "Image name", "photo", "img_file", "Bild")),
        *(("csv", number, "image") for number in ("image_id", "key", "image_num")),
    ],
)
def test_row_numbers_beside_file_names_are_refused_where_photos_have_numbers(
    form: str, number: str, column: str
) -> None:
    rows = [{number: row, column: name, "score": row + 0.5} for row, name in enumerate(NAMES, 1)]
    with pytest.raises(
        PlanError, match=rf"'{number}' finds 3, '{column}' finds 3, and 3 rows .* has '1' and '3.jpg'; set id_col"
    ):
        scores(read(written(form, rows)))
    found = scores(read(written(form, rows), id_column=column))
    assert found == {"3.jpg": 1.5, "1.jpg": 2.5, "2.jpg": 3.5}


@pytest.mark.parametrize(
    ("form", "column"),
    [*((form, "image") for form in FORMS), *(("csv", column) for column in ("file_name", "url", "img_file"))],
)
def test_file_names_beside_other_numbers_work_as_they_are(form: str, column: str) -> None:
    rows = [{"id": 70 + row, column: name, "score": row + 0.5} for row, name in enumerate(NAMES, 1)]
    labels = read(written(form, rows))
    assert scores(labels) == {"3.jpg": 1.5, "1.jpg": 2.5, "2.jpg": 3.5}


def test_a_column_of_file_names_needs_no_usual_name() -> None:
    labels = read(b"Bild;MOS\n3.jpg;1,5\n1.JPG;2,5\n;3\n")
    assert labels.columns == {"id": "Bild", "score": "MOS"}


def test_words_are_no_names_of_photos() -> None:
    with pytest.raises(LabelError, match="has no column 'key' or"):
        read(b"Bild,Text,MOS\nsunset,a.b,1\nsea,see x.jpg and more text,2\n")


def test_where_the_first_names_have_file_names_no_other_column_matters() -> None:
    labels = read(b"filename,thumbnail,score\n1.jpg,2.jpg,5\n2.jpg,1.jpg,4\n")
    assert labels.alternatives == ()


def test_photos_in_a_parquet_file_are_not_read_to_look_at_names() -> None:
    struct = [{"bytes": b"x", "path": "3.jpg"}, {"bytes": b"y", "path": "1.jpg"}]
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": struct, "image_id": [1, 2], "score": [5.0, 4.0]}), sink)
    labels = read(sink.getvalue())
    assert (labels.columns["id"], labels.alternatives) == ("image_id", ())


def test_votes_of_photos_that_two_columns_may_name_are_refused() -> None:
    with pytest.raises(LabelError, match="several columns may name the photos: 'id', 'image'; set id_column"):
        read(b"id,image,score\n1,3.jpg,5\n2,3.jpg,4\n", one_row_per_vote=True, vote_values="1,2,3,4,5")


@pytest.mark.parametrize("first", ["id,score\n1,5\n", "image,score\n1.jpg,5\n", "id,image,score\n1,1.jpg,5\n"])
@pytest.mark.parametrize("order", [1, -1])
def test_files_of_which_one_has_two_columns_are_refused_where_these_differ(first: str, order: int) -> None:
    files = [("a.csv", first), ("b.csv", "id,image,score\n3,2.jpg,4\n")][::order]
    labels = combine_labels({name: read(text.encode()) for name, text in files}, BuildSettings(**PLACES))
    with pytest.raises(PlanError, match=r"and 1 rows name different ones: .*'3' and '2.jpg'|.*'2.jpg' and '3'"):
        scores(labels)


def test_files_of_which_one_has_two_columns_work_where_one_names_photos() -> None:
    files = {"a.csv": b"image,score\n1.jpg,5\n", "b.csv": b"id,image,score\n77,2.jpg,4\n"}
    labels = combine_labels({name: read(data) for name, data in files.items()}, BuildSettings(**PLACES))
    assert scores(labels) == {"1.jpg": 5.0, "2.jpg": 4.0}
