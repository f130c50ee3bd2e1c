"""What the pages show of published versions, read from the dataset's store and kept while there is room.

In: names out of a request.  Out: records and bytes.
Promised: a request names a dataset that is configured, a version, a split and two numbers, never a key: which bytes of
which object are read is decided by the manifest and `records.parquet`.  What a name does not lead to is a
`NoSuchPageError` or a `NoSuchVersionError`.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import numpy as np
import pyarrow as pa

from aesthetics_ops.browser.cache import Cache
from aesthetics_ops.browser.rows import (
    NOTED_LATER,
    PHOTO_COLUMNS,
    REJECT_COLUMNS,
    FoundPhoto,
    PhotoRow,
    RejectRow,
    photo_rows,
    reject_rows,
)
from aesthetics_ops.browser.tables import containing, equal_to, find_rows, read_rows, row_count
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.latest import peek_latest, promotion_of, read_latest
from aesthetics_ops.dataset.layout import VersionFile, digest_of, is_name, version_key
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.dataset.moves import LogEntry, Move
from aesthetics_ops.dataset.reading_manifests import read_manifest_of
from aesthetics_ops.dataset.sidecars import read_sidecar
from aesthetics_ops.dataset.tfrecord import read_framed
from aesthetics_ops.errors import (
    AestheticsOpsError,
    IntegrityError,
    NoSuchPageError,
    NoSuchVersionError,
)
from aesthetics_ops.store import Store, StoreThreads
from aesthetics_ops.versions.diff import VersionDiff, diff_versions
from aesthetics_ops.versions.listing import (
    CandidateInfo,
    Headline,
    kept_by_name,
    list_candidates,
    read_headline,
    version_names,
)
from aesthetics_ops.versions.pointing import all_moves

__all__ = ["MOST_PHOTO_BYTES", "Catalog", "Dataset", "ListedVersion", "Overview", "Page"]

_log = logging.getLogger(__name__)

MOST_PHOTO_BYTES: Final = 16 << 20  # a larger record is described, not shown
_STORE_SECONDS: Final = 300  # then the store is opened anew, so that a changed connection is noticed
_CACHE_BYTES: Final = 256 << 20
_READS: Final = 16
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """A part of a longer list.

    Attributes:
        items: on this page.
        number: of the page, from 1.
        pages: how many there are; at least 1.
        total: items on all of them.
        first: number of the first item here, from 0.
    """

    items: Sequence[_Item]
    number: int
    pages: int
    total: int
    first: int

    @classmethod
    def of(cls, everything: Sequence[_Item], number: int, size: int) -> "Page[_Item]":
        """Cut one page out of a list.

        Raises:
            NoSuchPageError: the list ends before it.
        """
        pages = max(1, -(-len(everything) // size))
        if not 1 <= number <= pages:
            raise NoSuchPageError(f"page {number} is not one of the {pages} that this list has")
        first = (number - 1) * size
        return cls(everything[first : first + size], number, pages, len(everything), first)

    def holding(self, items: Sequence[Any]) -> "Page[Any]":
        """Return the same page with other items, such as what the names on it stand for."""
        return Page(items, self.number, self.pages, self.total, self.first)


@dataclass(frozen=True, slots=True)
class Overview:
    """A dataset in the list of datasets: its newest version, or why there is none to show."""

    name: str
    url: str | None
    latest: Headline | None
    problem: str


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version in the list of versions: what its manifest says first, or why it cannot be read."""

    version: str
    headline: Headline | None
    problem: str


def _require_name(version: str) -> None:
    if not is_name(version):
        raise NoSuchPageError(f"{version!r} cannot be the name of a version")


class Catalog:
    """The configured datasets, and what was read of them."""

    def __init__(self, openers: Mapping[str, Callable[[], Store]]) -> None:
        self._openers = {name: opener for name, opener in openers.items() if is_name(name)}
        self._cache = Cache(_CACHE_BYTES)
        self._stores: dict[str, tuple[Store, float]] = {}

    @property
    def names(self) -> list[str]:
        """Names of the datasets, in the order of the configuration."""
        return list(self._openers)

    def dataset(self, name: str) -> "Dataset":
        """Return one dataset; its store is opened, in this process and not before.

        Raises:
            NoSuchPageError: it is not configured.
        """
        if name not in self._openers:
            raise NoSuchPageError(f"no dataset {name!r} is configured")
        now = time.monotonic()
        held = self._stores.get(name)
        if held is None or now - held[1] > _STORE_SECONDS:
            held = self._stores[name] = (self._openers[name](), now)
        return Dataset(name, held[0], self._cache)

    def overview(self, names: Collection[str]) -> list[Overview]:
        """Return these datasets with their newest versions; one that cannot be read says why."""

        def look(name: str) -> Overview:
            url = None
            try:
                dataset = self.dataset(name)
                url = dataset.store.url
                latest = read_latest(dataset.store)
                headline = dataset.headline(latest[0].version) if latest else None
            except AestheticsOpsError as error:
                return Overview(name, url, None, str(error))
            return Overview(name, url, headline, "" if headline else "nothing is published yet")

        with StoreThreads(_READS) as pool:
            return list(pool.map(look, names))


class Dataset:
    """One dataset: its versions and what is in them."""

    def __init__(self, name: str, store: Store, cache: Cache) -> None:
        self.name = name
        self.store = store
        self._cache = cache

    def latest(self) -> str | None:
        """Return the version that LATEST names; None where it names none, is gone or cannot be read."""
        latest = peek_latest(self.store)[0]
        return latest.version if latest else None

    def versions(self) -> list[str]:
        """Return the names of all versions, newest first: they begin with the time of their plan.

        Nothing but names is listed, however many there are.
        """
        return version_names(self.store)

    def candidates(self) -> list[CandidateInfo]:
        """Return the versions that a gate refused, newest first."""
        return list_candidates(self.store)

    def kept_by_name(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Return, by version, the names of the pointers that name it, and what pins it; none where one cannot be read."""
        try:
            return kept_by_name(self.store)
        except IntegrityError as error:
            _log.warning("%s", error)
            return {}, {}

    def promotion(self, version: str) -> Move | None:
        """Return who published a candidate though gates refused it; None for any other version."""
        return promotion_of(self.store, version, peek_latest(self.store)[0])

    def moves(self) -> list[LogEntry]:
        """Return every move of LATEST, pointers and pins, newest first.

        Raises:
            IntegrityError: one cannot be read.
        """
        return list(reversed(all_moves(self.store)))

    def headlines(self, versions: Collection[str]) -> list[ListedVersion]:
        """Return what the manifests of a few versions say first; one that was deleted meanwhile is left out."""

        def read(version: str) -> ListedVersion | None:
            try:
                return ListedVersion(version, self.headline(version), "")
            except NoSuchVersionError:
                return None
            except IntegrityError as error:
                return ListedVersion(version, None, str(error))

        with StoreThreads(_READS) as pool:
            return [listed for listed in pool.map(read, versions) if listed is not None]

    def headline(self, version: str) -> Headline:
        """Return what a version's manifest says first.

        Raises:
            NoSuchVersionError: there is no such version.
            IntegrityError: its manifest cannot be read.
        """
        _require_name(version)

        return self._cache.get(
            (self.name, version, "headline"), lambda: read_headline(self.store, version, None), lambda _: 2_000
        )

    def manifest(self, version: str) -> Manifest:
        """Return a version's manifest.

        Raises:
            NoSuchVersionError: there is no such version.
            IntegrityError: its manifest cannot be read.
        """
        _require_name(version)
        return self._cache.get(
            (self.name, version, "manifest"),
            lambda: read_manifest_of(self.store, version, peek_latest(self.store)[0]),
            lambda manifest: 1_500 * (20 + manifest.reuse.shards_total),
        )

    def file(self, version: str, name: VersionFile) -> bytes:
        """Return a file that belongs to a version.

        Args:
            version: that is published; its manifest must be there.
            name: of the file; never one out of a request.
        """
        manifest = self.manifest(version)
        return self._cache.get((self.name, version, name), lambda: bytes(read_sidecar(self.store, manifest, name)), len)

    def has_file(self, version: str, name: VersionFile) -> bool:
        """Say whether a published version has one of the files that may be missing, such as its report."""
        self.manifest(version)
        return self._cache.get(
            (self.name, version, name, "exists"),
            lambda: self.store.head(version_key(version, name)) is not None,
            lambda _: 100,
        )

    def shard(self, version: str, split: str, number: int) -> Shard:
        """Return one shard of a version, by its place in its split, from 0."""
        splits = self.manifest(version).splits
        if split not in splits:
            raise NoSuchPageError(f"version {version!r} has no split {split!r}; it has {', '.join(splits)}")
        shards = splits[split].shards
        if not 0 <= number < len(shards):
            raise NoSuchPageError(f"split {split!r} of version {version!r} has {len(shards)} shards, none is {number}")
        return shards[number]

    def photos(self, version: str, split: str, number: int, page: int, size: int) -> Page[PhotoRow]:
        """Return one page of the photos of a shard, in record order."""
        table = self._photos(version, split, number)
        found = Page.of(range(table.num_rows), page, size)
        return found.holding(photo_rows(table.slice(found.first, len(found.items))))

    def photo(self, version: str, split: str, number: int, record: int) -> PhotoRow:
        """Return one photo by its place in its shard, from 0."""
        photos = self._photos(version, split, number)
        if not 0 <= record < photos.num_rows:
            raise NoSuchPageError(f"shard {number} of split {split!r} has {photos.num_rows} photos, none is {record}")
        return photo_rows(photos.slice(record, 1))[0]

    def jpeg(self, version: str, split: str, number: int, record: int) -> bytes:
        """Return the stored JPEG of one record, read by byte range and checked.

        Raises:
            NoSuchPageError: there is no such record, or it is too large to show.
            IntegrityError: the bytes in the store are not the record that the index promises.
        """
        row = self.photo(version, split, number, record)
        if row.length > MOST_PHOTO_BYTES:
            raise NoSuchPageError(f"the record has {row.length} bytes; more than {MOST_PHOTO_BYTES} are not shown")
        example = decode_example(read_framed(bytes(self.store.get_range(row.shard, row.offset, row.length))))
        image = bytes(example.image)
        if example.id != row.id or not image.startswith(b"\xff\xd8\xff"):
            raise IntegrityError(
                f"record {record} of {self.store.url_of(row.shard)} is not the JPEG of photo {row.id!r}; verify"
            )
        return image

    def search(self, version: str, text: str, page: int, size: int) -> Page[FoundPhoto]:
        """Return the photos whose id contains a text, the one that is exactly it first, with where they stand."""
        data = self.file(version, VersionFile.RECORDS)
        exact = find_rows(data, ["id"], equal_to("id", text))
        others = np.setdiff1d(find_rows(data, ["id"], containing(["id"], text)), exact)
        places = np.concatenate([exact, others])
        found = Page.of(range(places.size), page, size)
        rows = photo_rows(read_rows(data, places[list(found.items)], PHOTO_COLUMNS, NOTED_LATER))
        splits = self.manifest(version).splits
        shards = {shard.path: (name, n) for name, split in splits.items() for n, shard in enumerate(split.shards)}
        return found.holding([self._placed(version, row, shards.get(row.shard)) for row in rows])

    def search_rejects(self, version: str, text: str, limit: int) -> list[RejectRow]:
        """Return a few rejects whose id or key contains a text."""
        data = self.file(version, VersionFile.REJECTS)
        places = find_rows(data, ["id", "key"], containing(["id", "key"], text))[:limit]
        return reject_rows(read_rows(data, places, REJECT_COLUMNS))

    def rejects(self, version: str, reason: str | None, page: int, size: int) -> Page[RejectRow]:
        """Return what was left out, for one reason or for all."""
        data = self.file(version, VersionFile.REJECTS)
        if reason is None:
            found = Page.of(range(row_count(data)), page, size)
            places = np.array(found.items, np.int64)
        else:
            matching = find_rows(data, ["reason"], equal_to("reason", reason))
            found = Page.of(range(matching.size), page, size)
            places = matching[list(found.items)]
        return found.holding(reject_rows(read_rows(data, places, REJECT_COLUMNS)))

    def difference(self, before: str, after: str) -> VersionDiff:
        """Return what `diff_versions` says of two versions."""
        for version in (before, after):
            self.manifest(version)
        return self._cache.get(
            (self.name, before, after, "difference"),
            lambda: diff_versions(self.store, before, after),
            lambda _: 20_000,
        )

    def _photos(self, version: str, split: str, number: int) -> pa.Table:
        """Return the rows of `records.parquet` for one shard, in record order."""
        path = self.shard(version, split, number).path
        if digest_of(path) is None:
            raise IntegrityError(f"the manifest of version {version!r} names {path!r}, which is not a shard")

        def load() -> pa.Table:
            data = self.file(version, VersionFile.RECORDS)
            return read_rows(data, find_rows(data, ["shard"], equal_to("shard", path)), PHOTO_COLUMNS, NOTED_LATER)

        return self._cache.get((self.name, version, "photos", path), load, lambda table: int(table.nbytes))

    def _placed(self, version: str, row: PhotoRow, shard: tuple[str, int] | None) -> FoundPhoto:
        """Return a photo with its place; `shard` is the split and the number of its shard."""
        if shard is None:
            raise IntegrityError(f"photo {row.id!r} is in no shard of version {version!r}; verify it")
        record = self._photos(version, *shard)["offset"].index(row.offset).as_py()
        return FoundPhoto(row, *shard, record)
