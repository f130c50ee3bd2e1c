"""The bundled sample is complete, licensed, reproducible and small."""

import csv
import hashlib
import subprocess
import sys
from collections import Counter

import pytest

from aesthetics_ops.config import load_configuration
from tests.support.paths import SAMPLES

LICENCE_TEXTS = {
    "CC BY 2.0": "CC-BY-2.0.txt",
    "CC0 1.0": "CC0-1.0.txt",
    "public domain": "scikit-image.txt",
    "Apache-2.0": "../../LICENSE",
}


@pytest.fixture(scope="module")
def attribution():
    with (SAMPLES / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def sample_files():
    return {path for folder in ("photos", "second_night") for path in (SAMPLES / folder).iterdir()}


def photo_ids():
    return {path.stem for path in (SAMPLES / "photos").iterdir() if path.suffix != ".xmp"}


def rows():
    return [line.split(" ") for line in (SAMPLES / "AVA.txt").read_text(encoding="ascii").split("\n")]


def test_every_file_has_one_attribution_row_and_every_row_a_file(attribution):
    assert Counter(SAMPLES / row["file"] for row in attribution) == Counter(sample_files())


def test_every_file_is_the_one_that_was_attributed(attribution):
    for row in attribution:
        assert hashlib.sha256((SAMPLES / row["file"]).read_bytes()).hexdigest() == row["sha256"], row["file"]


def test_every_row_names_source_author_and_a_licence_whose_text_is_here(attribution):
    for row in attribution:
        assert row["source"], row
        assert row["author"], row
        assert row["changes"], row
        assert (SAMPLES / "LICENSES" / LICENCE_TEXTS[row["licence"]]).is_file()
        assert row["author_page"] or row["licence"] != "CC BY 2.0"


def test_scores_and_awkward_photos_are_what_the_script_makes():
    command = [sys.executable, str(SAMPLES / "make_samples.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_the_score_file_has_the_form_of_avas():
    assert not (SAMPLES / "AVA.txt").read_bytes().endswith(b"\n")
    for number, row in enumerate(rows(), start=1):
        assert len(row) == 15
        assert all(value.isdecimal() for value in row)
        assert int(row[0]) == number
    assert len({row[1] for row in rows()}) == len(rows())


def test_votes_are_plausible_and_one_row_has_none():
    without_votes = 0
    for row in rows():
        counts = [int(value) for value in row[2:12]]
        if not sum(counts):
            without_votes += 1
            continue
        assert 50 <= sum(counts) <= 300
        assert 3 <= sum(rating * count for rating, count in enumerate(counts, start=1)) / sum(counts) <= 8
    assert without_votes == 1


def test_every_tag_and_challenge_of_a_row_has_a_name():
    names = {
        name: {line.split(" ")[0] for line in (SAMPLES / name).read_text(encoding="ascii").splitlines()}
        for name in ("tags.txt", "challenges.txt")
    }
    for row in rows():
        assert {row[12], row[13]} <= names["tags.txt"] | {"0"}
        assert row[14] in names["challenges.txt"]


def test_one_photo_has_no_row_one_row_no_photo_and_the_second_night_brings_a_new_photo():
    labelled = {row[1] for row in rows()}
    (new,) = (SAMPLES / "second_night").iterdir()
    assert len(photo_ids() - labelled) == 1
    assert len(labelled - photo_ids()) == 1
    assert new.stem not in photo_ids() | labelled


def test_the_sample_is_some_eighty_photos_in_less_than_9_mb():
    assert 60 <= len(photo_ids()) <= 100
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 9_000_000


def test_the_default_configuration_loads():
    (config,) = load_configuration(SAMPLES / "datasets.toml").datasets
    assert config.name == "photo_dataset"
    assert config.build.photos == "s3://aesthetics/photos/"
    assert config.airflow.aws_conn_id == "aws_default"
