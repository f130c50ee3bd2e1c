"""From a reader's state alone: which photos a batch held."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.cli import main
from aesthetics_ops.errors import NoSuchVersionError, SettingsError
from aesthetics_ops.readers.sampling.replay import replay
from aesthetics_ops.readers.sampling.sampler import Draws, Sampler
from aesthetics_ops.readers.sampling.state import Receipt
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos

URL = "memory://replay/dataset/"


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    SyntheticDataset(open_store(URL)).publish(synthetic_photos(60))
    return open_dataset(URL)


def reader(dataset: Dataset, batch: int, *, where: str | None = None, **options: Any) -> tuple[Sampler, pa.Table]:
    """A sampler of the training records, as readers make them, and their table."""
    table = dataset.records("train", where=where)
    names = table["shard"].to_pylist()
    receipt = Receipt(
        dataset.manifest.dataset,
        dataset.version,
        dataset.source.manifest_sha256,
        "train",
        where,
        options.pop("rows", None),
    )
    shards = np.array([sorted(set(names)).index(name) for name in names], np.int32)
    sources = {"labels": table["label"].to_numpy(), "shards": shards, "receipt": receipt}
    return Sampler(table.num_rows, batch, **sources, **options), table


def keys_of(table: pa.Table, draws: Draws) -> list[str]:
    return table["key"].take(draws.rows).to_pylist()


def test_a_pulled_directory_will_do(dataset: Dataset, state: dict[str, Any], tmp_path: Path) -> None:
    dataset.pull(tmp_path / "set", splits=["test"])
    assert replay(str(tmp_path / "set"), state).records.equals(replay(dataset, state).records)


ORDERS: list[dict[str, Any]] = [
    {},
    {"shuffle": True, "seed": 5},
    {"shuffle": True, "seed": 5, "where": "label > 5"},
    {"shuffle": "block", "block": 4, "window": 2},
    {"shuffle": True, "balance": "label"},
]


@pytest.mark.parametrize("options", ORDERS, ids=str)
@pytest.mark.parametrize("last", ["even", "drop", "pad"])
@pytest.mark.parametrize("ranks", [1, 3])
def test_every_batch_of_an_epoch_is_found_again(
    dataset: Dataset, options: dict[str, Any], last: str, ranks: int
) -> None:
    samplers = [reader(dataset, 4, last=last, rank=rank, ranks=ranks, **options) for rank in range(ranks)]
    for sampler, _ in samplers:
        sampler.epoch = 2
    got = [[keys_of(table, draws) for draws in sampler] for sampler, table in samplers]
    state = json.loads(json.dumps(samplers[0][0].state_dict(batches=len(got[0]))))
    for number in range(len(got[0])):
        for rank in range(ranks):
            assert replay(dataset, state, batch=number, rank=rank).records["key"].to_pylist() == got[rank][number]
        together = replay(dataset, state, batch=number).records
        assert sorted(together["key"].to_pylist()) == sorted(key for rank in got for key in rank[number])
    assert replay(dataset, state).batch == len(got[0]) - 1


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_what_a_reader_gave_is_found_again(dataset: Dataset, options: dict[str, Any]) -> None:
    """Through the public door, with batches made ahead; labels tell the synthetic photos apart."""
    batches = dataset.numpy("train", batch=4, raw=True, **options)
    got: list[tuple[list[float], dict[str, Any]]] = []
    for _, labels in batches:
        got.append((labels.tolist(), batches.state_dict()))
    for number, (expected, state) in enumerate(got):
        assert replay(dataset, state).records["label"].to_pylist() == expected
        assert replay(dataset, got[-1][1], batch=number).records["label"].to_pylist() == expected


def test_batches_count_over_the_layouts_of_an_epoch(dataset: Dataset) -> None:
    first, table = reader(dataset, 5, shuffle=True)
    batches = [keys_of(table, draws) for draws, _ in zip(first, range(3), strict=False)]
    second, _ = reader(dataset, 2, ranks=2, rank=1, shuffle=True)
    second.load_state_dict(first.state_dict(batches=3))
    batches += [keys_of(table, draws) for draws, _ in zip(second, range(2), strict=False)]
    state = second.state_dict(batches=2)
    found = [replay(dataset, state, batch=number, rank=int(number > 2)) for number in range(5)]
    assert [each.records["key"].to_pylist() for each in found] == batches
    assert [each.ranks for each in found] == [1, 1, 1, 2, 2]
    assert {each.batches for each in found} == {5}


def test_ranks_took_turns_and_each_row_says_whose_and_where(dataset: Dataset) -> None:
    sampler, table = reader(dataset, 2, ranks=2)
    next(iter(sampler))
    rows = replay(dataset, sampler.state_dict()).records
    assert rows.select(["rank", "position"]).to_pydict() == {"rank": [0, 1, 0, 1], "position": [0, 1, 2, 3]}
    assert rows.select(["id", "key", "etag"]).to_pydict() == table.slice(0, 4).select(["id", "key", "etag"]).to_pydict()


def test_weights_of_one_s_own_are_needed_and_must_be_the_same(dataset: Dataset) -> None:
    count = dataset.splits["train"].records
    sampler, table = reader(dataset, 8, shuffle=True, weights=np.arange(count))
    keys = keys_of(table, next(iter(sampler)))
    state = sampler.state_dict()
    assert replay(dataset, state, weights=np.arange(count)).records["key"].to_pylist() == keys
    with pytest.raises(SettingsError, match=r"a reader with weights .* give the same weights to `replay` in Python"):
        replay(dataset, state)
    with pytest.raises(SettingsError, match="and these are sha256="):
        replay(dataset, state, weights=np.ones(count))
    plain, _ = reader(dataset, 8)
    next(iter(plain))
    with pytest.raises(SettingsError, match="a reader without weights; give none"):
        replay(dataset, plain.state_dict(), weights=np.ones(count))


@pytest.fixture
def state(dataset: Dataset) -> dict[str, Any]:
    sampler, _ = reader(dataset, 4, shuffle=True)
    iterator: Iterator[Draws] = iter(sampler)
    next(iterator), next(iterator)
    return sampler.state_dict()


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({}, {"batch": 2}, "epoch 0 has no past batch 2 at this state: it had handed out 2, which count from 0"),
        ({"position": 0}, {}, "epoch 0 has no past batch 0 at this state: it had handed out none yet"),
        ({}, {"rank": 1}, "batch 1 has no rank 1; it was shared by 1, which count from 0"),
        ({"selection": "0" * 64}, {}, "the state is of rows that were selected (sha256 000"),
        ({"manifest_sha256": "0" * 64}, {}, "sha256 00000000"),
        ({"version": None}, {}, "the state names no version, manifest and split"),
        ({"where": "label > 30"}, {}, "records with the filter 'label > 30', and the state has "),
        ({"records": 10}, {}, "and the state has 10; give what state_dict() returned, unchanged"),
        ({"where": "no such"}, {}, "the filter 'no such' cannot be used"),
        ({"schema": 7}, {}, "the state has schema 7"),
        ({"position": 7}, {}, "the reader's state is damaged: "),
    ],
)
def test_what_does_not_follow_from_the_version_is_refused(
    state: dict[str, Any], changes: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        replay(URL, state | changes, **options)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_expired_version_is_said_with_the_state_s_own_dataset(dataset: Dataset, state: dict[str, Any]) -> None:
    elsewhere = open_store("memory://replay/other/")
    SyntheticDataset(elsewhere).publish(synthetic_photos(3))
    gone = state | {"version": "20200101T000000Z-gone"}
    with pytest.raises(NoSuchVersionError, match=r"has no version '20200101T000000Z-gone'.*the state is of version"):
        replay("memory://replay/other/", gone)


def test_a_dataset_that_is_open_at_another_version_is_refused(dataset: Dataset, state: dict[str, Any]) -> None:
    url = "memory://replay/other-again/"
    SyntheticDataset(open_store(url)).publish(synthetic_photos(5))
    with pytest.raises(SettingsError, match=f"of {url} has a manifest of .* but the state is of version .* of {URL}"):
        replay(open_dataset(url), state)


class TestCommand:
    """`aesthetics-ops replay`."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> tuple[str, Path, list[str]]:
        """A dataset in a directory, the file of a state, and the keys of its batch 0 in the ranks' turns."""
        url = (tmp_path / "dataset").as_uri() + "/"
        SyntheticDataset(open_store(url)).publish(synthetic_photos(40))
        sampler, table = reader(open_dataset(url), 3, ranks=2, shuffle=True)
        other, _ = reader(open_dataset(url), 3, ranks=2, rank=1, shuffle=True)
        keys = [keys_of(table, next(iter(each))) for each in (sampler, other)]
        file = tmp_path / "state.json"
        file.write_text(json.dumps(sampler.state_dict()))
        return url, file, [key for turn in zip(*keys, strict=True) for key in turn]

    def test_it_prints_ids_keys_and_etags(
        self, place: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        url, file, keys = place
        assert main(["replay", url, "--state", str(file)]) == 0
        head, columns, *rows = capsys.readouterr().out.splitlines()
        assert head.endswith("train: batch 0 of epoch 0, on 2 ranks; the last handed out is 0")
        assert columns.split() == ["rank", "position", "id", "key", "etag"]
        assert [row.split()[3] for row in rows] == keys
        assert all(len(row.split()) == 5 for row in rows)

    def test_json_has_the_same_and_what_it_follows_from(
        self, place: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        url, file, keys = place
        assert main(["replay", url, "--state", str(file), "--batch", "0", "--rank", "1", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert [row["key"] for row in document["records"]] == keys[1::2]
        assert {key: document[key] for key in ("split", "where", "epoch", "batch", "batches", "ranks")} == {
            "split": "train",
            "where": None,
            "epoch": 0,
            "batch": 0,
            "batches": 1,
            "ranks": 2,
        }

    @pytest.mark.parametrize("content", [b"no", b"\xff\xfe", b"", b"[1]"])
    def test_a_file_that_is_no_state_is_one_line(
        self, place: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str], content: bytes
    ) -> None:
        url, file, _ = place
        file.write_bytes(content)
        assert main(["replay", url, "--state", str(file)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "is not JSON" in line or "this is a list" in line

    def test_a_file_that_is_not_there_is_named(
        self, place: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        url, file, _ = place
        file.unlink()
        assert main(["replay", url, "--state", str(file)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert str(file) in line

    @pytest.mark.parametrize("flags", [["--batch", "-1"], ["--rank", "x"], ["--batch", "9"]])
    def test_numbers_that_cannot_be_are_wrong_usage(
        self, place: tuple[str, Path, list[str]], capsys: pytest.CaptureFixture[str], flags: list[str]
    ) -> None:
        url, file, _ = place
        assert main(["replay", url, "--state", str(file), *flags]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
