"""Score files as people have them work as they are: each kind by a small sample, and how texts may be written."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.errors import LabelError
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import read_labels
from aesthetics_ops.sources.labels.layouts import LAYOUTS
from tests.support.labels import PLACES, URL, parquet, read

TEN = [0, 1, 2, 3, 5, 8, 4, 2, 1, 0]
OTHER_TEN = [2, 0, 0, 1, 0, 0, 3, 6, 7, 4]


def planned(data: bytes, keys: Sequence[str]) -> dict[str, float | None]:
    """The score that each photo gets."""
    etags = [str(number) for number in range(len(keys))]
    listing = pa.table({"key": list(keys), "size": list(range(1, len(keys) + 1)), "etag": etags})
    plan = plan_photos(listing, read(data), BuildSettings(**PLACES), converter=Converter(1, "0" * 16), parent=None)
    return dict(zip(plan.photos["key"].to_pylist(), plan.photos["label"].to_pylist(), strict=True))


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def mean(counts: Sequence[float], ratings: Sequence[float]) -> float:
    return float(np.dot(counts, ratings) / sum(counts))


def ten(counts: Sequence[float]) -> float:
    return mean(counts, range(1, 11))


def joined(*fields: Any, sign: str = ",") -> str:
    return sign.join(map(str, fields)) + "\n"


HALVES = [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
NINE, OTHER_NINE = [0, 0, 1, 2, 3, 9, 5, 3, 0], [4, 0, 0, 0, 0, 0, 0, 0, 1]
TANET = joined("image_id", *(f"score{n}" for n in range(2, 12)), "tag1", "tag2")
KONIQ = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore\n"
KONIQ_ROWS = "11.jpg,0,1,4,5,0,10,3.4,0.69,61.2\n22.jpg,9,1,0,0,0,10,1.1,0.31,5.5\n"
PARA = joined("sessionId", "imageName", "aestheticScore_mean", *(f"aestheticScore_{half:.1f}" for half in HALVES))
PHOTOS = ["11.jpg", "22.jpg"]
IN_FOLDERS = ["session1/iaa_pub1.jpg", "session2/iaa_pub1.jpg"]

# what it is, the file, the photos, their scores
KINDS: dict[str, tuple[bytes, Sequence[str], Sequence[float]]] = {
    "AVA.txt": (
        f"1 11 {' '.join(map(str, TEN))} 1 22 1396\n2 22 {' '.join(map(str, OTHER_TEN))} 0 0 7\n".encode(),
        PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "TANet's AVA": (
        (TANET + joined(11, *TEN, 5, 0) + joined(22, *OTHER_TEN, 1, 2)).encode(), PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "Kaggle's AVA": (
        (joined("image_num", *(f"vote_{n}" for n in range(1, 11)))
         + joined(11, *TEN) + joined(22, *OTHER_TEN)).encode(), PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "NIMA's JSON of counts": (
        json.dumps([{"image_id": "11", "label": TEN}, {"image_id": 22, "label": OTHER_TEN}]).encode(),
        PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "NIMA's JSON of shares": (
        json.dumps([{"image_id": "11", "label": [n / 26 for n in TEN], "score": 1},
                    {"image_id": "22", "label": [n / 23 for n in OTHER_TEN], "score": 2}], indent=1).encode(),
        PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "lists in JSON lines": (
        b"".join(json.dumps({"image_id": n, "label": counts}).encode() + b"\n"
                 for n, counts in ((11, TEN), (22, OTHER_TEN))), PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "lists in Parquet": (
        parquet(image_id=["11", "22"], label=pa.array([TEN, OTHER_TEN])), PHOTOS, [ten(TEN), ten(OTHER_TEN)]),
    "KonIQ-10k": ((KONIQ + KONIQ_ROWS).encode(), PHOTOS, [3.4, 1.1]),
    "KonIQ-10k without a header, between blanks": (KONIQ_ROWS.replace(",", " ").encode(), PHOTOS, [3.4, 1.1]),
    "KonIQ-10k without a header, between tabs": (KONIQ_ROWS.replace(",", "\t").encode(), PHOTOS, [3.4, 1.1]),
    "SPAQ": (
        b"\xef\xbb\xbfImage name,MOS,Brightness\r\n11.jpg,35.2,4\r\n22.jpg,71,5\r\n", PHOTOS, [35.2, 71]),
    "MLSP's AVA": (
        b"image_name,MOS,MOS_std,set\n11.jpg,5.5,1,training\n22.jpg,6.25,1,test\n", PHOTOS, [5.5, 6.25]),
    "TAD66K": (b"image,score\n11.jpg,5.5\n22.jpg,6.25\n", PHOTOS, [5.5, 6.25]),
    "PARA": (
        (PARA + joined("session1", "iaa_pub1.jpg", 3.5, *NINE) + joined("session2", "iaa_pub1.jpg", 1, *OTHER_NINE))
        .encode(), IN_FOLDERS, [mean(NINE, HALVES), mean(OTHER_NINE, HALVES)]),
    "PARA with short names": (
        (PARA.replace(".0", "") + joined("session1", "iaa_pub1.jpg", 3.5, *NINE)
         + joined("session2", "iaa_pub1.jpg", 1, *OTHER_NINE)).encode(),
        IN_FOLDERS, [mean(NINE, HALVES), mean(OTHER_NINE, HALVES)]),
    "PARA's means": (
        b"sessionId,imageName,semantic,aestheticScore_mean\nsession1,iaa_pub1.jpg,x,3.5\nsession2,iaa_pub1.jpg,y,1.25\n",
        IN_FOLDERS, [3.5, 1.25]),
    "PARA by person": (
        b"sessionId,imageName,userId,aestheticScore\nsession1,iaa_pub1.jpg,a,3.5\nsession2,iaa_pub1.jpg,a,1\n"
        b"session1,iaa_pub1.jpg,b,4.0\n", IN_FOLDERS, [3.75, 1]),
    "EVA": (
        b'"image_id"="user_id"="score"="difficulty"="1"="2"\n"11"="u1"="7"="3"="0"="1"\n"22"="u1"="0"="3"="0"="1"\n'
        b'"11"="u2"="10"="3"="0"="1"\n', PHOTOS, [8.5, 0]),
    "EVA without quotes": (
        b"image_id=user_id=score=vote_time\n11=u1=7=3.5\n22=u1=0=1\n11=u2=10=2\n", PHOTOS, [8.5, 0]),
    "Flickr-AES by worker": (
        b" worker, imagePair, score\nA1,11.jpg,5\nA1,22.jpg,1\nB2,11.jpg,4\n", PHOTOS, [4.5, 1]),
    "AADB": (b"11.jpg 0.65\n22.jpg -0.5\n", PHOTOS, [0.65, -0.5]),
    "names with blanks": (b" my photo.jpg 0.65\n 22.jpg 1\n", ["my photo.jpg", "22.jpg"], [0.65, 1]),
    "ILGnet": (b"11.jpg 1\r\n22.jpg 0\r\n", PHOTOS, [1, 0]),
    "Hugging Face metadata.csv": (b"file_name,text,score\n11.jpg,x,5\n22.jpg,y,6\n", PHOTOS, [5, 6]),
    "Hugging Face metadata.jsonl": (
        b'{"file_name": "11.jpg", "aesthetic_score": 5}\n{"file_name": "22.jpg", "aesthetic_score": 6}\n', PHOTOS, [5, 6]),
    "img2dataset's Parquet": (
        parquet(url=["http://a/x.jpg", "http://a/y.jpg"], key=["000000011", "000000022"], aesthetic=[5.5, 6.5],
                status=["success"] * 2), ["00000/000000011.jpg", "00000/000000022.jpg"], [5.5, 6.5]),
    "LAION's Parquet": (
        parquet(URL=["https://a.example/x/11.jpg?w=1", "https://b.example/a%20b.png"], TEXT=["x", "y"],
                AESTHETIC_SCORE=[5.5, 6.5]), ["11.jpg", "x/a b.png"], [5.5, 6.5]),
}  # fmt: skip


@pytest.mark.parametrize(("data", "keys", "scores"), KINDS.values(), ids=KINDS)
def test_a_file_of_this_kind_works_as_it_is(data: bytes, keys: Sequence[str], scores: Sequence[float | None]) -> None:
    found = planned(data, keys)
    assert [found[key] for key in keys] == [None if score is None else pytest.approx(score) for score in scores]


@pytest.mark.parametrize("kind", [kind for kind, (_, _, scores) in KINDS.items() if scores[0] == ten(TEN)])
def test_ten_counts_give_the_shares_that_avas_own_file_gives(kind: str) -> None:
    expected = read(KINDS["AVA.txt"][0])
    labels = read(KINDS[kind][0])
    assert labels.table["distribution"].to_pylist() == [
        pytest.approx(shares) for shares in expected.table["distribution"].to_pylist()
    ]
    assert (labels.has_distribution, labels.score_range) == (True, (1.0, 10.0))
    assert read(KINDS[kind][0], label_scale="unit").score_range == (1.0, 10.0)


def test_every_known_kind_has_a_sample() -> None:
    assert {read(data).layout for data, _, _ in KINDS.values()} - {None} == {layout.name for layout in LAYOUTS}


NINE_SHARES = [count / 23 for count in NINE]
DISTRIBUTIONS = [
    ("KonIQ-10k", (1, 2, 3, 4, 5), [0, 0.1, 0.4, 0.5, 0]),
    ("KonIQ-10k without a header, between blanks", (1, 2, 3, 4, 5), [0, 0.1, 0.4, 0.5, 0]),
    ("PARA", tuple(HALVES), NINE_SHARES),
    ("PARA by person", tuple(HALVES), [0, 0, 0, 0, 0, 0.5, 0.5, 0, 0]),
    ("EVA", tuple(range(11)), [0] * 7 + [0.5, 0, 0, 0.5]),
    ("Flickr-AES by worker", (1, 2, 3, 4, 5), [0, 0, 0, 0.5, 0.5]),
]


@pytest.mark.parametrize(("kind", "ratings", "shares"), DISTRIBUTIONS, ids=[kind for kind, *_ in DISTRIBUTIONS])
def test_votes_for_any_ratings_give_their_shares(kind: str, ratings: tuple[float, ...], shares: list[float]) -> None:
    labels = read(KINDS[kind][0])
    assert labels.ratings == ratings
    assert labels.table["distribution"][0].as_py() == pytest.approx(shares)
    assert labels.score_range == (min(ratings), max(ratings))


MINE = "photo,no,maybe,yes\na,1,2,1\nb,0,0,5\n"


@pytest.mark.parametrize(
    ("data", "values", "ratings", "scores"),
    [
        (MINE, {"vote_columns": "no, maybe, yes"}, (1, 2, 3), [2, 3]),
        (MINE, {"vote_columns": "no, maybe, yes", "vote_values": "-1, 0, 1"}, (-1, 0, 1), [0, 1]),
        (MINE, {"vote_columns": ("Yes", "No"), "vote_values": (10, 0)}, (10, 0), [5, 10]),
        ("id,r0,r1,r2\na,1,0,1\n", {"vote_columns": "r0..r2", "vote_values": "0,1,2"}, (0, 1, 2), [1]),
        ("a;1;0;1\n", {"id_column": "1", "vote_columns": "2..4"}, (1, 2, 3), [2]),
        ('{"id": 1, "v": [1, 3]}', {"vote_columns": "v[0], v[1]"}, (1, 2), [1.75]),
    ],
)
def test_settings_name_columns_of_votes(
    data: str, values: dict[str, Any], ratings: tuple[float, ...], scores: list[float]
) -> None:
    labels = read(data.encode(), **values)
    assert (labels.ratings, labels.table["score"].to_pylist()) == (ratings, scores)
    assert labels.has_distribution


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vote_columns": "no, yes", "vote_values": "1"}, "has 2 columns of votes, but vote_values has 1 ratings"),
        ({"vote_columns": "no"}, "has 1 columns of votes by vote_columns, and 0 ratings; name at least two, each once"),
        ({"vote_columns": "no, NO"}, "has 1 columns of votes by vote_columns"),
        (
            {"vote_columns": "no, never"},
            "has no column 'never'; its columns are 'photo', 'no', 'maybe', 'yes'; set vote_",
        ),
        ({"vote_columns": "r5..r1"}, "has no columns 'r5..r1'; write the lower number of vote_columns first"),
    ],
)
def test_settings_that_fit_no_votes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelError) as caught:
        read(MINE.encode(), **values)
    assert message in str(caught.value)


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_a_plan_has_the_shares_of_any_number_of_ratings(photos: int) -> None:
    data, keys, _ = KINDS["KonIQ-10k"]
    listing = pa.table({"key": [*keys, "z.jpg"][:photos], "size": [1, 2, 3][:photos], "etag": ["a", "b", "c"][:photos]})
    plan = plan_photos(listing, read(data), BuildSettings(**PLACES), converter=Converter(1, "0" * 16), parent=None)
    found = dict(zip(plan.photos["key"].to_pylist(), plan.photos["distribution"].to_pylist(), strict=True))
    shares = {"11.jpg": [0, 0.1, 0.4, 0.5, 0], "22.jpg": [0.9, 0.1, 0, 0, 0]}
    assert found == {key: pytest.approx(shares[key]) if key in shares else None for key in found}
    assert plan.ratings == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("TANet's AVA", {"id": "image_id", "votes": "score2 to score11"}),
        ("PARA", {"id": "sessionId/imageName", "votes": "aestheticScore_1.0 to aestheticScore_5.0"}),
        ("SPAQ", {"id": "Image name", "score": "MOS"}),
        ("MLSP's AVA", {"id": "image_name", "score": "MOS", "split": "set"}),
        ("Flickr-AES by worker", {"id": "imagePair", "score": "score"}),
    ],
)
def test_the_columns_in_use_are_told(kind: str, columns: dict[str, str]) -> None:
    assert read(KINDS[kind][0]).columns == columns


def test_the_set_that_a_kind_has_is_its_split() -> None:
    labels = read(KINDS["MLSP's AVA"][0])
    assert labels.table["split"].to_pylist() == ["train", "test"]
    listing = pa.table({"key": PHOTOS, "size": [1, 2], "etag": ["a", "b"]})
    plan = plan_photos(listing, labels, BuildSettings(**PLACES), converter=Converter(1, "0" * 16), parent=None)
    found = dict(zip(plan.photos["key"].to_pylist(), plan.photos["split"].to_pylist(), strict=True))
    assert found == {"11.jpg": "train", "22.jpg": "test"}


def test_a_set_column_makes_another_kind() -> None:
    labels = read(KINDS["KonIQ-10k"][0], score_column="MOS_zscore")
    assert labels.ratings == ()
    assert (labels.layout, labels.table["score"].to_pylist()) == (None, [61.2, 5.5])
    assert not labels.has_distribution


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        (["-1", *[2] * 9], "negative vote count"),
        ([*[2] * 9, ""], "vote count is missing"),
        ([0] * 10, "no votes"),
        ([*[2] * 9, "many"], "vote count 'many' is not a number"),
        ([*[2] * 9, "9" * 400], f"vote count '{'9' * 40}' is not a number"),
        ([*[2] * 9, "nan"], "vote count 'nan' is not a number"),
        ([*[2] * 9, "1e300"], "vote count above 2**53"),
    ],
)
def test_counts_that_make_no_sense_are_a_problem_of_their_row(counts: list[Any], problem: str) -> None:
    labels = read((TANET + joined(11, *counts, 1, 2) + joined(22, *TEN, 1, 2)).encode())
    assert labels.table["problem"].to_pylist() == [problem, None]
    assert labels.table["score"].to_pylist() == [None, pytest.approx(ten(TEN))]
    assert labels.table["distribution"].to_pylist()[0] is None


def test_a_list_of_another_length_is_a_problem_of_its_row() -> None:
    rows = [{"image_id": n, "label": counts} for n, counts in enumerate((TEN, TEN[:9], None, [*TEN, 1]))]
    labels = read(json.dumps(rows[:3]).encode())
    assert labels.table["problem"].to_pylist() == [None, "vote count is missing", "vote count is missing"]
    labels = read(parquet(image_id=[0, 1, 2, 3], label=pa.array([row["label"] for row in rows])))
    assert labels.table["problem"].to_pylist() == [None, *["vote count is missing"] * 3]


@pytest.mark.parametrize(
    ("vote", "problem"),
    [
        ("11", "row 3 has vote '11', which is not one of the 11 ratings 0 to 10"),
        ("2.5", "row 3 has vote '2.5', which is not one of the 11 ratings 0 to 10"),
        ("", "row 3 has a vote that is missing"),
        ("good", "row 3 has vote 'good', which is not one of the 11 ratings 0 to 10"),
    ],
)
def test_a_vote_that_is_no_rating_is_a_problem_of_its_photo(vote: str, problem: str) -> None:
    labels = read(f"image_id=user_id=score\n11=u1=7\n22=u1={vote}\n22=u2=4\n33=u1=2\n".encode())
    rows = labels.table.to_pylist()
    assert [(row["row"], row["name"], row["score"], row["problem"]) for row in rows] == [
        (2, "11", 7.0, None),
        (3, "22", None, problem),
        (5, "33", 2.0, None),
    ]


# which rows are kept


@pytest.mark.parametrize(
    "kind", ["AVA.txt", "TANet's AVA", "Kaggle's AVA", "lists in Parquet", "NIMA's JSON of counts"]
)
def test_photos_with_few_votes_are_excluded(kind: str) -> None:
    table = read(KINDS[kind][0], min_votes=sum(TEN)).table
    assert sum(OTHER_TEN) < sum(TEN)
    assert table["excluded"].to_pylist() == [None, f"{sum(OTHER_TEN)} votes, below min_votes {sum(TEN)}"]
    assert table["problem"].to_pylist() == [None, None]


def test_shares_have_no_number_of_votes() -> None:
    table = read(KINDS["NIMA's JSON of shares"][0], min_votes=1).table
    assert table["excluded"].to_pylist() == ["an unknown number of votes, below min_votes 1"] * 2


def test_single_votes_are_counted() -> None:
    assert read(KINDS["EVA"][0], min_votes=2).table["excluded"].to_pylist() == [None, "1 votes, below min_votes 2"]


def test_a_file_without_votes_cannot_have_few() -> None:
    with pytest.raises(
        LabelError, match="has no votes, but min_votes is 3; set vote_columns, or leave min_votes empty"
    ):
        read(b"id,score\na,1\n", min_votes=3)


def test_scores_outside_the_range_to_keep_are_excluded_and_bad_rows_stay_bad() -> None:
    data = b"id,score\na,1\nb,2\nc,3.5\nd,4\ne,bad\n"
    table = read(data, label_range="2, 3.5").table
    outside = ["score 1 is outside label_range 2 to 3.5", None, None, "score 4 is outside label_range 2 to 3.5", None]
    assert table["excluded"].to_pylist() == outside
    assert table["problem"].to_pylist() == [None] * 4 + ["score 'bad' is not a number"]
    assert read(KINDS["AVA.txt"][0], label_range=(6, 10)).table["excluded"].null_count == 1


def test_what_is_not_kept_is_a_choice_in_the_plan_and_scales_without_it() -> None:
    of = BuildSettings(**PLACES, label_range=(2, 4), label_scale="minmax")
    labels = read_labels(b"id,score\na,1\nb,2\nc,4\n", source=URL, settings=of)
    listing = pa.table({"key": ["a.jpg", "b.jpg", "c.jpg"], "size": [1, 2, 3], "etag": ["1", "2", "3"]})
    plan = plan_photos(listing, labels, of, converter=Converter(1, "0" * 16), parent=None)
    found = {row["key"]: (row["label"], row["reason"]) for row in plan.photos.to_pylist()}
    assert found == {"a.jpg": (None, "excluded"), "b.jpg": (0.0, None), "c.jpg": (1.0, None)}


# how texts are written


@pytest.mark.parametrize(
    ("data", "scores"),
    [
        (b"id;score\na;1,5\nb;2\nc;,25\n", [1.5, 2.0, 0.25]),
        (b'id,score\na,"1,5"\nb,"2,25"\n', [1.5, 2.25]),
        (b"id\tscore\na\t-1,5\nb\t2,25\n", [-1.5, 2.25]),
        (b"a.jpg;3,5\nb.jpg;2\n", [3.5, 2.0]),
        (b"id;score\na;1,5\nb;2.5\n", [None, 2.5]),  # a point says what a comma is not
    ],
)
def test_a_comma_is_a_decimal_point_where_it_can_be_nothing_else(data: bytes, scores: list[float | None]) -> None:
    assert read(data).table["score"].to_pylist() == scores


@pytest.mark.parametrize(
    ("data", "values", "names"),
    [
        (b"a.jpg,1\nb.jpg,2\n", {}, ["a.jpg", "b.jpg"]),
        (b"1.5,a.jpg\n2.5,b.jpg\n", {}, ["a.jpg", "b.jpg"]),
        (b"953619,1.5\n953620,2.5\n", {}, ["953619", "953620"]),
        (b"x,1.5,a.jpg\ny,2.5,b.jpg\n", {"id_column": "3", "score_column": "2"}, ["a.jpg", "b.jpg"]),
    ],
)
def test_a_file_may_have_no_header(data: bytes, values: dict[str, Any], names: list[str]) -> None:
    labels = read(data, **values)
    assert labels.table["name"].to_pylist() == names
    assert labels.table["row"].to_pylist() == [1, 2]
    assert "has no header; its columns were taken as" in labels.notes[0]


@pytest.mark.parametrize("data", [b"id,score,1,2\na,1,2,3\n", b",image,mos,2019\n0,a,1,2\n", b"photo,score\na,1\n"])
def test_a_line_of_names_is_a_header_though_one_is_a_number(data: bytes) -> None:
    labels = read(data)
    assert (labels.table["name"].to_pylist(), labels.table["score"].to_pylist()) == (["a"], [1.0])
    assert not labels.notes


PLAIN = "id,score\ncafé,1.5\nb,2\n"


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (zipped(PLAIN.encode()), None),
        (zipped(PLAIN[:12].encode()) + zipped(PLAIN[12:].encode()), None),
        (pa.compress(PLAIN.encode(), "zstd", asbytes=True), None),
        (PLAIN.encode("utf-16"), "is UTF-16 text"),
        (b"\xfe\xff" + PLAIN.encode("utf-16-be"), "is UTF-16 text"),
        (zipped(PLAIN.encode("utf-16")), "is UTF-16 text"),
        (PLAIN.encode("latin-1"), "is not UTF-8 text (byte 12 is 0xe9); it was read as Windows-1252: save it as UTF-8"),
        (PLAIN.encode("latin-1").replace(b"b,", b"\x81,"), "it was read as Latin-1"),
    ],
)  # fmt: skip
def test_a_text_may_be_compressed_or_of_another_encoding(data: bytes, note: str | None) -> None:
    labels = read(data)
    assert labels.table["name"].to_pylist()[0] == "café"
    assert labels.table["score"].to_pylist() == [1.5, 2.0]
    assert (note or "") in "".join(labels.notes)
    assert bool(labels.notes) == (note is not None)


ELSEWHERE = {
    "Shift-JIS": ("cp932", ["写真.jpg", "カメラ.jpg", "猫と富士山.jpg"]),
    "Shift-JIS of katakana": ("cp932", ["カメラ.jpg", "レンズ.jpg"]),
    "EUC-JP": ("euc_jp", ["写真.jpg", "カメラ.jpg"]),
    "GBK": ("gbk", ["照片.jpg", "猫咪.jpg"]),
    "Big5": ("big5", ["照片.jpg", "貓咪.jpg"]),
    "EUC-KR": ("euc_kr", ["사진.jpg", "고양이.jpg"]),
    "Windows-1251": ("cp1251", ["фото.jpg", "кошка.jpg", "я и ты.jpg"]),
    "KOI8-R": ("koi8_r", ["фото.jpg", "кошка.jpg", "я и ты.jpg"]),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
@pytest.mark.parametrize("rows", [1, 1000])
def test_a_text_of_another_script_is_refused_with_what_it_may_be(kind: str, rows: int) -> None:
    encoding, names = ELSEWHERE[kind]
    text = "id,score\n" + "".join(f"{name},{row % 9}.5\n" for row in range(rows) for name in names)
    with pytest.raises(
        LabelError, match=r"is not UTF-8 text \(byte 9 is 0x..\), and not Windows-1252 either: it may be "
    ) as caught:
        read(text.encode(encoding))
    assert kind.partition(" ")[0] in str(caught.value)
    assert str(caught.value).endswith("save it as UTF-8, or convert it: iconv -f ENCODING -t UTF-8 FILE")
    assert read(text.encode()).table["name"].to_pylist()[: len(names)] == names


WESTERN = [
    "café", "Müller", "größe", "pääsky", "yöäänet", "créée", "“Don’t” — it’s…", "©Getty", "¿Qué?", "«Le»", "10 €", "£5", "Škoda", "Žižek", "20 °C",
    "½ kg", "naïve œuvre", "Þórður", "Æðey", "São João", "ção", "ÀÉÎ", "L’Île",
]  # fmt: skip


@pytest.mark.parametrize(
    "names", [*([name] for name in WESTERN), WESTERN], ids=lambda names: names[0] if len(names) == 1 else "all"
)
def test_a_text_of_western_europe_is_read_as_windows_1252(names: list[str]) -> None:
    labels = read(("id,score\n" + "".join(f"{name},1.5\n" for name in names)).encode("cp1252"))
    assert labels.table["name"].to_pylist() == names
    assert "it was read as Windows-1252" in "".join(labels.notes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped(bytes(65 << 20)), "and more than 67108864 unpacked from gzip; unpack it yourself"),
        (zipped(PLAIN.encode())[:20], "is not readable as gzip"),
        (b"a" * (2 << 20), "has more than 1048576 bytes in its first line; give a file with one line per photo"),
        (",".join(map(str, range(150_000))).encode() + b"\na\n", "has 150000 columns; at most 10000 are read"),
        (b"id," + b"x," * 500_000 + b"score\na\n", "has 500002 columns; at most 10000 are read"),
        (b"1,2,3\n4,5,6\n", "has no header, and its first line has 3 fields: '1', '2', '3'; set id_column and score_column"),
        (TANET.encode(), "has a header but no rows"),
        (b"photo no;value\na;1,5\n", "set id_column to one of them; fields stand between semicolons, and the first row is 'a;1,5'"),
        (b"photo value\n\n a 1\n", "set score_column to one of them; fields stand between tabs or blanks, and the first row is 'a\\t1'"),
        (b"image_name,Image Name,mos\na,b,1\n", "has 2 columns named 'image_name'; rename all but one"),
        (b"image,set,mos,x\na,b\n", "has 2 fields in line 2, 'a,b', but its header has 4"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_what_was_found(data: bytes, message: str) -> None:
    with pytest.raises(LabelError) as caught:
        read(data)
    assert message in str(caught.value)


def test_a_split_that_nobody_knows_is_a_problem_of_its_row() -> None:
    labels = read(b"image_name,MOS,set\n11.jpg,5,training\n22.jpg,6,maybe\n")
    assert labels.table["problem"].to_pylist() == [None, "split 'maybe' is not one of train, validation, test"]
