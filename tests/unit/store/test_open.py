"""Which URLs open which store, and how a store from outside joins them."""

import hashlib
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from aesthetics_ops.errors import ObjectMissingError, SettingsError, StoreRefusedError
from aesthetics_ops.settings import parse_settings
from aesthetics_ops.store import S3Access, Store, StoredObject, open_store, register_store
from aesthetics_ops.testing.store_contract import StoreContract
from aesthetics_ops.testing.stores import WrappedStore
from tests.support.nights import PHOTOS, Source, build_once, latest_version, photo


@pytest.mark.parametrize("url", ["ftp://host/x", "s3:///photos", "memory:///x"])
def test_a_url_that_names_no_store_is_refused_with_the_forms_that_do(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(url)
    assert str(caught.value).startswith(
        f"{url!r} is not a store; write s3://bucket/prefix/, file:///directory/, memory://name/, gs://, az://"
    )
    assert "demo://name/prefix/" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_local"),
    [("file:///photos/", True), ("memory://a/", True), ("s3://a/", False), ("gs://a/", False), ("az://a/", False)],
)
def test_a_store_says_whether_its_objects_are_on_this_machine(url: str, is_local: bool) -> None:
    assert open_store(url).is_local is is_local
    assert WrappedStore(open_store(url)).is_local is is_local


@pytest.mark.parametrize("scheme", ["", "S3", "1a", "a b", "a://", "\u00e9"])
def test_a_scheme_that_no_url_can_have_is_not_registered(scheme: str) -> None:
    with pytest.raises(ValueError, match="cannot be a URL's scheme"):
        register_store(scheme, DemoStore.open)


def test_a_store_pays_for_its_own_library_only() -> None:
    script = """
        import sys
        from aesthetics_ops.store import open_store
        open_store(f"file://{sys.argv[1]}").check()
        print(sorted({"boto3", "obstore"} & sys.modules.keys()))
    """
    code = "\n".join(line.strip() for line in script.splitlines())
    done = subprocess.run([sys.executable, "-c", code, str(Path.cwd())], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class DemoStore(Store):
    """A store from outside: a dict per name."""

    _dicts: dict[str, dict[str, bytes]] = {}  # noqa: RUF012 - all of one name are one store
    _lock = threading.Lock()

    def __init__(self, name: str, prefix: str) -> None:
        self.url = f"demo://{name}/{prefix}"
        self._prefix = prefix
        self._objects = self._dicts.setdefault(name, {})

    @classmethod
    def open(cls, url: str, s3: S3Access | None) -> Store:
        name, _, prefix = url.removeprefix("demo://").partition("/")
        if not name:
            raise StoreRefusedError(f"{url!r} names no dict; write demo://name/prefix/")
        return cls(name, prefix if not prefix or prefix.endswith("/") else f"{prefix}/")

    def check(self) -> None:
        pass

    def list(self, prefix: str = "", *, scratch: Path | None = None) -> pa.Table:
        full = self._prefix + prefix
        with self._lock:
            found = sorted((key, data) for key, data in self._objects.items() if key.startswith(full))
        return pa.table(
            {
                "key": pa.array([key.removeprefix(self._prefix) for key, _ in found], pa.string()),
                "size": pa.array([len(data) for _, data in found], pa.int64()),
                "etag": pa.array([_etag(data) for _, data in found], pa.string()),
            }
        )

    def get(self, key: str) -> StoredObject:
        data = self._objects.get(self._prefix + key)
        if data is None:
            raise ObjectMissingError(f"{self.url_of(key)!r} does not exist; check the name, or list the prefix")
        return StoredObject(key, data, _etag(data))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        data = bytes(self.get(key).data)[offset : offset + length]
        if len(data) != length:
            raise StoreRefusedError(f"{self.url_of(key)!r} is shorter than {offset + length} bytes")
        return data

    def download(self, key: str, path: Path) -> None:
        path.write_bytes(self.get(key).data)

    def head(self, key: str) -> tuple[int, str] | None:
        data = self._objects.get(self._prefix + key)
        return None if data is None else (len(data), _etag(data))

    def put(self, key: str, data: bytes | memoryview) -> None:
        with self._lock:
            self._objects[self._prefix + key] = bytes(data)

    def upload(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def delete(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self._objects.pop(self._prefix + key, None)

    def _put_if(self, key: str, data: bytes, expected_etag: str | None, attempt: int) -> bool:
        with self._lock:
            found = self._objects.get(self._prefix + key)
            if (None if found is None else _etag(found)) != expected_etag:
                return False
            self._objects[self._prefix + key] = data
            return True


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


register_store("demo", DemoStore.open, form="demo://name/prefix/")


class TestAStoreFromOutside(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return open_store(f"demo://{uuid.uuid4().hex}/pre fix")


def test_a_dataset_is_built_from_and_into_a_store_from_outside() -> None:
    source = Source(f"demo://{uuid.uuid4().hex}/", {})
    for number, name in enumerate(PHOTOS[:4]):
        source.add(name, photo(name), number)
    night = build_once(source.settings(validation_fraction=0, test_fraction=0))
    assert isinstance(night.dataset, DemoStore)
    assert night.manifest.records == 4
    assert latest_version(open_store(f"{source.url}dataset/")) == night.manifest.version


def test_a_setting_may_name_any_scheme_and_the_store_says_which_it_knows() -> None:
    urls = {"photos": "demo://x/photos/", "labels": "ftp://x/scores.csv", "dataset": "s3://bucket/dataset/"}
    settings = parse_settings(urls, where="test")
    assert open_store(settings.photos).url == "demo://x/photos/"
    with pytest.raises(SettingsError, match=r"'ftp://x/scores.csv' is not a store; write s3://"):
        open_store(settings.labels)
