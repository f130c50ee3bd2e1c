"""The plan stage on real folders: what it reads beside the photos, and what it says."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aesthetics_ops.builds import BuildPlan, open_build
from aesthetics_ops.errors import SettingsError, StoreRefusedError
from aesthetics_ops.planning.stage import plan_build
from aesthetics_ops.settings import BuildSettings

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
    assert caplog.messages == [
        "planned 1 of 3 photos in 1 shards, 1 of them to build or check; of 2 label rows (csv) 1 name no photo"
    ]


def test_settings_that_contradict_the_declared_format_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exclude_tags needs AVA scores"):
        plan(tmp_path, "id,score\n11,5\n", label_format="csv", exclude_tags="Nude")
    assert not (tmp_path / "dataset" / "builds").exists()
