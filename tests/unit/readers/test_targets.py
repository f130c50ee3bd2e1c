"""Votes, their deviation and extra scores as labels: the same from every reader, and one line where there are none."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aesthetics_ops import Dataset, Pixels, open_dataset
from aesthetics_ops.dataset.example import Example
from aesthetics_ops.errors import SettingsError
from aesthetics_ops.readers.opened import open_published
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos
from aesthetics_ops.testing.stores import CountingStore
from tests.support.nights import PHOTOS, Source, build_once, photo
from tests.support.paths import ROOT

NAMES = ("label", "distribution", "votes", "label_std", "quality", "label/votes")
SHAPES = {"label": (), "distribution": (3,), "votes": (3,), "label_std": (), "quality": (), "label/votes": ()}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset with counts of votes and two extra scores, one of them called `votes`."""
    source = Source(tmp_path_factory.mktemp("votes").as_uri() + "/", {})
    lines = ["id,c1,c2,c3,quality,votes,who"]
    for number, name in enumerate(PHOTOS[:7]):
        source.add(name, photo(name))
        lines.append(f"{name},{number},2,{2 * number},{number / 4},{3 * number + 2},w{number}")
    source.store.put("scores.csv", "\n".join(lines).encode())
    build_once(
        source.settings(
            vote_columns="c1..c3",
            extra_scores="quality, votes",
            keep_columns="who",
            test_fraction=0,
            validation_fraction=0,
        )
    )
    return f"{source.url}dataset/"


@pytest.fixture
def dataset(url: str) -> Dataset:
    return open_dataset(url)


def expected(examples: list[Example], name: str) -> Any:
    """What the records themselves say."""
    extra = name.removeprefix("label/")
    return np.array(
        [
            example.extra_scores[extra] if name in ("quality", "label/votes") else getattr(example, name)
            for example in examples
        ]
    )


def test_a_dataset_says_what_there_is(dataset: Dataset) -> None:
    assert dataset.label_names == ("label", "distribution", "votes", "label_std", "quality", "label/votes")
    assert dataset.ratings == (1, 2, 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cache", [None, "uint8"])
def test_one_name_gives_an_array_of_what_the_records_hold(
    dataset: Dataset, name: str, cache: Any, tmp_path: Path
) -> None:
    batches = dataset.numpy("train", batch=3, size=24, labels=name, cache=cache, directory=tmp_path / "d")
    found = [labels for _, labels in batches]
    assert [part.shape for part in found] == [(3, *SHAPES[name]), (3, *SHAPES[name]), (1, *SHAPES[name])]
    assert {part.dtype for part in found} == {np.dtype(np.int64 if name == "votes" else np.float32)}
    records = list(dataset.open_split("train"))
    np.testing.assert_array_equal(np.concatenate(found), expected(records, name).astype(found[0].dtype))


def test_without_a_name_it_is_the_label_as_before(dataset: Dataset) -> None:
    records = dataset.open_split("train")
    assert np.concatenate([labels for _, labels in dataset.numpy("train", size=24)]).tolist() == records.labels.tolist()


def test_a_list_of_names_gives_a_dict_even_for_one(dataset: Dataset) -> None:
    ((_, labels),) = dataset.numpy("train", size=24, labels=["votes"])
    assert list(labels) == ["votes"]
    ((_, labels),) = dataset.numpy("train", size=24, labels=list(NAMES), shuffle=True)
    assert list(labels) == list(NAMES)
    np.testing.assert_allclose((labels["distribution"] @ np.array(dataset.ratings)), labels["label"], rtol=1e-6)


def test_records_give_them_for_a_choice(dataset: Dataset) -> None:
    records = dataset.open_split("train").where("\"label/quality\" > 0.5 AND who <> 'w6'")
    assert sorted(records.labels_as("quality").tolist()) == [0.75, 1.0, 1.25]
    images, labels = records.arrays([1, 0], Pixels(24), labels=["label", "quality"])
    assert images.shape == (2, 24, 24, 3)
    assert labels["quality"].tolist() == records.labels_as("quality")[[1, 0]].tolist()
    assert records.table(["who", "label/votes"]).num_rows == 3


def test_a_copy_in_another_process_gives_the_same(dataset: Dataset) -> None:
    batches = dataset.numpy("train", size=24, labels=["votes", "quality"], threads=1)
    ((_, ours),) = batches
    ((_, theirs),) = pickle.loads(pickle.dumps(batches))  # noqa: S301
    assert {name: values.tolist() for name, values in ours.items()} == {
        name: values.tolist() for name, values in theirs.items()
    }


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("vote", "has no labels 'vote'; it has label, distribution, votes, label_std, quality, label/votes"),
        (["label", "who"], "has no labels 'who'"),
        ([], "labels is \\[\\]; give the name of one"),
        (["votes", "votes"], "which has a name twice"),
        (7, "labels is 7"),
    ],
)
def test_what_is_not_there_is_one_line_that_names_what_is(dataset: Dataset, labels: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        dataset.numpy("train", labels=labels)
    assert "\n" not in str(caught.value)


def test_a_store_is_asked_for_the_table_once(url: str) -> None:
    store = CountingStore(open_store(url))
    opened = Dataset(open_published(store, None))
    list(opened.numpy("train", size=24, shuffle="block", labels=["votes", "quality"]))
    assert sum("records.parquet" in str(request) for request in store.requests) == 1


def test_a_dataset_of_scores_alone_has_nothing_else() -> None:
    store = open_store("memory://targets/")
    SyntheticDataset(store).publish(synthetic_photos(20))
    opened = Dataset(open_published(store, None))
    assert (opened.label_names, opened.ratings) == (("label",), ())
    with pytest.raises(SettingsError, match=r"has no labels 'distribution'; it has label$"):
        opened.numpy("train", labels="distribution")


def test_torch_gives_tensors(dataset: Dataset) -> None:
    torch = pytest.importorskip("torch")
    ((_, labels),) = dataset.torch("train", size=24, labels="distribution")
    assert (labels.dtype, tuple(labels.shape)) == (torch.float32, (7, 3))
    for workers in (0, 1):
        ((_, several),) = dataset.torch_loader("train", size=24, labels=["votes", "quality"], num_workers=workers)
        assert several["votes"].dtype == torch.int64
        assert several["votes"][:, 1].tolist() == [2] * 7
    single = dataset.torch_parts("train", size=24, labels=["votes", "label"])["dataset"][0]
    assert tuple(single[1]["votes"].shape) == (3,)
    ((_, decoded),) = dataset.torch("train", size=24, labels=["votes"], decode_on="cpu")
    assert decoded["votes"].tolist() == several["votes"].tolist()


def test_the_training_of_the_reading_page_runs(dataset: Dataset) -> None:
    pytest.importorskip("torch")
    page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    block = page.partition("run by tests/unit/readers/test_targets.py -->\n```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {"dataset": dataset}
    exec(block, found)  # noqa: S102 - a page of this repository
    scores = found["scores"].detach().numpy()
    assert scores.shape == (7,)
    assert ((scores > 1) & (scores < 3)).all()
    assert 0 < found["loss"].item() < 1


def test_tensorflow_and_keras_give_the_same(dataset: Dataset) -> None:
    data = dataset.tf("train", size=24, labels=["votes", "label_std"])
    assert data.element_spec[1]["votes"].shape.as_list() == [None, 3]
    ((_, labels),) = data.as_numpy_iterator()
    ((_, same),) = dataset.numpy("train", size=24, labels=["votes", "label_std"])
    assert {name: values.tolist() for name, values in labels.items()} == {
        name: values.tolist() for name, values in same.items()
    }
    one_by_one = list(dataset.tf("train", pixels=Pixels(24, "short_side"), labels="distribution").as_numpy_iterator())
    assert [labels.shape for _, labels in one_by_one] == [(3,)] * 7
    keras = dataset.keras("train", size=24, labels="distribution")
    assert keras[0][1].shape == (7, 3)


def test_grain_gives_the_same(dataset: Dataset) -> None:
    pytest.importorskip("grain")
    found = dataset.grain("train", size=24, labels=["votes", "quality"])
    ((_, same),) = dataset.numpy("train", size=24, labels=["votes", "quality"])
    assert found[0][1]["votes"].tolist() == same["votes"].tolist()
    assert found.source[0][1]["votes"].tolist() == same["votes"][0].tolist()
