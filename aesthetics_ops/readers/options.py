"""What can be asked of every reader, in one place: how to read, in which order, to which pixels.

In: a split of a version, and options.  Out: `Records`, or `Batches` of them; the readers of frameworks are made of these.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypedDict

from numpy.typing import ArrayLike

from aesthetics_ops.dataset.layout import LATEST_KEY
from aesthetics_ops.errors import NoSuchSplitError, NoSuchVersionError, SettingsError
from aesthetics_ops.readers.batches import Batches
from aesthetics_ops.readers.cache import PixelCache, require_memory
from aesthetics_ops.readers.fetching.split import Keeping, SplitReader
from aesthetics_ops.readers.given import local_directory, whole_number
from aesthetics_ops.readers.opened import KEPT_RECORDS, PulledVersion, Version, is_pulled, open_pulled
from aesthetics_ops.readers.pixels import Pixels
from aesthetics_ops.readers.records import Records
from aesthetics_ops.readers.sampling.sampler import Sampler, Shuffle
from aesthetics_ops.readers.sampling.state import Receipt
from aesthetics_ops.readers.sampling.steps import Last
from aesthetics_ops.readers.targets import Asked, Targets

__all__ = ["Cache", "OrderOptions", "ReadOptions", "batches_of", "open_records", "pixels_of"]

Cache = Literal["jpeg", "uint8"]


class OrderOptions(TypedDict, total=False):
    """In which order records come, and which of them come to this process; see `Sampler`.

    Attributes:
        batch: records that this process gets at once; 64 by default.
        shuffle: False, the reading order; True, a random order of all records; "block", a random order for range reads.
        seed: of the order and of every crop and flip.
        rank: of this process.
        ranks: trainer processes.
        last: what becomes of records that fill no batch: "even", "drop" or "pad".
        weights: how often each record comes, in proportion; shape (n,).
        balance: "label" lets every range of scores come equally often.
        block: records of a block, for "block".
        window: blocks that are mixed, for "block".
    """

    batch: int
    shuffle: Shuffle
    seed: int
    rank: int
    ranks: int
    last: Last
    weights: ArrayLike | None
    balance: Literal["label"] | None
    block: int | None
    window: int | None


class ReadOptions(OrderOptions, total=False):
    """Where records come from, what they become, and how many are made in advance.

    Attributes:
        directory: that a version was pulled into, or that keeps what a store sends; also holds the cache of pixels.
        max_bytes: of records that `directory` keeps; by default all but 1 GiB of the disk.
        where: an SQL condition over records.parquet; only such records come.
        size: height and width of the photos in px, 224 by default.
        pixels: more than a size: how photos are cropped, antialiased and mirrored.
        raw: gives JPEGs as they are stored.
        labels: what comes with each photo: "label", "distribution", "votes", "label_std" or the name of an extra score,
            or a list of such, which gives a dict; `Dataset.label_names` tells which there are.
        cache: "uint8" keeps decoded pixels in `directory`; "jpeg" has the system read all shards into its memory.
        threads: that decode, by default one per core.
        ahead: batches that are made while one is trained on; by default 24 photos for each thread, and 2 batches or more.
    """

    directory: str | Path | None
    max_bytes: int | None
    where: str | None
    size: int | tuple[int, int]
    pixels: Pixels | None
    raw: bool
    labels: Asked
    cache: Cache | None
    threads: int | None
    ahead: int | None


def open_records(
    version: Version,
    split: str,
    *,
    directory: str | Path | None = None,
    max_bytes: int | None = None,
    where: str | None = None,
) -> Records:
    """Open a split for random access; arguments as `ReadOptions`.

    Raises:
        SettingsError: `where` is no condition, `directory` no place to keep something, or `max_bytes` no number.
        IntegrityError: a local shard, or the table of records, is not what the manifest says.
    """
    place = None if directory is None else local_directory(directory)
    if place is not None and Path(place / LATEST_KEY).exists():  # False where this user may not look
        raise SettingsError(f"{str(place)!r} is a published dataset; name another directory")
    if max_bytes is not None:
        whole_number("max_bytes", max_bytes, 0)
    if place is not None and is_pulled(place) and not isinstance(version, PulledVersion):
        version = _pulled_instead(version, split, place)
    keeping = Keeping(None if place is None else place / KEPT_RECORDS, max_bytes)
    records = Records(SplitReader(version, split, keeping))
    return records if where is None else records.where(where)


def _pulled_instead(version: Version, split: str, directory: Path) -> Version:
    """Return what was pulled into a directory where that is the same version, with this split."""
    with suppress(NoSuchVersionError, NoSuchSplitError):
        pulled = open_pulled(directory)
        if pulled.manifest_sha256 == version.manifest_sha256:
            for number in range(len(version.manifest.splits[split].shards)):
                pulled.local_shard(split, number)
            return pulled
    return version


def pixels_of(options: ReadOptions) -> Pixels | None:
    """Return how photos are decoded; None where JPEGs are asked for.

    Raises:
        SettingsError: options contradict each other.
    """
    given = [name for name in ("size", "pixels", "raw") if options.get(name)]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} say different things of the photos; give one of them")
    raw, pixels = options.get("raw", False), options.get("pixels")
    if not isinstance(raw, bool):
        raise SettingsError(f"raw is {raw!r}; it is True or False")
    if pixels is not None and not isinstance(pixels, Pixels):
        raise SettingsError(f"pixels is {pixels!r}; give Pixels(...), or a size alone as size")
    return None if raw else pixels or Pixels(options.get("size", 224))


def _sampler_of(records: Records, options: ReadOptions) -> Sampler:
    """Return the order in which records come to this process.

    Raises:
        SettingsError: as `Sampler`.
    """
    names = OrderOptions.__annotations__.keys() - {"batch"}
    order: dict[str, Any] = {name: options[name] for name in names if name in options}  # type: ignore[literal-required]
    version = records.reader.version
    receipt = Receipt(
        version.manifest.dataset,
        version.manifest.version,
        version.manifest_sha256,
        records.reader.split,
        records.choice.where,
        records.choice.digest,
    )
    if order.get("shuffle") == "block":
        order["shards"] = records.shards
    if order.get("balance"):
        order["labels"] = records.labels
    return Sampler(len(records), options.get("batch", 64), receipt=receipt, **order)


def batches_of(records: Records, options: ReadOptions) -> Batches:
    """Return batches of one rank.

    Raises:
        SettingsError, ScratchSpaceError: options contradict each other or are none, or a cache has no room.
    """
    for name in options.keys() - ReadOptions.__annotations__.keys():
        raise SettingsError(
            f"{name!r} is no option here; the options are {', '.join(sorted(ReadOptions.__annotations__))}"
        )
    pixels, labels = pixels_of(options), options.get("labels", "label")
    Targets(records.reader, labels)  # before the index is read, so that both are read at once
    return Batches(
        records,
        _sampler_of(records, options),
        pixels,
        labels=labels,
        cache=_cache_of(records, pixels, options),
        threads=options.get("threads"),
        ahead=options.get("ahead"),
    )


def _cache_of(records: Records, pixels: Pixels | None, options: ReadOptions) -> PixelCache | None:
    cache = options.get("cache")
    if cache is None:
        return None
    if cache not in ("jpeg", "uint8"):
        raise SettingsError(f"cache is {cache!r}; it is 'jpeg', 'uint8' or None")
    given = options.get("directory")
    version, shards = records.reader.version, records.reader.entry.shards
    pulled = version.path if isinstance(version, PulledVersion) else None
    place = pulled if given is None else local_directory(given)
    if cache == "jpeg":
        if not records.reader.is_local and not place:
            raise SettingsError(
                "cache='jpeg' keeps what the store sends in a directory; give directory, or pull the version"
            )
        size = sum(shard.bytes for shard in shards)
        require_memory(size, cache, f"the {len(shards):,} shards of split {records.reader.split!r}")
        records.reader.read_ahead()
        return None
    if pixels is None:
        raise SettingsError("cache='uint8' keeps decoded photos, and raw=True decodes none; leave one of them out")
    if not place:
        raise SettingsError("cache='uint8' keeps decoded photos in a directory; give directory, or pull the version")
    return PixelCache(place, shards, pixels)
