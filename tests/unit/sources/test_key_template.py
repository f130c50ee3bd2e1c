"""Names of photos that several columns make together."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.errors import LabelError, SettingsError
from aesthetics_ops.settings import BuildSettings, parse_settings
from aesthetics_ops.sources.labels import Labels, check_label_settings, read_labels

URLS = {"photos": "memory://p/photos/", "labels": "memory://p/scores.csv", "dataset": "memory://p/dataset/"}


def settings(template: str, **changes: Any) -> BuildSettings:
    return parse_settings(URLS | {"key_template": template} | changes, where="test")


def read(template: str, data: bytes | str, **changes: Any) -> Labels:
    data = data.encode() if isinstance(data, str) else data
    return read_labels(data, source="scores", settings=settings(template, **changes))


def names(of: Labels) -> list[str]:
    found: list[str] = of.table["name"].to_pylist()
    return found


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{folder}/{id}", "x/7"),
        ("{folder}/img_{id}.jpg", "x/img_7.jpg"),
        ("{id:06d}.jpg", "000007.jpg"),
        ("{id:06}.jpg", "000007.jpg"),
        ("{id:01d}", "7"),
        ("{float:03d}", "008"),
        ("{zeros:03d}", "009"),
        ("{ID}", "7"),
        ("{{{id}}}.jpg", "{7}.jpg"),
        ("{id}_{id}", "7_7"),
        ("/{folder}/{id}", "x/7"),
        ("100%{id}", "100%7"),
    ],
)
def test_columns_and_text_make_the_name(template: str, expected: str) -> None:
    found = read(template, "folder,id,float,zeros,score\n x ,7,8.0,00009,5\n")
    assert names(found) == [expected]
    assert found.columns["id"] == template
    assert found.alternatives == ()


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "xlsx-like"])
def test_every_format_with_columns_takes_it(kind: str) -> None:
    rows = {"folder": ["x", "y"], "id": [7, 8], "score": [5.0, 6.0]}
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink)
    data = {
        "csv": b"folder;id;score\nx;7;5\ny;8;6\n",
        "json": b'[{"folder": "x", "id": 7, "score": 5}, {"folder": "y", "id": 8.0, "score": 6}]',
        "parquet": sink.getvalue(),
        "xlsx-like": b"folder\tid\tscore\nx\t7\t5\ny\t8\t6\n",
    }[kind]
    assert names(read("{folder}/{id:03d}.jpg", data)) == ["x/007.jpg", "y/008.jpg"]


def test_a_row_without_a_value_has_no_name_and_says_why() -> None:
    found = read("{folder}/{id:03d}", "folder,id,score\nx,7,5\n,8,5\nx,,5\nx,abc,5\nx,1.5,5\n")
    assert names(found) == ["x/007", "", "", "", ""]
    assert found.table["problem"].to_pylist() == [
        None, "key_template finds nothing in column 'folder'", "key_template finds nothing in column 'id'",
        "'abc' in column 'id' is no whole number, as key_template asks for",
        "'1.5' in column 'id' is no whole number, as key_template asks for",
    ]  # fmt: skip
    assert found.table["score"].to_pylist() == [5, None, None, None, None]


def test_a_known_kind_keeps_its_votes() -> None:
    para = "sessionId,imageName," + ",".join(f"aestheticScore_{half / 2}" for half in range(2, 11))
    data = f"{para}\ns1,a.jpg,1,0,0,0,0,0,0,0,1\n,b.jpg,1,0,0,0,0,0,0,0,1\n"
    own = read_labels(data.encode(), source="scores", settings=parse_settings(URLS, where="test"))
    found = read("all/{sessionId}_{imageName}", data)
    assert (found.layout, found.ratings) == (own.layout, own.ratings) != (None, ())
    assert names(found) == ["all/s1_a.jpg", ""]
    assert found.table["score"].to_pylist() == [3.0, None]


def test_single_votes_are_put_together_by_the_name() -> None:
    data = "sessionId,imageName,userId,aestheticScore\ns,a.jpg,u,1\ns,a.jpg,v,2\ns,b.jpg,u,5\n"
    found = read("{imageName}", data)
    assert dict(zip(names(found), found.table["score"].to_pylist(), strict=True)) == {"a.jpg": 1.5, "b.jpg": 5.0}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{folder/{id}", "is not readable|without the name of a column|names no column|expected"),
        ("{folder", "is not readable: expected '}' before end of string; write columns in braces"),
        ("folder}", "is not readable: single '}' encountered in format string; write columns in braces"),
        ("{}.jpg", "has braces without the name of a column"),
        ("{ }.jpg", "has braces without the name of a column"),
        ("photo.jpg", "names no column, so every row would name one photo"),
        ("{{id}}.jpg", "names no column"),
        ("{id!r}", "asks for '!r' of 'id'; only digits such as :06d"),
        ("{id:>6}", "asks for ':>6' of 'id'"),
        ("{id:6d}", "asks for ':6d' of 'id'"),
        ("{id:0999d}", "asks for ':0999d' of 'id'"),
        ("{id:{width}}", "braces without the name of a column"),
    ],
)
def test_a_template_that_is_none_is_refused_in_one_line(template: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        settings(template)
    assert "\n" not in str(caught.value)


def test_two_settings_for_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"id_column is 'x', but key_template '{id}' names the photos; leave one"):
        settings("{id}", id_column="x")


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(LabelError, match="has no column 'folder'; its columns are 'id', 'score'; set key_template"):
        read("{folder}/{id}", "id,score\n1,5\n")
    with pytest.raises(LabelError, match=r"has one column that key_template '{id}{ID}' calls by two names"):
        read("{id}{ID}", "id,score\n1,5\n")


def test_a_format_without_columns_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"which have no columns, but key_template is '{id}'; leave key_template empty"
    ):
        check_label_settings(settings("{id}", label_format="ava"))
    with pytest.raises(LabelError, match=r"which have no columns, but key_template is '{id}'"):
        read("{id}", "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396\n")


def test_a_parquet_column_that_is_no_text_is_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [{"b": 1}], "c": ["x"], "score": [1.0]}), sink)
    with pytest.raises(LabelError, match="has column 'a' of type struct"):
        read("{a}/{c}", sink.getvalue())


def test_recipes_and_digests_are_what_they_were_without_it() -> None:
    plain = parse_settings(URLS, where="test")
    assert settings("{id}").recipe == plain.recipe
    assert settings("{id}").digest != plain.digest == parse_settings(URLS | {"key_template": ""}, where="test").digest
