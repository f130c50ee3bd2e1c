"""The registry of label formats: one is added from outside, and settings that contradict a format are refused."""

from typing import Any

import pyarrow as pa
import pytest

from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.errors import LabelError, SettingsError
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import (
    LabelFile,
    LabelFormat,
    LabelRows,
    check_label_settings,
    label_formats,
    read_labels,
    register_label_format,
    registry,
)


def settings(**values: Any) -> BuildSettings:
    urls = {"photos": "memory://p/photos/", "labels": "memory://p/scores.txt", "dataset": "memory://p/dataset/"}
    return BuildSettings(**urls, **values)


def read_pairs(file: LabelFile) -> LabelRows:
    """Lines of `name=score`; names in skip.txt, one per line, are excluded."""
    names, scores = zip(*(line.split("=") for line in file.data[file.start :].decode().split()), strict=True)
    skipped = (file.beside("skip.txt") or b"").decode().split()
    return LabelRows(
        pa.array(range(1, len(names) + 1)),
        pa.array(names),
        pa.array(scores),
        excluded=pa.array([f"{name} is in skip.txt" if name in skipped else None for name in names], pa.string()),
    )


PAIRS = LabelFormat(
    name="pairs",
    title="pairs",
    recognises=lambda file: b"=" in file.data.splitlines()[0],
    read=read_pairs,
    default_range=(0.0, 5.0),
)
PHOTOS = pa.table({"key": ["a.jpg", "b.jpg", "c.jpg"], "size": [10, 11, 12], "etag": ["1", "2", "3"]})


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry with one format more, until the test is over."""
    monkeypatch.setattr(registry, "_registered", list(label_formats()))
    register_label_format(PAIRS)


def read(data: bytes, **values: Any) -> Any:
    return read_labels(data, source="memory://p/scores.txt", settings=settings(**values))


@pytest.mark.usefixtures("pairs")
class TestAddedFromOutside:
    """A format that the package does not know."""

    def test_a_plan_is_made_from_it(self) -> None:
        of = settings(label_scale="unit")
        labels = read_labels(b"a=1\nb=9\nc=4\n", source=of.labels, settings=of, beside={"skip.txt": b"c\n"}.get)
        plan = plan_photos(PHOTOS, labels, of, converter=Converter(1, "0" * 16), parent=None)
        rows = {row["key"]: (row["label"], row["reason"], row["detail"]) for row in plan.photos.to_pylist()}
        assert rows["a.jpg"] == (pytest.approx(0.2), None, None)
        assert rows["b.jpg"] == (None, "label_invalid", "score 9 is above label_max 5.0")
        assert rows["c.jpg"] == (None, "excluded", "c is in skip.txt")
        assert (labels.format, plan.label_range) == ("pairs", (0.0, 5.0))

    def test_it_can_be_declared_and_is_told_from_the_others(self) -> None:
        check_label_settings(settings(label_format="pairs"))
        assert read(b"a=1", label_format="pairs").format == "pairs"
        with pytest.raises(
            LabelError, match="looks like pairs, but label_format is 'csv'; set label_format to auto or"
        ):
            read(b"a=1", label_format="csv")
        with pytest.raises(LabelError, match="looks like csv, but label_format is 'pairs'"):
            read(b"id,score\na,1\n", label_format="pairs")

    def test_settings_of_other_formats_are_refused(self) -> None:
        with pytest.raises(LabelError, match="is pairs, which have no columns, but id_column is 'x'; leave id_column"):
            read(b"a=1", id_column="x")
        with pytest.raises(LabelError, match="is pairs, but exclude_tags needs AVA scores; leave exclude_tags empty"):
            read(b"a=1", exclude_tags=("Nude",))

    @pytest.mark.parametrize("name", ["pairs", "csv", "auto"])
    def test_a_name_is_given_once(self, name: str) -> None:
        again = LabelFormat(name=name, title="x", recognises=PAIRS.recognises, read=read_pairs)
        with pytest.raises(SettingsError, match=f"there is a label format '{name}' already"):
            register_label_format(again)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"label_format": "pairs"},
            "label_format is 'pairs', but the formats are ava, csv, json, jsonl, parquet, xlsx; set",
        ),
        ({"label_format": "jsonl", "exclude_challenges": ("1",)}, "is jsonl, but exclude_challenges needs AVA scores"),
        (
            {"label_format": "ava", "split_column": "set"},
            "AVA scores, which have no columns, but split_column is 'set'",
        ),
    ],
)
def test_settings_that_contradict_the_declared_format_are_refused_before_any_file(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        check_label_settings(settings(**values))
    assert message in str(caught.value)


def test_settings_that_a_format_can_satisfy_pass() -> None:
    check_label_settings(settings(exclude_tags=("Nude",), label_scale="unit"))
    check_label_settings(settings(label_format="ava", exclude_tags=("Nude",), label_scale="unit"))
    check_label_settings(settings(label_format="csv", label_min=0, label_max=1, label_scale="unit", id_column="x"))


def test_the_form_offers_formats_that_there_are() -> None:
    offered = BuildSettings.model_fields["label_format"].examples or []
    assert set(offered) <= {"auto", *(known.name for known in label_formats())}
    assert offered[0] == BuildSettings.model_fields["label_format"].default


@pytest.mark.parametrize("data", [b"id,score\na,1\n", b"1 5 0 1 5 17 38 36 15 6 5 1 1 22 1396\n"], ids=["csv", "ava"])
def test_nothing_beside_the_file_is_read_without_need(data: bytes) -> None:
    def beside(name: str) -> bytes | None:
        raise AssertionError(f"{name} was read")

    labels = read_labels(data, source="memory://p/scores", settings=settings(), beside=beside)
    assert labels.table.num_rows == 1
