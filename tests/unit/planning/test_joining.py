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
    ("a.jpg", "jpg"), ("x/a.jpg", "y/a.jpg"), ("x/a.jpg", "/a"), ("x/a.jpg", "./a"), ("a.jpg", "x/a.jpg"), ("x/a.jpg", "/a.jpg"),
    ("x/a.jpg", "y/A.png"), ("a b.jpg", "a%20b.jpg"), ("a%20b.jpg", "a b.jpg"), ("a+b.jpg", "a b"), ("a.jpg", "a.jpg?w=800"),
    ("a.jpg?w=800", "a.jpg"), ("a.jpg", "a.jpg.1"), ("frame.0001.jpg", "frame"), ("a.1", "a.2"), ("a.1", "a.jpg"),
    ("a  b.jpg", "a b.jpg"), (f"{NFC}.jpg", "e"), ("ﬁ.jpg", "fi"), (".thumbnails/a.jpg", "a"), ("x/@eaDir/a.jpg/SYNO.jpg", "SYNO"),
    ("__MACOSX/a.jpg", "a"), ("._a.jpg", "a"), (f".x/{NFD}.jpg", NFC), (".thumbnails/a.jpg", "a.JPG"), ("._a.jpg", "._A.png"),
    # numbers that are others
    ("1.5.jpg", "1.50"), ("1.jpg", "1.50"), ("1.jpg", "1.5"), ("1.jpg", "10"), ("10.jpg", "1.0e1"), ("a1.jpg", "a1.0"), ("1.jpg", "-1.0"),
    ("a007.jpg", "a7"), ("1.jpg", "01x"), ("1.jpg", "1.0.0"), ("0.jpg", ""),
    # folders that are others
    ("photos2/a.jpg", "photos/photos/photos2/b.jpg"), ("a.jpg", "myphotos/a.jpg"), ("a.jpg", "C:\\pictures\\a.jpg"), ("x/a.jpg", "photos/a.jpg"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name"), STRANGERS, ids=[f"{key}-{name}" for key, name in STRANGERS])
def test_a_name_that_is_neither_names_nothing(key: str, name: str) -> None:
    planned = plan([key, "another.jpg"], table((name, 5), ("another", 1)))
    assert rows(planned)[key][2] in ("unlabelled", "not_a_photo")
    assert planned.unmatched.num_rows == 1


# Names that no photo has, by the rule that finds the photo all the same, and whether the id is the key.
LOOSE = [
    # folders of another machine, up to the photos prefix's own
    ("a.jpg", "photos/a.jpg", "path", True), ("a.jpg", "p/photos/a.jpg", "path", True), ("a.jpg", "memory://p/photos/a.jpg", "path", True),
    ("a.jpg", "/home/me/photos/a.jpg", "path", True), ("a.jpg", "photos\\a.jpg", "path", True), ("a.jpg", "C:\\photos\\a.jpg", "path", True),
    ("a.jpg", "C:\\Users\\me\\Photos\\a.jpg", "path", True), ("x/a.jpg", "x\\a.jpg", "path", True), ("x/a.jpg", "c:/photos/x/a.jpg", "path", True),
    ("x/a.jpg", ".\\x\\a.jpg", "path", True), ("photos/a.jpg", "photos/photos/a.jpg", "path", True), ("a/b.jpg", "\\\\server\\photos\\a\\b.jpg", "path", True),
    ("photos/x/a.jpg", "D:\\photos\\photos\\x\\a.jpg", "path", True), (f"x/{NFD}.jpg", f"photos\\x\\{NFC}.jpg", "path", True),
    # in sub-folders
    ("x/a.jpg", "a.jpg", "folder", True), ("x/y/z/a.jpg", "a.jpg", "folder", True), ("x/frame.0001", "frame.0001", "folder", True),
    (f"x/{NFD}.jpg", f"{NFC}.jpg", "folder", True), ("x/a b.jpg", "a b.jpg", "folder", True),
    # upper and lower case
    ("a.jpg", "A.jpg", "case", True), ("X.JPG", "X.jpg", "case", True), ("IMG_1.jpg", "img_1", "case", False), ("x/A.JPG", "a.jpg", "case", True),
    ("X/a.jpg", "x/A.jpg", "case", True), ("x/A.jpg", "a", "case", False), ("É.jpg", "é", "case", False), (f"{NFD}.JPG", f"{NFC}.jpg", "case", True),
    ("x/a.jpg", "PHOTOS\\X\\A.JPG", "case", True), ("NOISE", "noise", "case", True), ("x/NOISE", "noise", "case", False),
    # other suffixes of photos
    ("x.jpeg", "X.jpg", "suffix", True), ("a.png", "a.jpg", "suffix", True), ("a.WEBP", "a.jpeg", "suffix", True), ("x/a.jfif", "a.jpg", "suffix", True),
    ("x/a.png", "x/a.jpg", "suffix", True), ("x/a.jpg", "x/a", "suffix", True), ("a.jpg", "/a", "suffix", True), ("a", "a.jpg", "suffix", True),
    ("x/a", "a.jpg", "suffix", True), ("x/john.smith.jpg", "X/john.smith", "suffix", True), ("john.smith.png", "john.smith.jpg", "suffix", True),
    # numbers as pandas writes them, and zeros before them
    ("123.jpg", "123.0", "number", False), ("x/123.jpg", "123.0", "number", False), ("123.jpg", "123.0.jpg", "number", True),
    ("123", "123.00", "number", True), ("x/123.jpg", "x/123.0", "number", True), ("0.jpg", "0.0", "number", False),
    ("007.jpg", "7", "zeros", False), ("7.jpg", "007", "zeros", False), ("007.jpg", "7.0", "zeros", False), ("7.jpg", "007.jpg", "zeros", True),
    ("x/007.png", "7.jpg", "zeros", True), ("x/007.jpg", "x/07", "zeros", True), ("000.jpg", "0", "zeros", False),
]  # fmt: skip


@pytest.mark.parametrize(("key", "name", "rule", "is_key"), LOOSE, ids=[f"{key}-{name}" for key, name, _, _ in LOOSE])
def test_a_name_that_is_written_otherwise_finds_its_photo_by_one_rule(
    key: str, name: str, rule: str, is_key: bool
) -> None:
    planned = plan([key, "another.jpg"], table((name, 5), ("another", 1)))
    base = key.rsplit("/", 1)[-1]
    stem = base[: base.rindex(".")] if "." in base[1:] else base
    assert rows(planned)[key] == (key if is_key else stem, 5.0, None)
    assert planned.matched_by == {"stem": 1, rule: 1}
    assert planned.unmatched.num_rows == 0


class TestLooseRules:
    """What is written otherwise is never guessed, and never goes before what is written exactly."""

    @pytest.mark.parametrize(
        ("photos", "name", "rule"),
        [
            (["x/a.jpg", "y/a.jpg"], "a.jpg", "folder"),
            (["A.jpg", "a.JPG"], "a.jpg", "case"),
            (["A.jpg", "x/a.JPG"], "a.jpg", "case"),
            (["IMG.jpg", "Img.jpg", "x/img.png"], "iMG", "case"),
            (["a.png", "a.webp"], "a.jpg", "suffix"),
            (["x/1.jpg", "y/1.jpg"], "1.0", "number"),
            (["007.jpg", "07.jpg", "7.jpg"], "0007", "zeros"),
            (["photos/a.jpg", "a.jpg"], "photos\\photos\\a.jpg", "path"),
        ],
    )
    def test_a_name_that_fits_several_photos_is_a_reject_with_its_candidates(
        self, photos: list[str], name: str, rule: str
    ) -> None:
        planned = plan([*photos, "b.png"], table((name, 5), ("b", 1)))
        said = f"the name '{name}' in the label row fits {len(photos)} photos by rule {rule}: "
        for key in photos:
            assert rows(planned)[key][1:] == (None, "label_invalid")
            assert details(planned)[key] == said + ", ".join(f"'{other}'" for other in sorted(photos))
        assert planned.matched_by == {"stem": 1, rule: 1}
        assert planned.unmatched.num_rows == 0

    def test_of_many_candidates_five_are_shown(self) -> None:
        planned = plan([*(f"{n}/a.jpg" for n in range(7)), "b.png"], table(("a.jpg", 5), ("b", 1)))
        assert "fits 7 photos" in details(planned)["0/a.jpg"]
        assert details(planned)["0/a.jpg"].endswith("'3/a.jpg', '4/a.jpg'")

    def test_an_exact_match_wins_and_the_photo_is_no_candidate_any_more(self) -> None:
        photos = ["1.jpg", "x/1.jpg", "A.jpg", "a.jpg", "07.jpg", "7.jpg", "007.jpg"]
        data = table((1, 1), ("1.0", 2), ("A.jpg", 3), ("a.JPG", 4), ("007", 5), ("7", 6), ("0007", 7))
        planned = plan(photos, data)
        assert rows(planned) == {
            "1.jpg": ("1", 1.0, None), "x/1.jpg": ("1", None, "duplicate_id"), "A.jpg": ("A.jpg", 3.0, None),
            "a.jpg": ("a.jpg", 4.0, None), "007.jpg": ("007", 5.0, None), "7.jpg": ("7", 6.0, None), "07.jpg": ("07", 7.0, None),
        }  # fmt: skip
        assert planned.unmatched["name"].to_pylist() == ["1.0"]
        assert planned.matched_by == {"key": 1, "stem": 3, "case": 1, "zeros": 1}

    def test_a_row_that_fits_exactly_is_never_matched_to_another_photo(self) -> None:
        planned = plan(["a.jpg", "x/a.jpg", "A.JPG", "b.jpg"], table(("a.jpg", 5), ("b", 1)))
        assert {key for key, row in rows(planned).items() if row[2] == "unlabelled"} == {"x/a.jpg", "A.JPG"}

    def test_an_earlier_rule_wins(self) -> None:
        planned = plan(["X.JPG", "x.jpeg", "b.jpg"], table(("X.jpg", 5), ("b", 1)))
        assert rows(planned)["X.JPG"] == ("X.JPG", 5.0, None)
        assert rows(planned)["x.jpeg"][2] == "unlabelled"

    def test_rows_that_reach_one_photo_must_agree(self) -> None:
        data = table(("a.JPG", 5), ("A.jpg", 7), ("B.jpg", 6), ("b.JPG", 6), ("c", 1))
        planned = plan(["x/a.jpg", "b.jpg", "c.jpg"], data)
        assert rows(planned)["x/a.jpg"][2] == "label_invalid"
        assert details(planned)["x/a.jpg"] == ("2 label rows disagree: row 2 (a.JPG) has 5.0, row 3 (A.jpg) has 7.0")
        assert rows(planned)["b.jpg"] == ("b.jpg", 6.0, None)
        assert planned.matched_by == {"stem": 1, "case": 4}

    def test_a_name_that_is_like_the_key_and_one_that_is_like_the_stem_must_agree_too(self) -> None:
        planned = plan(["A.jpg", "b.jpg"], table(("a.jpg", 5), ("a", 7), ("b", 1)))
        assert rows(planned)["A.jpg"] == ("A.jpg", None, "label_invalid")

    def test_a_problem_of_the_row_is_the_photos(self) -> None:
        planned = plan(["x/a.jpg", "b.jpg"], table(("a.jpg", "many"), ("b", 1)))
        assert rows(planned)["x/a.jpg"][2] == "label_invalid"
        assert "'many' is not a number" in details(planned)["x/a.jpg"]

    def test_repeated_rows_are_one_label_and_both_are_counted(self) -> None:
        planned = plan(["x/a.jpg", "b.jpg"], table(("a.jpg", 5), ("a.jpg", 5), ("b", 1)))
        assert rows(planned)["x/a.jpg"] == ("x/a.jpg", 5.0, None)
        assert planned.matched_by == {"stem": 1, "folder": 2}

    @pytest.mark.parametrize(
        ("before", "after"), [("123.0", "123"), ("0123", "123"), ("x/123.png", "x/123.jpg"), ("123.jpg", "x/123.jpg")]
    )
    def test_the_id_stays_when_the_file_is_corrected(self, before: str, after: str) -> None:
        ids = [rows(plan(["x/123.jpg", "b.jpg"], table((name, 5), ("b", 1))))["x/123.jpg"] for name in (before, after)]
        assert ids[0] == ids[1]

    def test_the_column_that_names_photos_loosely_is_taken_where_none_names_one_exactly(self) -> None:
        data = table(("none", "a.jpg", 5), ("none2", "b.jpg", 7), header="id,image_id,score")
        planned = plan(["x/a.jpg", "x/b.jpg"], data)
        assert planned.label_columns["id"] == "image_id"
        assert rows(planned)["x/b.jpg"] == ("x/b.jpg", 7.0, None)

    def test_columns_that_name_different_photos_loosely_are_refused(self) -> None:
        data = table((1, 2, 5), (2, 1, 7), header="id,image_id,score")
        with pytest.raises(
            PlanError, match=r"and 2 rows name different ones: row 2 has '001\.jpg' and '002\.jpg'; set id_column"
        ):
            plan(["001.jpg", "002.jpg"], data)


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


class TestUrls:
    """URLs name photos by their paths, and else by their last part."""

    @pytest.mark.parametrize(
        ("url", "photo"),
        [
            ("https://host/y/a.jpg", "a.jpg"),
            ("http://host/y/a.jpg?w=8&h=/b.jpg#top", "x/a.jpg"),
            ("HTTPS://host/y/my%20photo.JPG", "my photo.jpg"),
            ("https://host/y/%C3%A9.jpg", "x/é.jpg"),
            ("https://host/photos/x/a.jpg", "x/a.jpg"),
            ("https://host/y/7.jpg", "007.jpg"),
            ("https://host/y/a.jpeg", "a.png"),
        ],
    )
    @pytest.mark.parametrize("column", ["image", "path"])
    def test_a_url_finds_its_photo_whatever_its_column_is_called(self, url: str, photo: str, column: str) -> None:
        planned = plan([photo, "z/other.jpg"], table((url, 5), header=f"{column},score"))
        assert rows(planned)[photo][1] == 5.0
        assert rows(planned)["z/other.jpg"][1] is None

    def test_a_path_goes_before_the_last_part(self) -> None:
        urls = [("https://host/photos/x/a.jpg", 5), ("https://host/photos/y/a.jpg", 6)]
        planned = plan(["x/a.jpg", "y/a.jpg"], table(*urls))
        assert {key: row[1] for key, row in rows(planned).items()} == {"x/a.jpg": 5.0, "y/a.jpg": 6.0}

    def test_a_last_part_that_fits_two_photos_is_refused(self) -> None:
        planned = plan(["x/a.jpg", "y/a.jpg", "b.jpg"], table(("https://host/a.jpg", 5), ("b.jpg", 6)))
        assert "fits 2 photos by rule folder: 'x/a.jpg', 'y/a.jpg'" in details(planned)["x/a.jpg"]

    @pytest.mark.parametrize(
        "name",
        [
            "https://",
            "https://host",
            "https://host/",
            "https://host/?a.jpg",
            "https://host/%ffa.jpg",
            "https://host/%",
            "ftp://host/a.jpg",
            "y/a.jpg",
        ],
    )
    def test_what_has_no_last_part_or_is_no_url_finds_none(self, name: str) -> None:
        planned = plan(["a.jpg", "b.jpg"], table((name, 5), ("b.jpg", 6)))
        assert rows(planned)["a.jpg"][1] is None


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

    @pytest.mark.parametrize("name", ["{}.jpg", "x/{}.JPG", "x/{}.png", "s3://b/photos/x/{}.jpg"])
    def test_row_numbers_that_are_stems_do_not_win_over_names_that_are_written_otherwise(self, name: str) -> None:
        data = table(*((row, name.format((row + 1) % 3), row) for row in range(3)), header="id,filename,score")
        with pytest.raises(
            PlanError, match=r"'filename' finds 3, 'id' finds 3, and 3 rows name different ones: row 2 has 'x/1.jpg' "
        ):
            plan(["x/0.jpg", "x/1.jpg", "x/2.jpg"], data)

    def test_a_few_names_that_fit_loosely_do_not_matter(self) -> None:
        data = table(("1.jpg", 2, 5), ("none", 1, 6), ("none", 3, 7), header="filename,id,score")
        assert rows(plan(["x/1.jpg", "x/2.jpg", "x/3.jpg"], data))["x/2.jpg"] == ("2", 5.0, None)

    def test_row_numbers_that_are_written_otherwise_do_not_matter(self) -> None:
        data = table((1, "002.jpg", 5), (2, "001.jpg", 7), header="id,filename,score")
        assert rows(plan(["001.jpg", "002.jpg"], data))["001.jpg"] == ("001.jpg", 7.0, None)

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


class TestNothingMatched:
    """The message of a plan without a match names the setting that comes nearest."""

    @pytest.mark.parametrize(
        ("photos", "names", "template"),
        [
            (["img_7.jpg", "img_8.jpg"], ["7", "8"], "img_{id}.jpg"),
            (["x/img_007.jpg", "y/img_010.jpg", "z/img_123.png"], ["7", "10", "99"], "img_{id:03d}.jpg"),
            (["{7}_a.jpg", "{8}_a.jpg"], ["7", "8"], "{{{id}}}_a.jpg"),
            (["cat_a.jpg"], ["cat"], "{id}_a.jpg"),
        ],
    )
    def test_text_around_names_is_a_template_that_works(
        self, photos: list[str], names: list[str], template: str
    ) -> None:
        data = table(*((name, number) for number, name in enumerate(names)))
        with pytest.raises(PlanError) as caught:
            plan(photos, data)
        assert str(caught.value).endswith(f'set key_template to "{template}"')
        assert f"the first photo is {min(photos)!r}, the first label {min(names)!r}; " in str(caught.value)
        assert "\n" not in str(caught.value)
        planned = plan(photos, data, key_template=template)
        assert {key for key, row in rows(planned).items() if row[2] is None} >= {min(photos)}

    def test_other_folders_are_named(self) -> None:
        with pytest.raises(PlanError, match=r"label 'y/a.jpg' and photo 'x/a.jpg' differ in their folders: set photos"):
            plan(["x/a.jpg"], table(("y/a.jpg", 5)))

    @pytest.mark.parametrize(
        ("changes", "end"),
        [
            ({"label_range": (8, 9)}, "score 5 is outside label_range 8 to 9: change the setting that leaves them out"),
            ({"max_photo_bytes": 1}, "over max_photo_bytes 1: raise max_photo_bytes"),
        ],
    )
    def test_photos_that_a_setting_leaves_out_are_no_strangers(self, changes: dict[str, Any], end: str) -> None:
        with pytest.raises(PlanError, match=r"for example row 2 \('a'\): ") as caught:
            plan(["a.jpg"], table(("a", 5)), **changes)
        assert str(caught.value).endswith(end)

    def test_strangers_are_told_of_the_columns(self) -> None:
        with pytest.raises(PlanError, match="set id_column to the column that names the photos, or key_template"):
            plan(["a.jpg", "b.jpg"], table(("u", 5), ("v", 6)))
