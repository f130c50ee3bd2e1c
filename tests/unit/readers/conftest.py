"""What the tests of several readers read."""

import shutil
from pathlib import Path

import pytest

from aesthetics_ops import Dataset, open_dataset
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.datasets import SyntheticDataset, synthetic_photos


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a dataset of `synthetic_photos(100)`; nobody writes to it."""
    path = tmp_path_factory.mktemp("published")
    SyntheticDataset(open_store(f"{path.as_uri()}/")).publish(synthetic_photos(100))
    return path


@pytest.fixture
def dataset(published: Path, tmp_path: Path) -> Dataset:
    """A copy, which a test may damage."""
    return open_dataset(f"{shutil.copytree(published, tmp_path / 'dataset').as_uri()}/")
