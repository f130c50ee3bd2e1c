"""Which label rows name which photos: names as photos and score files really have them."""

import csv
import io
import unicodedata
from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning.model import Plan
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import read_labels


def table(*rows: tuple[object, ...], header: str = "id,score") -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header.split(","), *rows])
    return text.getvalue().encode()


def plan(photos: list[str], data: bytes, *, etags: dict[str, str] | None = None, **changes: Any) -> Plan:
    urls = {"photos": "memory://p/photos/", "labels": "memory://p/scores.csv", "dataset": "memory://p/dataset/"}
    settings = BuildSettings.model_validate(urls | changes)
    keys = sorted(photos)
    listing = pa.table(
        {
            "key": pa.array(keys, pa.string()),
            "size": pa.array([10] * len(keys), pa.int64()),
            "etag": [(etags or {}).get(key, f"of {key}") for key in keys],
        }
    )
    labels = read_labels(data, source=settings.labels, settings=settings)
    return plan_photos(listing, labels, settings, converter=Converter(1, "c0dec" + "0" * 11), parent=None)


def rows(of: Plan) -> dict[str, tuple[Any, Any, Any]]:
    """Each photo's id, label and reason; no label where there is a reason."""
    return {row["key"]: (row["id"], row["label"], row["reason"]) for row in of.photos.to_pylist()}


def details(of: Plan) -> dict[str, str]:
    return {row["key"]: row["detail"] for row in of.photos.to_pylist()}


NFC, NFD = "é", unicodedata.normalize("NFD", "é")

# Every name names the photo: by its key, which then is the id, or by its stem.
NAMES = [
    # key, name, whether the name is the key
    ("a.jpg", "a.jpg", True), ("a.jpg", "a", False), ("x/y/a.jpg", "x/y/a.jpg", True), ("x/y/a.jpg", "a", False),
    ("a", "a", True), ("x/a", "x/a", True), ("x/a", "a", False), ("007.jpg", "007", False),
    # suffixes of any kind
    ("frame.0001", "frame.0001", True), ("frame.0001", "frame", False), ("frame.0001.jpg", "frame.0001", False),
    ("a.jpg?w=800", "a.jpg?w=800", True), ("a.jpg?w=800", "a", False), ("c.jpg.1", "c.jpg.1", True),
    ("c.jpg.1", "c.jpg", False), ("john.smith.jpg", "john.smith", False), ("john.smith.jpg", "john.smith.jpg", True),
    ("IMG.2024.jpg", "IMG.2024", False), ("a.toolongsuffix", "a.toolongsuffix", True), ("a.b.c.d.png", "a.b.c.d", False),
    ("v1.2", "v1.2", True), ("a.", "a.", True), ("a.jpg.", "a.jpg", False), ("x/frame.0001", "x/frame.0001", True),
    ("a.jpg&h=1", "a.jpg&h=1", True), ("a.JPG", "a.JPG", True), ("photo.jpeg.webp", "photo.jpeg", False),
    ("a.tar", "b", None), ("12.5", "12.5", True), ("12.5.jpg", "12.5", False), ("a..jpg", "a.", False),
    # marks that mean something elsewhere are only letters here
    ("100%.jpg", "100%", False), ("a%20b.jpg", "a%20b.jpg", True), ("a b.jpg", "a b.jpg", True), ("a b.jpg", "a b", False),
    ("a+b.jpg", "a+b", False), ("a#b.jpg", "a#b.jpg", True), ("a,b.jpg", "a,b.jpg", True), ('a"b.jpg', 'a"b', False),
    ("a\\b.jpg", "a\\b.jpg", True), ("it's.jpg", "it's", False), ("(1).jpg", "(1)", False), ("*.jpg", "*", False),
    # slashes and blanks around a name
    ("a.jpg", "./a.jpg", True), ("a.jpg", "/a.jpg", True), ("a", "/a", True), ("x/a.jpg", "//x/a.jpg", True),
    ("/a.jpg", "/a.jpg", True), ("a.jpg", "  a.jpg\t", True), ("a.jpg", " a ", False), (" a.jpg", " a.jpg", True),
    ("a .jpg", "a ", False), ("a .jpg", "a .jpg", True), ("a.jpg ", "a.jpg ", True), ("x/ a.jpg", " a", False),
    # Unicode
    (f"{NFC}.jpg", NFC, False), (f"{NFD}.jpg", NFD, False), (f"{NFD}.jpg", NFC, False), (f"{NFC}.jpg", NFD, False),
    (f"x/{NFD}.jpg", f"x/{NFC}.jpg", True), (f"{NFC}/{NFD}.jpg", f"{NFC}/{NFC}.jpg", True), (f"{NFD}", NFC, True),
    ("写真.jpg", "写真", False), ("写真.jpg", "写真.jpg", True), ("가.jpg", unicodedata.normalize("NFD", "가"), False),
    ("🌄.jpg", "🌄", False), ("\u00a0a.jpg", "\u00a0a.jpg", True),
    # hidden: only with the dot, in a folder only by the key
    (".a.jpg", ".a", False), (".a.jpg", ".a.jpg", True), (".trash/a.jpg", ".trash/a.jpg", True),
    ("@eaDir/a.jpg", "@eaDir/a.jpg", True), ("x.y/a.jpg", "a", False), ("...a.jpg", "...a", False), (".jpg", ".jpg", True),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name", "is_key"), NAMES, ids=[f"{key}-{name}" for key, name, _ in NAMES])
def test_a_name_that_is_the_key_or_the_stem_names_the_photo(key: str, name: str, is_key: bool | None) -> None:
    if is_key is None:
        with pytest.raises(PlanError, match="1 not_a_photo"):
            plan([key], table((name, 5)))
        return
    planned = plan([key, "another.jpg"], table((name, 5), ("another", 1)))
    base = key.rsplit("/", 1)[-1]
    stem = base[: base.rindex(".")] if "." in base[1:] else base
    assert rows(planned)[key] == (key if is_key else stem, 5.0, None)
    assert planned.unmatched.num_rows == 0


STRANGERS = [
    ("a.jpg", "A.jpg"), ("a.jpg", "A"), ("a.jpg", "a.JPG"), ("a.jpg", "a.png"), ("a.jpg", "a.jpeg"), ("a.jpg", "jpg"),
    ("x/a.jpg", "a.jpg"), ("x/a.jpg", "y/a.jpg"), ("x/a.jpg", "x/a"), ("x/a.jpg", "/a"), ("x/a.jpg", "./a"), ("a.jpg", "x/a.jpg"),
    ("a b.jpg", "a%20b.jpg"), ("a%20b.jpg", "a b.jpg"), ("a+b.jpg", "a b"), ("a.jpg", "a.jpg?w=800"), ("a.jpg?w=800", "a.jpg"),
    ("007.jpg", "7"), ("7.jpg", "007"), ("7.jpg", "7.0"), ("a.jpg", "a.jpg.1"), ("frame.0001.jpg", "frame"), ("a/b.jpg", "a\\b.jpg"),
    ("a  b.jpg", "a b.jpg"), (f"{NFC}.jpg", "e"), ("ﬁ.jpg", "fi"), (".thumbnails/a.jpg", "a"), ("x/@eaDir/a.jpg/SYNO.jpg", "SYNO"),
    ("__MACOSX/a.jpg", "a"), ("._a.jpg", "a"), (f".x/{NFD}.jpg", NFC),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name"), STRANGERS, ids=[f"{key}-{name}" for key, name in STRANGERS])
def test_a_name_that_is_neither_names_nothing(key: str, name: str) -> None:
    planned = plan([key, "another.jpg"], table((name, 5), ("another", 1)))
    assert rows(planned)[key][2] in ("unlabelled", "not_a_photo")
    assert planned.unmatched.num_rows == 1


class TestTwoCandidates:
    """What happens where a name could be read in two ways."""

    def test_a_row_that_is_a_key_is_that_photos_alone(self) -> None:
        planned = plan(["a.jpg", "a.jpg.webp", "x/noise.jpg", "noise"], table(("a.jpg", 5), ("noise", 6)))
        assert rows(planned) == {
            "a.jpg": ("a.jpg", 5.0, None), "a.jpg.webp": ("a.jpg", None, "unlabelled"),
            "noise": ("noise", 6.0, None), "x/noise.jpg": ("noise", None, "unlabelled"),
        }  # fmt: skip
        assert details(planned)["a.jpg.webp"] == "the label row a.jpg names the photo with just this key"

    @pytest.mark.parametrize(
        "folder", [".thumbnails", "@eaDir", "__MACOSX", ".Trash-1000", "x/.cache/y", "$RECYCLE.BIN"]
    )
    def test_a_hidden_photo_does_not_win(self, folder: str) -> None:
        planned = plan(["z/003.jpg", f"{folder}/003.jpg"], table(("003", 5)))
        assert rows(planned)["z/003.jpg"] == ("003", 5.0, None)
        assert rows(planned)[f"{folder}/003.jpg"][2] == "not_a_photo"
        assert "hidden or preview folder" in details(planned)[f"{folder}/003.jpg"]

    def test_photos_of_one_stem_are_copies_of_the_first(self) -> None:
        planned = plan(["a/1.jpg", "b/1.jpg"], table(("1", 5)))
        assert rows(planned) == {"a/1.jpg": ("1", 5.0, None), "b/1.jpg": ("1", None, "duplicate_id")}

    def test_rows_that_name_one_photo_by_key_and_by_stem_must_agree(self) -> None:
        planned = plan(["1.jpg", "2.jpg", "3.jpg"], table(("1.jpg", 5), (1, 7), ("2.jpg", 6), (2, 6), (3, 1)))
        assert rows(planned) == {
            "1.jpg": ("1.jpg", None, "label_invalid"), "2.jpg": ("2.jpg", 6.0, None), "3.jpg": ("3", 1.0, None),
        }  # fmt: skip
        assert details(planned)["1.jpg"] == "2 label rows disagree: row 2 (1.jpg) has 5.0, row 3 (1) has 7.0"
        assert planned.unmatched.num_rows == 0

    def test_rows_that_differ_in_splits_disagree(self) -> None:
        planned = plan(
            ["1.jpg", "2.jpg"],
            table(("1.jpg", 5, "train"), (1, 5, "test"), (2, 5, "test"), header="id,score,part"),
            split_column="part",
        )
        assert rows(planned)["1.jpg"][2] == "label_invalid"

    def test_unicode_forms_are_told_apart_where_both_are_there(self) -> None:
        both = plan([f"{NFC}.jpg", f"{NFD}.jpg"], table((NFC, 5), (NFD, 7)))
        assert rows(both) == {f"{NFC}.jpg": (NFC, 5.0, None), f"{NFD}.jpg": (NFD, 7.0, None)}
        one = plan([f"{NFC}.jpg", f"{NFD}.jpg"], table((NFC, 5)))
        assert rows(one) == {f"{NFC}.jpg": (NFC, 5.0, None), f"{NFD}.jpg": (NFD, None, "unlabelled")}

    def test_rows_of_two_unicode_forms_must_agree_about_one_photo(self) -> None:
        planned = plan([f"{NFC}.jpg", "b.jpg"], table((NFC, 5), (NFD, 7), ("b", 1)))
        assert rows(planned)[f"{NFC}.jpg"][2] == "label_invalid"
        assert rows(plan([f"{NFC}.jpg"], table((NFC, 5), (NFD, 5))))[f"{NFC}.jpg"] == (NFC, 5.0, None)

    def test_a_name_that_fits_two_forms_equally_is_a_reject_with_both(self) -> None:
        # two accents: written whole, apart, and half
        whole, apart, half = "éé", NFD + NFD, NFC + NFD
        planned = plan([f"{whole}.jpg", f"{apart}.jpg", "b.jpg"], table((half, 5), ("b", 1)))
        assert [rows(planned)[f"{form}.jpg"][1:] for form in (whole, apart)] == [(None, "label_invalid")] * 2
        assert whole in details(planned)[f"{apart}.jpg"]
        assert apart in details(planned)[f"{whole}.jpg"]

    def test_equal_photos_with_different_scores_are_told(self) -> None:
        same = {"a.jpg": "same", "b.jpg": "same", "c.jpg": "same"}
        planned = plan(["a.jpg", "b.jpg", "c.jpg"], table(("a", 5), ("b", 7), ("c", 5)), etags=same)
        assert rows(planned)["a.jpg"] == ("a", 5.0, None)
        assert rows(planned)["b.jpg"][2] == rows(planned)["c.jpg"][2] == "duplicate_photo"
        assert details(planned)["b.jpg"] == "same ETag and size as a.jpg, but score 7.0 here and 5.0 there"
        assert details(planned)["c.jpg"] == "same ETag and size as a.jpg"
        assert planned.contrary_copies == 1


class TestTwoColumns:
    """Several columns may name the photos; the names decide."""

    def test_the_column_that_names_photos_is_taken(self) -> None:
        data = table((0, "a", 5), (1, "b", 7), header="id,image_id,score")
        planned = plan(["a.jpg", "b.jpg"], data)
        assert rows(planned) == {"a.jpg": ("a", 5.0, None), "b.jpg": ("b", 7.0, None)}
        assert planned.label_columns == {"id": "image_id", "score": "score"}

    @pytest.mark.parametrize("header", ["key,filename,score", "id,image_id,score", "path,id,score"])
    def test_columns_that_name_different_photos_are_refused(self, header: str) -> None:
        data = table((1, 2, 5), (2, 3, 6), (3, 1, 7), header=header)
        a, b, _ = header.split(",")
        with pytest.raises(PlanError) as caught:
            plan(["1.jpg", "2.jpg", "3.jpg"], data)
        assert (
            f"{a!r} finds 3, {b!r} finds 3, and 3 rows name different ones: row 2 has '1' and '2'; set id_column"
            in str(caught.value)
        )
        planned = plan(["1.jpg", "2.jpg", "3.jpg"], data, id_column=b)
        assert {key: row[1] for key, row in rows(planned).items()} == {"1.jpg": 7.0, "2.jpg": 5.0, "3.jpg": 6.0}
        assert planned.label_columns == {"id": b, "score": "score"}

    def test_columns_that_find_photos_in_different_rows_are_refused(self) -> None:
        data = table((1, "x", 5), (2, "b", 6), header="id,image_id,score")
        with pytest.raises(PlanError, match="and no row finds one by both; set id_column"):
            plan(["1.jpg", "b.jpg"], data)

    def test_columns_that_agree_are_no_trouble_and_the_first_is_taken(self) -> None:
        data = table(("x/1.jpg", 1, 5), ("x/2.jpg", 2, 6), header="filename,id,score")
        planned = plan(["x/1.jpg", "x/2.jpg"], data)
        assert planned.label_columns["id"] == "filename"
        assert rows(planned)["x/1.jpg"] == ("x/1.jpg", 5.0, None)

    def test_of_columns_that_agree_the_one_that_finds_more_is_taken(self) -> None:
        data = table(("1.jpg", 1, 5), ("", 2, 6), header="filename,id,score")
        planned = plan(["1.jpg", "2.jpg"], data)
        assert planned.label_columns["id"] == "id"
        assert rows(planned)["2.jpg"] == ("2", 6.0, None)
