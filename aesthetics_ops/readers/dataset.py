"""A published version, open for reading, and the readers that can be asked for its records.

In: a dataset's URL.  Out: a `Dataset`: its manifest, its table of records, its shards on local disk, its records as TensorFlow
or plain Python takes them.

A reader is one file and one entry of `READERS`: a function `read(dataset, split, **options)` that returns whatever its
framework iterates over.  `register_reader` adds one from outside.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.example import Example
from aesthetics_ops.dataset.layout import VersionFile, version_key
from aesthetics_ops.dataset.manifest import Manifest, Split, read_manifest
from aesthetics_ops.dataset.tables import RECORDS, all_columns, read_parquet
from aesthetics_ops.errors import NoSuchSplitError, SettingsError
from aesthetics_ops.readers.pull import Pulled, pull
from aesthetics_ops.store import S3Access, Store, open_store

__all__ = ["READERS", "Dataset", "open_dataset", "register_reader"]

# Name to "module:function".  The module is imported when the reader is first used, so a framework costs who uses it.
READERS: Final[dict[str, str]] = {
    "examples": "aesthetics_ops.readers.records:read_examples",
    "tf": "aesthetics_ops.readers.tensorflow:read_tf",
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """One version of a published dataset, open for reading.

    Attributes:
        store: where the dataset is published.
        manifest: of the version: counts, settings, shards, hashes.
    """

    store: Store
    manifest: Manifest

    @property
    def version(self) -> str:
        """The version's name."""
        return self.manifest.version

    @property
    def splits(self) -> Mapping[str, Split]:
        """The splits by name, in the manifest's order; each with its counts and shards."""
        return self.manifest.splits

    def records(self, split: str | None = None) -> pa.Table:
        """Return one row per record, in reading order: id, label, size, shard and more (docs/format.md).

        Args:
            split: by default all.

        Raises:
            NoSuchSplitError: the version has no such split.
        """
        if split is not None:
            self._check(split)
        table = all_columns(read_parquet(self.store, version_key(self.version, VersionFile.RECORDS)), RECORDS)
        return table if split is None else table.filter(pc.field("split") == split)

    def pull(
        self,
        directory: str | Path,
        *,
        splits: Sequence[str] | None = None,
        progress: Callable[[int], None] = lambda size: None,
    ) -> Pulled:
        """Bring shards to local disk, each checked by its sha256; what is there already is not fetched again.

        Args:
            directory: made if it does not exist; what it holds of another version is replaced.
            splits: by default all.
            progress: called with the number of bytes just finished.

        Raises:
            NoSuchSplitError: the version has no such split.
            IntegrityError: a shard is not what the manifest says.
        """
        wanted = tuple(self.splits) if splits is None else splits
        for split in wanted:
            self._check(split)
        return pull(self.store, self.manifest, Path(directory), splits=wanted, progress=progress)

    def read(self, name: str, split: str, **options: Any) -> Any:
        """Read a split with a registered reader.

        Args:
            name: of the reader.
            split: of the version.
            options: the reader's own.

        Raises:
            NoSuchSplitError: the version has no such split.
            SettingsError: no reader has this name.
        """
        self._check(split)
        if name not in READERS:
            raise SettingsError(
                f"{name!r} is not a reader; the readers are {', '.join(sorted(READERS))}, and register_reader adds one"
            )
        module, _, function = READERS[name].partition(":")
        return getattr(import_module(module), function)(self, split, **options)

    def tf(self, split: str, *, directory: str | Path, parallel_files: int = 4) -> Any:
        """Pull a split and return a tf.data.Dataset of (image, label), in an order that is the same every time.

        image: uint8, shape (height, width, 3), sRGB; gray photos have three equal channels.  label: float32, shape ().

        Args:
            split: of the version.
            directory: for the shards, as `pull`.
            parallel_files: shards that are read at once, interleaved.

        Raises:
            NoSuchSplitError, IntegrityError: as `pull`.
        """
        return self.read("tf", split, directory=directory, parallel_files=parallel_files)

    def examples(self, split: str, *, directory: str | Path) -> Iterator[Example]:
        """Pull a split and yield its records in order, as they are stored, without TensorFlow; CRCs are checked.

        Args:
            split: of the version.
            directory: for the shards, as `pull`.

        Raises:
            NoSuchSplitError, IntegrityError: as `pull`.
        """
        found: Iterator[Example] = self.read("examples", split, directory=directory)
        return found

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise NoSuchSplitError(
                f"version {self.version!r} has no split {split!r}; it has {', '.join(map(repr, self.splits))}"
            )


def open_dataset(url: str, version: str | None = None, *, s3: S3Access | None = None) -> Dataset:
    """Open a published dataset for reading.

    Args:
        url: that it is published under: s3://, gs://, az:// or file://.
        version: its name; by default the one that LATEST names.
        s3: how to reach s3:// URLs; None leaves it to boto3: environment, profile, AWS_ENDPOINT_URL.

    Raises:
        NoSuchVersionError: nothing is published there, or not this version.
        IntegrityError: the manifest is not the one that LATEST promises, or cannot be read.
        StoreRefusedError, StoreUnavailableError: not such a URL; or the store says no, or nothing.
    """
    store = open_store(url, s3=s3)
    return Dataset(store, read_manifest(store, version))


def register_reader(name: str, function: str) -> None:
    """Add a reader: `Dataset.read(name, split, **options)` calls it from now on.

    Args:
        name: of the reader; not taken yet.
        function: "module:function", called as function(dataset, split, **options); the module is imported at its first use.

    Raises:
        SettingsError: the name is taken, or the function is not written like this.
    """
    if name in READERS:
        raise SettingsError(f"reader {name!r} is registered already, as {READERS[name]!r}; take another name")
    module, separator, attribute = function.partition(":")
    if not (module and separator and attribute.isidentifier()):
        raise SettingsError(f"reader {name!r} is {function!r}; write 'module:function'")
    READERS[name] = function
