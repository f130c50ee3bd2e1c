"""A version, open for reading, and the readers that can be asked for its records.

In: a dataset's URL, or a directory that a version was pulled into.  Out: a `Dataset`: its manifest, its table of records, its
shards on local disk, any of its records, and batches of them as numpy and the frameworks take them.

A reader is one file and one entry of `READERS`: a function `read(dataset, split, **options)` that returns whatever its
framework iterates over.  `register_reader` adds one from outside.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.manifest import Manifest, Split
from aesthetics_ops.dataset.tables import RECORDS, all_columns
from aesthetics_ops.errors import NoSuchSplitError, SettingsError
from aesthetics_ops.readers.batches import Batches
from aesthetics_ops.readers.given import local_directory
from aesthetics_ops.readers.opened import Version, is_pulled, open_published, open_pulled
from aesthetics_ops.readers.options import ReadOptions, batches_of, open_records
from aesthetics_ops.readers.pulling.pull import CONNECTIONS, Pulled, pull
from aesthetics_ops.readers.records import Records
from aesthetics_ops.readers.targets import label_names
from aesthetics_ops.readers.where import matching_rows
from aesthetics_ops.store import S3Access, open_store
from aesthetics_ops.urls import as_url

if TYPE_CHECKING:
    from aesthetics_ops.readers.exporting.export import Exported
    from aesthetics_ops.readers.grain import GrainBatches
    from aesthetics_ops.readers.keras import KerasBatches
    from aesthetics_ops.readers.torch import (
        LoaderOptions,
        LoaderParts,
        PartsOptions,
        TorchBatches,
        TorchLoader,
        TorchOptions,
    )

__all__ = ["READERS", "Dataset", "open_dataset", "register_reader"]

# Name to "module:function".  The module is imported when the reader is first used, so a framework costs who uses it.
READERS: Final[dict[str, str]] = {
    "grain": "aesthetics_ops.readers.grain:read_grain",
    "keras": "aesthetics_ops.readers.keras:read_keras",
    "tf": "aesthetics_ops.readers.tensorflow:read_tf",
    "torch": "aesthetics_ops.readers.torch:read_torch",
    "torch_loader": "aesthetics_ops.readers.torch:read_torch_loader",
    "torch_parts": "aesthetics_ops.readers.torch:read_torch_parts",
}


_EXTRAS: Final = {"grain", "tensorflow", "torch"}  # of pyproject.toml, by the package that each brings
_OPENING: Final = {"directory", "max_bytes", "where"}  # of the options, those of `open_split`


@dataclass(frozen=True, slots=True)
class Dataset:
    """One version of a dataset, open for reading.

    Attributes:
        source: the version where it lies: published in a store, or pulled into a directory.
    """

    source: Version

    @property
    def manifest(self) -> Manifest:
        """What the version says of itself: counts, settings, shards, hashes."""
        return self.source.manifest

    @property
    def version(self) -> str:
        """The version's name."""
        return self.manifest.version

    @property
    def splits(self) -> Mapping[str, Split]:
        """The splits by name, in the manifest's order; each with its counts and shards."""
        return self.manifest.splits

    @property
    def label_names(self) -> tuple[str, ...]:
        """What readers can give as `labels`: `label`, and of votes and extra scores what the records have."""
        return label_names(self.manifest)

    @property
    def ratings(self) -> tuple[float, ...]:
        """What the votes are for, in the order of `distribution` and `votes`; empty without votes."""
        return self.manifest.source.ratings

    def records(self, split: str | None = None, where: str | None = None) -> pa.Table:
        """Return one row per record, in reading order: id, label, size, shard and more (docs/format.md).

        Args:
            split: by default all.
            where: a condition in SQL over the columns, such as `label > 0.5 AND width >= 640`; by default all rows.

        Raises:
            NoSuchSplitError: the version has no such split.
            NoSuchVersionError: the version has expired since it was opened.
            IntegrityError: the table is missing, damaged or not this version's.
            SettingsError: `where` is not a condition, or names a column that there is not.
        """
        if split is not None:
            self._check(split)
        table = self.source.table()
        table = all_columns(table.cast(pa.schema([_plain(field) for field in table.schema])), RECORDS)
        if split is not None:
            table = table.filter(pc.field("split") == split)
        return table if where is None else table.take(matching_rows(table, where))

    def pull(
        self,
        directory: str | Path,
        *,
        splits: Sequence[str] | None = None,
        connections: int = CONNECTIONS,
        verify: bool = False,
        tools: Sequence[str] = (),
        progress: Callable[[int], None] = lambda size: None,
    ) -> Pulled:
        """Bring shards to local disk, each checked by its sha256; what is there already is not fetched again.

        The directory opens as the dataset does, without network.

        Args:
            directory: made if it does not exist; what it holds of another version is replaced.
            splits: by default all.
            connections: requests at once, 1 to 256.
            verify: hash every file that is there; by default those whose size, time of change or inode is new.
            tools: dali, tfds: lay beside the shards what these want there; later pulls into the directory keep that up.
            progress: called with the number of bytes that were there or have just arrived.

        Raises:
            NoSuchSplitError: the version has no such split.
            NoSuchVersionError: the version has expired since it was opened.
            SettingsError: no such directory, number of connections or tool; or files are in the way that no pull has made.
            IntegrityError: a shard is not what the manifest says, or is missing.
            ScratchSpaceError: the disk has no room for what is missing.
            OSError: the directory cannot be written, or the disk is full; names the file.
        """
        wanted = tuple(self.splits) if splits is None else splits
        for split in wanted:
            self._check(split)
        return pull(
            self.source,
            local_directory(directory),
            splits=wanted,
            connections=connections,
            verify=verify,
            tools=tools,
            progress=progress,
        )

    def export(
        self,
        directory: str | Path,
        format: str,
        *,
        splits: Sequence[str] | None = None,
        progress: Callable[[int], None] = lambda size: None,
    ) -> "Exported":
        """Write splits as another tool's files: the same ids, labels and JPEG bytes; docs/reading.md says what each holds.

        A directory whose export was cut off is gone on with; one whose export is whole is left as it is.

        Args:
            directory: made if it does not exist; else empty, or of this export.
            format: webdataset, parquet or mds.
            splits: by default all.
            progress: called with the number of bytes of shards that were there or have just been written.

        Raises:
            NoSuchSplitError: the version has no such split.
            NoSuchVersionError: the version is a candidate, or has expired since it was opened.
            SettingsError: no such format; or the directory holds something else.
            IntegrityError: a record is damaged; names version, shard, record and id.
            DatasetBusyError: another export is at work in the directory.
            ScratchSpaceError: the disk has no room.
            OSError: the directory cannot be written, or the disk is full; names the file.
        """
        from aesthetics_ops.readers.exporting.export import export

        wanted = tuple(self.splits) if splits is None else tuple(splits)
        for split in wanted:
            self._check(split)
        return export(self.source, local_directory(directory), container=format, splits=wanted, progress=progress)

    def read(self, name: str, split: str, **options: Any) -> Any:
        """Read a split with a registered reader.

        Args:
            name: of the reader.
            split: of the version.
            options: the reader's own.

        Raises:
            NoSuchSplitError: the version has no such split.
            SettingsError: no reader has this name, or its framework is not installed.
        """
        self._check(split)
        if name not in READERS:
            raise SettingsError(
                f"{name!r} is not a reader; the readers are {', '.join(sorted(READERS))}, and register_reader adds one"
            )
        module, _, function = READERS[name].partition(":")
        try:
            return getattr(import_module(module), function)(self, split, **options)
        except ModuleNotFoundError as error:
            raise _not_installed(name, error) from error

    def open_split(
        self,
        split: str,
        *,
        directory: str | Path | None = None,
        max_bytes: int | None = None,
        where: str | None = None,
    ) -> Records:
        """Open a split for random access; nothing is fetched yet but the table of records.

        Args:
            split: of the version.
            directory: keeps what a store sends, for every version, split and process of this machine; by default nothing
                is kept.  One that this version was pulled into is read instead of the store.
            max_bytes: of all that it keeps; by default 1 GiB of the disk stays free.
            where: an SQL condition, as for `records`; by default all records.

        Raises:
            NoSuchSplitError: the version has no such split.
            SettingsError: `where` is no condition.
            IntegrityError: a local shard, or the table of records, is not what the manifest says.
        """
        self._check(split)
        return open_records(self.source, split, directory=directory, max_bytes=max_bytes, where=where)

    def numpy(self, split: str, **options: Unpack[ReadOptions]) -> Batches:
        """Read a split in batches: (images, labels), made by threads ahead of the training step.

        images: uint8, shape (b, height, width, 3), sRGB.  labels: float32, shape (b,), or what `labels` asks for.

        Args:
            split: of the version.
            options: how to read, in which order, to which pixels: `ReadOptions`.

        Raises:
            NoSuchSplitError: the version has no such split.
            SettingsError: options contradict each other.
            IntegrityError: as `open_split`; while reading, a record is damaged.
            ScratchSpaceError: a cache has no room on the disk.
        """
        chosen = {name: options[name] for name in _OPENING & options.keys()}  # type: ignore[literal-required]
        return batches_of(self.open_split(split, **chosen), options)

    def tf(self, split: str, **options: Unpack[ReadOptions]) -> Any:
        """Read a split as a tf.data.Dataset of (images, labels): the batches of `numpy`, bit for bit; each iteration an epoch.

        images: uint8, shape (b, height, width, 3), sRGB; with raw=True JPEGs, tf.string, shape (b,).  labels: float32,
        shape (b,).  Photos that keep their shape come one by one, (height, width, 3), ().

        Args:
            split: of the version.
            options: as for `numpy`.  To save and load the position, make `numpy`'s batches a dataset with `as_tf`.

        Raises:
            NoSuchSplitError, SettingsError, IntegrityError, ScratchSpaceError: as `numpy`; what is damaged is found in
                training, as a tf.errors.OpError whose message is ours.
        """
        return self.read("tf", split, **options)

    def torch(self, split: str, **options: "Unpack[TorchOptions]") -> "TorchBatches":
        """Read a split in batches for PyTorch: (images, labels), made by threads ahead of the training step.

        images: uint8, shape (b, 3, height, width), channels last in memory, sRGB.  labels: float32, shape (b,), or what `labels` asks for.

        Args:
            split: of the version.
            options: as for `numpy`, and `TorchOptions`: layout, pinned memory, a device that decodes.

        Raises:
            NoSuchSplitError, SettingsError, IntegrityError, ScratchSpaceError: as `numpy`.
        """
        return cast("TorchBatches", self.read("torch", split, **options))

    def torch_loader(self, split: str, **options: "Unpack[LoaderOptions]") -> "TorchLoader":
        """Read a split by worker processes: the batches of `torch`, as a DataLoader.

        Args:
            split: of the version.
            options: as for `numpy`, and of DataLoader: `LoaderOptions`.

        Raises:
            NoSuchSplitError, SettingsError, IntegrityError, ScratchSpaceError: as `numpy`.
        """
        return cast("TorchLoader", self.read("torch_loader", split, **options))

    def torch_parts(self, split: str, **options: "Unpack[PartsOptions]") -> "LoaderParts":
        """Return the arguments for a DataLoader of one's own, or torchdata's: a data set, its sampler, and two functions.

        Args:
            split: of the version.
            options: as for `numpy`, without threads and ahead, and `layout`: `PartsOptions`.

        Raises:
            NoSuchSplitError, SettingsError, IntegrityError, ScratchSpaceError: as `numpy`.
        """
        return cast("LoaderParts", self.read("torch_parts", split, **options))

    def keras(self, split: str, **options: Unpack[ReadOptions]) -> "KerasBatches":
        """Read a split as a keras.utils.PyDataset of (images, labels): the batches of `numpy`, for any backend of Keras 3.

        images: uint8, shape (b, height, width, 3), sRGB.  labels: float32, shape (b,), or what `labels` asks for.

        Args:
            split: of the version.
            options: as for `numpy`; photos of one size only.

        Raises:
            NoSuchSplitError, SettingsError, IntegrityError, ScratchSpaceError: as `numpy`.
        """
        return cast("KerasBatches", self.read("keras", split, **options))

    def grain(self, split: str, **options: Unpack[ReadOptions]) -> "GrainBatches":
        """Read a split as a grain.MapDataset of (images, labels): the batches of `numpy`, by number.

        Args:
            split: of the version.
            options: as for `numpy`.

        Raises:
            NoSuchSplitError, SettingsError, IntegrityError, ScratchSpaceError: as `numpy`.
        """
        return cast("GrainBatches", self.read("grain", split, **options))

    def _check(self, split: str) -> None:
        if split not in self.splits:
            raise NoSuchSplitError(
                f"version {self.version!r} has no split {split!r}; it has {', '.join(map(repr, self.splits))}"
            )


def open_dataset(url_or_directory: str | Path, version: str | None = None, *, s3: S3Access | None = None) -> Dataset:
    """Open a dataset for reading: a published one, or a directory that a version was pulled into.

    Args:
        url_or_directory: a URL that it is published under (s3://, gs://, az:// or file://), or a directory.  A directory
            that a version was pulled into opens without network.
        version: its name, or that of a pointer such as `prod`; by default, and for `latest`, the one that LATEST names.  A pulled directory holds one.
        s3: how to reach s3:// URLs; None leaves it to boto3: environment, profile, AWS_ENDPOINT_URL.

    Raises:
        NoSuchVersionError: nothing is published there, or not this version; or no pull was finished in the directory.
        IntegrityError: the manifest is not the one that LATEST promises, or cannot be read; or a pulled file is missing or
            cut off.
        SettingsError: not such a URL.
        StoreRefusedError, StoreUnavailableError: the store says no, or nothing.
    """
    version = None if version == "latest" else version
    url = str(url_or_directory)
    if isinstance(url_or_directory, Path) or ("://" not in url and url.strip() and Path(url).is_dir()):
        url = as_url(str(Path(url).expanduser().absolute()))
    store = open_store(url, s3=s3)
    directory = store.local_path("manifest.json")
    if directory is not None and is_pulled(directory.parent):
        return Dataset(open_pulled(directory.parent, version))
    return Dataset(open_published(store, version, s3))


def _not_installed(reader: str, error: ModuleNotFoundError) -> SettingsError:
    package = (error.name or "a package").partition(".")[0]
    what = f"'aesthetics-ops[{package}]'" if package in _EXTRAS else package
    return SettingsError(
        f"reader {reader!r} needs {package}, which is not installed ({error}); run: pip install {what}"
    )


def _plain(field: pa.Field) -> pa.Field:
    is_dictionary = pa.types.is_dictionary(field.type)
    return field.with_type(field.type.value_type) if is_dictionary else field


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
