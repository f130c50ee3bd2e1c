"""The plan stage on real folders: what it reads beside the photos, and what it says."""

import logging
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from aesthetics_ops.builds import BuildPlan, open_build
from aesthetics_ops.errors import LabelError, PlanError, SettingsError, StoreRefusedError
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.stores import WrappedStore

AVA = "1 11 0 1 5 17 38 36 15 6 5 1 22 0 1396\n"


def plan(folder: Path, scores: str, **values: object) -> BuildPlan:
    """Plan three photos, 11.jpg, 12.jpg and x.xmp, with a score file; no photo is ever read."""
    (folder / "photos").mkdir()
    for name in ("11.jpg", "12.jpg", "x.xmp"):
        (folder / "photos" / name).write_text(name)
    (folder / "scores.txt").write_text(scores)
    (folder / "tags.txt").symlink_to("tags.txt")  # a link to itself, which nobody can read
    settings = BuildSettings.model_validate(
        {
            "photos": (folder / "photos").as_uri(),
            "labels": (folder / "scores.txt").as_uri(),
            "dataset": (folder / "dataset").as_uri(),
        }
        | values
    )
    return plan_build(open_build(settings, "b1"), created_at=datetime(2026, 1, 1, 2, tzinfo=UTC), partitions=1)


@pytest.mark.parametrize("scores", ["id,score\n11,5\n12,6\n", AVA], ids=["csv", "ava"])
def test_a_tags_file_that_cannot_be_read_matters_only_where_tags_are_excluded(tmp_path: Path, scores: str) -> None:
    assert plan(tmp_path, scores).listed == 3


def test_a_tags_file_that_cannot_be_read_is_named_where_tags_are_excluded(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match=r"tags\.txt' cannot be used"):
        plan(tmp_path, AVA, exclude_tags="Nude")


def test_a_plan_says_in_one_line_what_it_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="aesthetics_ops.planning"):
        plan(tmp_path, "id,score\n11,5\n99,6\n")
    assert caplog.messages[-1:] == [
        "planned 1 of 3 photos in 1 shards, 1 of them to build or check; of 2 label rows "
        "(csv, id in 'id', score in 'score') 1 name no photo; matched: 1 by stem",
    ]


def test_settings_that_contradict_the_declared_format_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exclude_tags needs AVA scores"):
        plan(tmp_path, "id,score\n11,5\n", label_format="csv", exclude_tags="Nude")
    assert not (tmp_path / "dataset" / "builds").exists()


def test_scores_of_which_half_name_no_photo_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan(tmp_path, "id,score\n11,5\n99,6\n")
    (warning,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.startswith(
        "1 of 2 label rows name no photo, such as ['99']; photos without a label row are such as ['12.jpg']"
    )


def test_where_every_photo_has_its_row_the_warning_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan(tmp_path, "id,score\n11,5\n12,6\n96,4\n97,6\n98,6\n99,6\n")
    (warning,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert "name no photo, such as ['96', '97', '98']; every photo has a label row; a name must be" in warning
    assert "[]" not in warning


def test_a_plan_notes_the_columns_that_it_used(tmp_path: Path) -> None:
    planned = plan(tmp_path, "id,image_id,mos,set\n0,11,5,train\n1,12,6,test\n", split_column="set")
    assert planned.label_columns == {"id": "image_id", "score": "mos", "split": "set"}


def several(folder: Path, **files: str) -> str:
    (folder / "several" / "below").mkdir(parents=True)
    for name, text in files.items():
        (folder / "several" / f"{name}.csv").write_text(text)
    (folder / "several" / "notes.md").write_text("no scores")
    (folder / "several" / "below" / "c.csv").write_text("id,score\n12,9\n")
    return (folder / "several").as_uri()


def test_a_folder_without_its_slash_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"several' is a folder; name a file in it, such as .* or end it with a slash"):
        plan(tmp_path, "", labels=several(tmp_path, a="id,score\n11,5\n"))


@pytest.mark.parametrize(("meant", "rows"), [("/", 3), ("/*.csv", 3), ("/t*.csv", 2), ("/train.csv", 1)])
def test_a_folder_or_a_pattern_stands_for_several_files(tmp_path: Path, meant: str, rows: int) -> None:
    url = several(tmp_path, train="id,score\n11,5\n", test="id,score\n12,5\n", val="id,score\n13,5\n") + meant
    planned = plan(tmp_path, "", labels=url)
    assert planned.label_rows == rows
    assert planned.names_splits == (rows > 1)


def test_files_that_disagree_about_a_photo_make_its_label_invalid(tmp_path: Path) -> None:
    url = several(tmp_path, a="id,score\n11,5\n", b="id,score\n11,6\n") + "/"
    with pytest.raises(PlanError, match=r"2 label rows disagree: row 2 has 5.0, row 4 has 6.0"):
        plan(tmp_path, "", labels=url)


@pytest.mark.parametrize(
    ("meant", "message"),
    [
        ("/x*.csv", r"no score file is meant by .*x\*.csv'; there are 'a.csv', 'notes.md'; name one"),
        ("/below/x/", "no score file is meant by .*; nothing lies there"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused(tmp_path: Path, meant: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        plan(tmp_path, "", labels=several(tmp_path, a="id,score\n11,5\n") + meant)


def test_another_file_is_another_etag(tmp_path: Path) -> None:
    etags = set()
    for number, text in enumerate(("5", "5", "6")):
        folder = tmp_path / str(number)
        folder.mkdir()
        url = several(folder, a="id,score\n11,5\n", b=f"id,score\n12,{text}\n") + "/"
        etags.add(plan(folder, "", labels=url).labels_etag)
    assert len(etags) >= 2


def test_scores_that_are_all_invalid_are_shown_with_their_reason(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        plan(tmp_path, "id,score\n12,bad\n11,\n")
    assert (
        "1 not_a_photo; for example row 2 ('12'): score 'bad' is not a number; row 3 ('11'): score is missing: correct"
        in str(caught.value)
    )


def test_the_score_file_is_read_where_its_folder_may_not_be_listed(tmp_path: Path) -> None:
    class Unlisted(type(open_store("memory://x/"))):  # type: ignore[misc]
        """Like a bucket policy that allows GetObject and nothing else."""

        def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
            raise StoreRefusedError("not allowed")

        check = list

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "11.jpg").write_text("x")
    store = open_store("memory://closed/")
    store.put("scores.csv", b"id,score\n11,5\n")
    store.__class__ = Unlisted
    settings = BuildSettings(
        photos=(tmp_path / "photos").as_uri(), labels="memory://closed/scores.csv", dataset=(tmp_path / "d").as_uri()
    )
    build = replace(open_build(settings, "b1"), labels=(store,))
    assert plan_build(build, created_at=datetime(2026, 1, 1, 2, tzinfo=UTC), partitions=1).shards == 1
    absent = replace(build, settings=settings.model_copy(update={"labels": "memory://closed/absent.csv"}))
    with pytest.raises(LabelError, match="does not exist"):
        plan_build(absent, created_at=datetime(2026, 1, 1, 2, tzinfo=UTC), partitions=1)


@pytest.mark.parametrize("name", ["MOS and Image attribute scores.csv", "100%.csv", "a%20b.csv", "é#1?.csv", "scores"])
@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_score_file_may_be_called_anything(tmp_path: Path, name: str, scheme: str) -> None:
    text = "id,score\n11,5\n"
    if scheme == "file":
        (tmp_path / "My Scores").mkdir()
        file = tmp_path / "My Scores" / name
        file.write_text(text)
        urls = {file.as_uri()} | ({f"file://{file}"} if "%" not in name else set())
    else:
        open_store("memory://named/My Scores/").put(name, text.encode())
        urls = {f"memory://named/My Scores/{name}"}
    for number, url in enumerate(sorted(urls)):
        (tmp_path / str(number)).mkdir()
        assert plan(tmp_path / str(number), text, labels=url).label_rows == 1


class NotingStore(WrappedStore):
    """A store that notes which folder its listing may use."""

    folder: Path | None = None

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        self.folder = scratch
        return super().list(prefix, scratch=scratch)


def test_the_listing_may_use_the_scratch_of_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "11.jpg").write_text("x")
    (tmp_path / "scores.csv").write_text("id,score\n11,5\n")
    settings = BuildSettings(
        photos=(tmp_path / "photos").as_uri(),
        labels=(tmp_path / "scores.csv").as_uri(),
        dataset=(tmp_path / "dataset").as_uri(),
    )
    build = open_build(settings, "b1")
    photos = NotingStore(build.photos)
    plan_build(replace(build, photos=photos), created_at=datetime(2026, 1, 1, 2, tzinfo=UTC), partitions=1)
    assert photos.folder is not None
    assert photos.folder.parent == tmp_path / "scratch"
    assert not list((tmp_path / "scratch").iterdir())
