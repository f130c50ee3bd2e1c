"""Settings: one definition, and messages that name everything that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from aesthetics_ops.config import load_configuration
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.report.words import setting_field
from aesthetics_ops.settings import BuildSettings, form_fields, parse_settings

URLS = {"photos": "s3://b/photos", "labels": "s3://b/AVA.txt", "dataset": "s3://b/out"}


def parse(**values: Any) -> BuildSettings:
    return parse_settings(URLS | values, where="test")


def test_prefixes_end_with_a_slash_and_defaults_are_the_documented_ones() -> None:
    settings = parse()
    assert (settings.photos, settings.dataset) == ("s3://b/photos/", "s3://b/out/")
    assert (settings.encoding, settings.quality, settings.shard_bytes) == ("keep", 95, 128 << 20)
    assert (settings.max_reject_fraction, settings.max_shrink_fraction) == (0.05, 0.1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"quality": 101}, "quality is 101, but input should be less than or equal to 100"),
        ({"quality": "high"}, "quality is 'high'"),
        ({"qualty": 90}, "'qualty' is not a setting; the settings are dataset, encoding"),
        (
            {"photos": "local/photos"},
            "photos: 'local/photos' is a relative path; write an absolute path such as '/data/photos', or a URL",
        ),
        ({"labels": ""}, "labels: '' is nothing; write an absolute path"),
        ({"dataset": "s3:/b/out"}, "dataset: 's3:/b/out' lacks a slash; write 's3://b/out'"),
        ({"photos": "s3://"}, "photos: 's3://' names nothing; write a URL such as"),
        ({"encoding": "webp"}, "'keep' or 'reencode'"),
        ({"max_reject_fraction": 1.5}, "max_reject_fraction is 1.5"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"label_min": 10, "label_max": 1}, "label_min 10.0 must be below label_max 1.0"),
        ({"dataset": "s3://b/photos/out"}, "lies inside photos"),
        ({"dataset": "s3://b/"}, "lies inside dataset"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse(**values)
    assert words in str(raised.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        parse_settings({"photos": "s3://b/p/", "quality": 0, "typo": 1}, where="flags")
    message = str(raised.value)
    assert message.startswith("flags: ")
    assert all(word in message for word in ("labels is missing", "dataset is missing", "quality is 0", "'typo'"))


def test_empty_form_fields_mean_not_set() -> None:
    settings = parse(id_column="", max_side_px="", label_min="", exclude_tags="")
    assert (settings.id_column, settings.max_side_px, settings.label_min, settings.exclude_tags) == (
        None,
        None,
        None,
        (),
    )


def test_lists_come_from_lines_or_commas() -> None:
    assert parse(exclude_tags="Nude, Film*\nPortrait").exclude_tags == ("Nude", "Film*", "Portrait")


def test_the_digest_moves_with_content_and_not_with_places_gates_or_task_sizes() -> None:
    digest = parse().digest
    for name, value in {
        "photos": "s3://other/p/",
        "partition_bytes": 5,
        "min_records": 7,
        "max_unmatched_fraction": 0.5,
        "reshuffle": True,
    }.items():
        assert parse(**{name: value}).digest == digest, name
    gates = [name for name in BuildSettings.model_fields if setting_field(name)[0] == "Gates"]
    assert len(gates) >= 12
    for name in gates:
        assert parse(**{name: getattr(parse(), name) / 2 if name != "min_records" else 7}).digest == digest, name
    for name, value in {
        "quality": 90,
        "seed": 1,
        "label_scale": "minmax",
        "split_salt": "x",
        "shard_bytes": 4096,
    }.items():
        assert parse(**{name: value}).digest != digest, name


def test_votes_stand_in_digests_only_where_they_are_set() -> None:
    voted = parse(vote_columns="a, b", vote_values="1, 2.5")
    assert (voted.vote_columns, voted.vote_values, voted.recipe) == (("a", "b"), (1.0, 2.5), parse().recipe)
    assert "vote_columns" not in json.dumps(parse().recipe)
    assert voted.digest not in (parse().digest, parse(vote_columns="a, b").digest)
    kept = parse(label_range="1, 2.5", min_votes="3")
    assert (kept.label_range, kept.min_votes, kept.recipe) == ((1.0, 2.5), 3, parse().recipe)
    assert kept.digest != parse().digest == parse(label_range="", min_votes="").digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_range": "1"}, "label_range is 1; give the lowest and the highest score"),
        ({"label_range": "3, 2"}, "label_range is 3, 2; give"),
        ({"min_votes": "0"}, "min_votes"),
        ({"vote_values": "1,2"}, "vote_values has 2 ratings, but vote_columns is empty"),
        ({"vote_columns": "a,b", "score_column": "x"}, "score_column is 'x', but vote_columns make the score"),
        ({"vote_columns": "a,b", "vote_values": "1,1"}, "vote_values has a rating twice"),
        ({"vote_columns": "a,b", "vote_values": "1,nan"}, "or one that is not finite"),
        ({"vote_columns": "a,b", "vote_values": "1,two"}, "vote_values"),
    ],
)
def test_votes_that_contradict_one_another_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(**values)


def test_progressive_stands_in_recipes_and_digests_only_where_it_may_change_a_byte() -> None:
    plain = parse()
    before = {"encoding": "keep", "quality": 95, "max_side_px": None, "max_pixels": 120_000_000}
    assert plain.recipe == parse(progressive="keep").recipe == before
    assert parse(progressive="baseline").recipe == before | {"progressive": "baseline"}
    anew = parse(encoding="reencode", progressive="baseline")
    assert anew.recipe == before | {"encoding": "reencode"}
    assert anew.digest == parse(encoding="reencode").digest
    assert parse(progressive="baseline").digest != plain.digest
    with pytest.raises(SettingsError, match="progressive is 'lossless'"):
        parse(progressive="lossless")


def test_a_form_field_of_an_optional_setting_allows_null_and_keeps_its_limits() -> None:
    value, schema = form_fields(parse(max_side_px=512))["max_side_px"]
    assert value == 512
    assert (schema["type"], schema["minimum"], schema["title"]) == (["integer", "null"], 16, "Longest side, px")
    assert "anyOf" not in schema


def test_a_missing_configuration_file_is_named_with_the_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml.*AESTHETICS_CONFIG"):
        load_configuration(tmp_path / "absent.toml")
