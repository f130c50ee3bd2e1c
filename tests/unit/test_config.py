"""The TOML file of scheduled builds: tables that would write into each other's prefixes are refused."""

import re
from pathlib import Path

import pytest

from aesthetics_ops.config import PARTITIONS_VARIABLE, DatasetConfig, load_configuration, mapped_tasks
from aesthetics_ops.errors import SettingsError

TABLE = '[{name}]\nphotos = "{photos}"\nlabels = "s3://b/scores.csv"\ndataset = "{dataset}"\n'


def written(tmp_path: Path, *tables: tuple[str, str, str]) -> Path:
    path = tmp_path / "datasets.toml"
    path.write_text(
        "\n".join(TABLE.format(name=name, photos=photos, dataset=dataset) for name, photos, dataset in tables)
    )
    return path


@pytest.mark.parametrize(
    ("cats", "dogs"),
    [
        ("s3://b/sets/all/", "s3://b/sets/all/"),
        ("s3://b/sets/all", "s3://b/sets/all//"),
        ("s3://b/sets/", "s3://b/sets/dogs/"),
        ("s3://b/sets/cats/old/", "s3://b/sets/cats"),
        ("s3://b/", "s3://b/sets/"),
        ("file:///data/sets", "file://localhost/data/sets/"),
        ("file:///data/my%20sets/", "file:///data/./my%20sets/dogs/"),
        ("file:///data/sets/cats/../dogs", "file:///data//sets/dogs/"),
        ("file:///data/%73ets/", "file:///data/sets/"),
        ("gs://b/sets/", "gs://b/sets/x/"),
    ],
)
def test_datasets_that_are_one_or_nested_are_refused_with_both_names(tmp_path: Path, cats: str, dogs: str) -> None:
    path = written(tmp_path, ("cats", "s3://raw/cats/", cats), ("dogs", "s3://raw/dogs/", dogs))
    found = load_configuration(path)
    assert (found.datasets, [table.name for table in found.faulty]) == ((), ["cats", "dogs"])
    for table in found.faulty:
        assert re.fullmatch(r"tables \[cats\] and \[dogs\] of '.*' share a prefix: .*prefix of its own", table.problem)


@pytest.mark.parametrize(
    ("photos", "dataset", "others"),
    [
        ("s3://b/photos/", "s3://c/cats/", "s3://b/photos/dogs/"),
        ("s3://b/photos", "s3://c/cats", "s3://b/photos"),
        ("s3://b/sets/dogs/raw/", "s3://c/cats/", "s3://b/sets/dogs/"),
        ("file:///data/photos/", "s3://c/cats/", "file://localhost/data/./photos/dogs"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_dataset_inside_another_tables_photos_or_around_them_is_refused(
    tmp_path: Path, photos: str, dataset: str, others: str, is_first: bool
) -> None:
    tables = [("cats", photos, dataset), ("dogs", "s3://d/dogs/", others)]
    found = load_configuration(written(tmp_path, *(tables if is_first else tables[::-1])))
    assert {table.name for table in found.faulty} == {"cats", "dogs"}
    for table in found.faulty:
        assert re.search(r"dataset '.*' of \[dogs\] and photos '.*' of \[cats\] are equal or one lies", table.problem)


def test_names_that_only_begin_alike_and_shared_photos_are_fine(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ("cats", "s3://b/photos/", "s3://b/sets/cats"),
        ("more", "s3://b/photos/", "s3://b/sets/cats2"),
        ("files", "file:///data/photos", "file:///data/photos2"),
        ("other", "file:///data/photos", "gs://b/sets/cats"),
    )
    assert [config.name for config in load_configuration(path).datasets] == ["cats", "more", "files", "other"]


GOOD = TABLE.format(name="good", photos="s3://b/good/", dataset="s3://b/sets/good/")


@pytest.mark.parametrize(
    ("table", "dag_id", "problem"),
    [
        ('[bad]\nphotos = "s3://b/bad/"', "bad", r"table \[bad\] of '.*': labels is missing; .*"),
        (TABLE.format(name="bad", photos="x", dataset="s3://b/bad/"), "bad", r".*photos: 'x' is a relative path; .*"),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/") + "qualty = 3",
            "bad",
            ".*'qualty' is not a setting.*",
        ),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/") + "[bad.airflow]\nretires = 3",
            "bad",
            r"table \[bad\] of '.*', airflow: 'retires' is not a setting.*",
        ),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/")
            + '[bad.airflow]\ntimezone = "Mars/Utopia"',
            "bad",
            r".*airflow: timezone is 'Mars/Utopia', which the IANA database does not have; write one such as Europe/Berlin",
        ),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/")
            + '[bad.airflow]\nschedule = "@daily"\nrun_on = ["s3://b/l.csv"]',
            "bad",
            r".*airflow: schedule and run_on are both set; .*leave one out",
        ),
        *(
            (
                TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/") + f"[bad.airflow]\n{line}",
                "bad",
                f".*{problem}",
            )
            for line, problem in (
                ("retries = true", "retries is true, but must be a number"),
                ("alarm_after_h = false", "alarm_after_h is false, but must be a number"),
                ("run_timeout_h = inf", "run_timeout_h is inf, but input should be less than or equal to 8760"),
                ("task_timeout_h = 1e300", "task_timeout_h is 1e.300, but input should be less than or equal to 8760"),
                ('tags = "a"', "tags is 'a', but input should be a list"),
                ("executor_config = []", r"executor_config is \[\], but input should be a table"),
            )
        ),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/") + "quality = true",
            "bad",
            ".*quality is true, but must be a number",
        ),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/") + "[bad.airflow]\nanswer_within_h = 3",
            "bad",
            ".*answer_within_h is 3, but nobody is asked; set ask_on_refusal to true, or leave it out",
        ),
        (
            TABLE.format(name="bad", photos="s3://b/p/", dataset="s3://b/bad/")
            + "[bad.airflow]\nask_on_refusal = true\nrun_timeout_h = 6",
            "bad",
            ".*run_timeout_h is 6, and a person may take 12 hours of it to answer.*",
        ),
        (
            TABLE.format(name='"my photos"', photos="s3://b/p/", dataset="s3://b/bad/"),
            "my_photos",
            r"table \['my photos'\] .* cannot name a DAG: .*its dataset stays the same",
        ),
        (
            TABLE.format(name='"bär/../x"', photos="s3://b/p/", dataset="s3://b/bad/"),
            "b_r_.._x",
            ".* cannot name a DAG.*",
        ),
        (TABLE.format(name='"!!"', photos="s3://b/p/", dataset="s3://b/bad/"), "__", ".* cannot name a DAG.*"),
        (TABLE.format(name='".."', photos="s3://b/p/", dataset="s3://b/bad/"), "table", ".* cannot name a DAG.*"),
        (TABLE.format(name='"good!"', photos="s3://b/p/", dataset="s3://b/bad/"), "good_", ".* cannot name a DAG.*"),
        (
            TABLE.format(name="a.b", photos="s3://b/p/", dataset="s3://b/bad/"),
            "a",
            r'.* has a table \[a.b\] inside it: .* write \[a_b\], or with quotes \["a.b"\]; only \[a.airflow\] and \[a.training\] belong in here',
        ),
        ("bad = 3", "bad", "'bad' in configuration file '.*' is not a table; write .bad."),
    ],
    ids=lambda text: text.splitlines()[0][:30],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_table_that_is_wrong_hides_no_other_and_says_what_is_wrong(
    tmp_path: Path, table: str, dag_id: str, problem: str, is_first: bool
) -> None:
    is_first |= not table.startswith("[")  # a value after a table would be the table's
    path = tmp_path / "datasets.toml"
    path.write_text("\n".join([table, GOOD] if is_first else [GOOD, table]), encoding="utf-8")
    found = load_configuration(path)
    assert [config.name for config in found.datasets] == ["good"]
    (faulty,) = found.faulty
    assert faulty.dag_id == dag_id
    assert re.fullmatch(problem, faulty.problem), faulty.problem


def test_dags_of_wrong_tables_have_ids_of_their_own(tmp_path: Path) -> None:
    names = ['"a b"', '"a/b"', "a_b", '"a b "', '"a_b_2"']
    path = written(tmp_path, *((name, f"s3://b/p{n}/", f"s3://b/d{n}/") for n, name in enumerate(names)))
    found = load_configuration(path)
    assert [config.name for config in found.datasets] == ["a_b", "a_b_2"]
    assert [table.dag_id for table in found.faulty] == ["a_b_3", "a_b_4", "a_b_"]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "datasets.toml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert [config.name for config in load_configuration(path).datasets] == ["good"]


@pytest.mark.parametrize(("text", "number"), [(None, 8), ("", 8), (" ", 8), ("1", 1), (" 12 ", 12), ("1024", 1024)])
def test_the_variable_says_how_many_mapped_tasks_there_are(
    text: str | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PARTITIONS_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(PARTITIONS_VARIABLE, text)
    assert mapped_tasks() == number


@pytest.mark.parametrize("text", ["0", "-1", "abc", "1.5", "1025", "8 8", "٣", "9" * 5000])
def test_a_number_of_mapped_tasks_that_is_none_is_one_clear_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARTITIONS_VARIABLE, text)
    with pytest.raises(
        SettingsError, match=r"AESTHETICS_PARTITIONS is '.*', but must be a whole number from 1 to 1024"
    ):
        mapped_tasks()


def trained(tmp_path: Path, **tables: str) -> dict[str, DatasetConfig]:
    path = tmp_path / "datasets.toml"
    text = [
        TABLE.format(name=name, photos="s3://raw/p/", dataset=f"s3://b/{name}") + f"[{name}.training]\n{more}\n"
        for name, more in tables.items()
    ]
    path.write_text("\n".join(text))
    return {config.name: config for config in load_configuration(path).datasets}


def test_trainings_lie_beside_the_dataset_and_keep_clear_of_every_other_prefix(tmp_path: Path) -> None:
    found = trained(tmp_path, cats="", dogs='url = "s3://models/dogs"', fish='url = "s3://models/dogs/fish/"')
    assert found["cats"].training is not None
    assert found["cats"].training.url == "s3://b/cats-training/"
    assert (found["dogs"].training, found["fish"].training) == (None, None)
    for name, other in (("dogs", "fish"), ("fish", "dogs")):
        assert f"table [{name}.training]" in found[name].training_problem
        assert f"of [{other}] are equal or one lies inside the other" in found[name].training_problem
    found = trained(tmp_path, cats='url = "s3://raw/p/models/"', dogs='url = "s3://b/cats/models/"')
    assert "and photos 's3://raw/p/' are equal or one lies" in found["cats"].training_problem
    assert "and dataset 's3://b/cats/' of [cats] are equal or one lies" in found["dogs"].training_problem


@pytest.mark.parametrize("name", ["train_on_new_version", '"train_on_new_version.cats"'])
def test_no_table_has_the_name_of_a_dag_that_trains(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, (name, "s3://b/p/", "s3://b/d/"), ("cats", "s3://b/q/", "s3://b/e/"))
    found = load_configuration(path)
    assert [config.name for config in found.datasets] == ["cats"]
    assert "has the name of the DAG that trains; give it another name" in found.faulty[0].problem
