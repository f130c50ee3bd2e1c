"""What every store promises, kept by each store of this project and by the stores around other stores."""

import uuid
from pathlib import Path

import pytest

from aesthetics_ops.store import Store, open_store
from aesthetics_ops.testing.store_contract import StoreContract
from aesthetics_ops.testing.stores import WrappedStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return open_store(f"memory://{uuid.uuid4().hex}/pre fix")


class TestDirectoryStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(f"file://{tmp_path}/a directory")


class TestWrappedStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return WrappedStore(open_store(f"memory://{uuid.uuid4().hex}/pre fix"))
