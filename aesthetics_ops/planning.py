"""Decide which photo goes into which shard, before any pixel is read.

In: the listing, the labels, and what the parent version planned.  Out: one row per listed photo, either in a shard or
with a reason why not, and the digest of each shard's recipe.
Pure: no clock, no network, no randomness.  Equal input gives an equal plan.  Columnar: DuckDB joins and sorts, numpy
cuts; nothing loops over photos.  With a scratch folder, memory is bounded by what comes in and 2 GiB beside it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from aesthetics_ops.errors import PlanError
from aesthetics_ops.labels import Labels
from aesthetics_ops.manifest import SPLITS
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings

__all__ = ["PLAN_SCHEMA", "ParentPlan", "Plan", "PlannedShard", "balance", "plan_photos", "recipe_digest"]

PLAN_SCHEMA = pa.schema(
    [
        ("key", pa.string()),  # relative to the photos prefix
        ("etag", pa.string()),
        ("size", pa.int64()),  # bytes of the source
        ("id", pa.string()),
        ("split", pa.string()),  # null for a rejected photo, as are the next three
        ("slot", pa.int32()),  # number of the shard inside its split; kept from version to version
        ("digest", pa.string()),  # of the shard's recipe
        ("label", pa.float32()),  # after scaling
        ("distribution", pa.list_(pa.float32())),  # null where the labels have none
        ("reason", pa.string()),  # null for a photo in a shard
        ("detail", pa.string()),
    ]
)

_MEMORY_LIMIT: Final = "2GiB"  # of DuckDB's own; what is more goes to scratch
_ROWS_AT_ONCE: Final = 1 << 17
_REJECTED: Final = 1 << 60  # in the place of a shard's number

_NO_GROUPS = pa.schema([("key", pa.string()), ("group", pa.string())]).empty_table()

# Suffixes that no image format has.  A photo tool leaves such files beside its photos; anything else is tried by content.
_NOT_PHOTO_SUFFIXES = """
    aac aae avi bak bat bin bz2 cfg conf csv css db dll doc docx exe gz htm html ini ipynb jar js json jsonl lock log lrcat
    m4a m4v md md5 mkv mov mp3 mp4 mpg npy npz ods odt on1 parquet pdf pickle pkl pp3 ppt pptx ps1 py rar rtf sh sha1 sha256
    sqlite sqlite3 srt tar tfrecord tgz thm tmp toml torrent tsv txt url wav webm xls xlsx xml xmp xz yaml yml zip zst
""".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class ParentPlan:
    """What the parent version decided, as far as this plan keeps to it.

    Attributes:
        photos: rows of PLAN_SCHEMA, of which key, split and slot are looked at; or a Parquet file of them.
        groups: key and group (strings) of photos that it found to be near-duplicates; a key stands in one group only.
        seed: its shuffle seed.
        shard_bytes: its shard size, bytes.
    """

    photos: pa.Table | Path
    groups: pa.Table
    seed: int
    shard_bytes: int


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard to be.

    Attributes:
        split: one of SPLITS.
        slot: its number inside the split.
        digest: of its recipe.
        first: its first row in the plan's photos.
        photos: its number of rows there.
        source_bytes: their size.
    """

    split: str
    slot: int
    digest: str
    first: int
    photos: int
    source_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Every listed photo's place.

    Attributes:
        photos: rows of PLAN_SCHEMA; the shards' photos first, shard by shard in reading order, then the rejected ones.
            With a scratch folder they lie there, mapped and not loaded.
        shards: in reading order: by split, then by slot.
        unmatched: label rows that name no photo: row (1-based), name.
        label_range: (lowest, highest) score that scaling mapped to 0 and 1; None when scores are stored as they are.
    """

    photos: pa.Table
    shards: tuple[PlannedShard, ...]
    unmatched: pa.Table
    label_range: tuple[float, float] | None


def plan_photos(
    listing: pa.Table | Path,
    labels: Labels,
    settings: BuildSettings,
    *,
    converter_version: int,
    parent: ParentPlan | None,
    scratch: Path | None = None,
) -> Plan:
    """Place every listed photo.

    Args:
        listing: key (string, unique), size (int64, bytes), etag (string); or a Parquet file of them, or a folder of such.
        labels: the score file.
        settings: of this build.
        converter_version: part of every recipe.
        parent: the version to stay close to; where a setting asks for a plan from scratch, only its near-duplicates count.
        scratch: an empty folder for what does not fit into memory, about 600 bytes per photo; it has to stay as long as
            the plan.  None keeps everything in memory.

    Raises:
        PlanError: nothing is listed, no photo has a usable label, or scores cannot be scaled.
    """
    groups = parent.groups if parent is not None and settings.near_duplicate_distance is not None else _NO_GROUPS
    if parent is not None and (
        settings.reshuffle or parent.seed != settings.seed or parent.shard_bytes != settings.shard_bytes
    ):
        parent = None
    with closing(_database(scratch)) as db:
        _attach(db, "listing", listing)
        _attach(db, "label_rows", labels.table.append_column("place", pa.array(np.arange(labels.table.num_rows))))
        _attach(db, "near", groups)
        _attach(db, "parent", parent.photos if parent is not None else PLAN_SCHEMA.empty_table())
        _require_listed(db, settings)
        _join(db, settings)
        _reject_duplicates(db)
        _require_usable(db, settings)
        label_range = _scale(db, labels, settings)
        _choose_splits(db, settings)
        _choose_slots(db, settings)
        low, high = label_range or (0.0, 1.0)
        ordered = db.sql(_ORDERED, params=[low, high - low]).to_arrow_reader(_ROWS_AT_ONCE)
        shards: list[PlannedShard] = []
        photos = _gathered(_finished(ordered, shards, labels, settings, converter_version), scratch)
        unmatched = db.sql(_UNMATCHED).to_arrow_table()
    return Plan(photos, tuple(shards), unmatched, label_range)


def _database(scratch: Path | None) -> duckdb.DuckDBPyConnection:
    """Open a database in scratch, where tables are compressed and need not stay in memory; or one in memory."""
    if scratch is None:
        return duckdb.connect()
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": str(scratch / "spill"),
        "preserve_insertion_order": False,
    }
    return duckdb.connect(scratch / "plan.duckdb", config=limits)


def _attach(db: duckdb.DuckDBPyConnection, name: str, rows: pa.Table | Path) -> None:
    if isinstance(rows, Path):
        quoted = str(rows / "*.parquet" if rows.is_dir() else rows).replace("'", "''")
        db.execute(f"CREATE TEMP VIEW {name} AS FROM read_parquet('{quoted}')")
    else:
        db.register(name, rows)


def _require_listed(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    if not db.sql("SELECT 1 FROM listing LIMIT 1").fetchall():
        raise PlanError(f"no objects under {settings.photos!r}; check the photos prefix, or upload photos first")


def _join(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `photo`, one row per listed object; `key_place` and `stem_place` say which label rows name it.

    A label that stands in several rows is known by the first of them.
    """
    # grouping numbers is much cheaper than grouping names, and few names come twice
    db.execute("""
        CREATE TABLE repeated AS
        SELECT name, by_key FROM label_rows
        WHERE hash(name, by_key) IN (SELECT hash(name, by_key) FROM label_rows GROUP BY ALL HAVING count(*) > 1)
        GROUP BY ALL HAVING count(*) > 1""")
    db.execute("""
        CREATE TEMP VIEW named AS
        SELECT name, by_key, place, score, split, excluded, problem FROM label_rows ANTI JOIN repeated USING (name, by_key)
        UNION ALL
        SELECT name, by_key, min(place), arg_min(score, row), arg_min(split, row), min(excluded),
            CASE WHEN count(DISTINCT (score, distribution::VARCHAR, split)) > 1
                THEN count(*) || ' label rows disagree: ' || string_agg('row ' || row || ' has '
                    || coalesce(score::VARCHAR, 'none') || coalesce(' ' || split, ''), ', ' ORDER BY row)
                ELSE arg_min(problem, row) END
        FROM label_rows SEMI JOIN repeated USING (name, by_key) GROUP BY name, by_key""")
    suffixes = ", ".join(f"'{suffix}'" for suffix in _NOT_PHOTO_SUFFIXES)
    db.execute(f"""
        CREATE TEMP VIEW listed AS
        SELECT key, size, etag, regexp_replace(base, '(.)\\.[^.]*$', '\\1') AS stem,
            lower(regexp_extract(base, '.\\.([^.]*)$', 1)) IN ({suffixes}) OR base = '.DS_Store' AS is_sidecar
        FROM (SELECT key, size, etag, split_part(key, '/', -1) AS base FROM listing)""")  # noqa: S608
    db.execute(
        f"""
        CREATE TABLE photo AS
        SELECT p.key, p.size, p.etag, CASE WHEN k.place IS NOT NULL THEN p.key ELSE p.stem END AS id,
            md5_number_lower(? || ':' || id) AS rank, k.place AS key_place, s.place AS stem_place,
            label.score, label.split AS named_split,
            CASE WHEN p.is_sidecar THEN '{RejectReason.NOT_A_PHOTO}'
                WHEN label.place IS NULL THEN '{RejectReason.UNLABELLED}'
                WHEN label.excluded IS NOT NULL THEN '{RejectReason.EXCLUDED}'
                WHEN label.problem IS NOT NULL THEN '{RejectReason.LABEL_INVALID}'
                WHEN p.size > {settings.max_photo_bytes} THEN '{RejectReason.TOO_LARGE}' END AS reason,
            CASE reason WHEN '{RejectReason.NOT_A_PHOTO}' THEN 'no image format has this suffix'
                WHEN '{RejectReason.UNLABELLED}' THEN 'no label row names it'
                WHEN '{RejectReason.EXCLUDED}' THEN label.excluded
                WHEN '{RejectReason.LABEL_INVALID}' THEN label.problem
                WHEN '{RejectReason.TOO_LARGE}' THEN size || ' bytes, over max_photo_bytes {settings.max_photo_bytes}'
                END AS detail
        FROM listed p
        LEFT JOIN named k ON k.by_key AND k.name = CASE WHEN NOT p.is_sidecar THEN p.key END
        LEFT JOIN named s ON NOT s.by_key AND s.name = CASE WHEN NOT p.is_sidecar THEN p.stem END
        CROSS JOIN LATERAL (SELECT CASE WHEN k.place IS NOT NULL THEN k ELSE s END AS label)""",  # noqa: S608
        [str(settings.seed)],
    )


def _reject_duplicates(db: duckdb.DuckDBPyConnection) -> None:
    """Keep the first photo of each id in key order, then the first of each content in id order."""
    for reason, same, order, other in (
        (RejectReason.DUPLICATE_ID, "id", "key", "'id ' || id || ' belongs to ' || first_key"),
        (RejectReason.DUPLICATE_PHOTO, "etag, size", "id, key", "'same ETag and size as ' || first_key"),
    ):
        db.execute(f"""
            CREATE OR REPLACE TABLE again AS
            SELECT key, {other} AS why
            FROM (SELECT key, id, first_value(key) OVER same AS first_key FROM photo
                WHERE reason IS NULL AND hash({same}) IN
                    (SELECT hash({same}) FROM photo WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1)
                WINDOW same AS (PARTITION BY {same} ORDER BY {order})) WHERE key <> first_key""")  # noqa: S608
        db.execute("UPDATE photo SET reason = ?, detail = why FROM again WHERE photo.key = again.key", [str(reason)])


def _require_usable(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    counts = dict(
        db.sql("SELECT coalesce(reason, 'usable'), count(*) FROM photo GROUP BY ALL ORDER BY 2 DESC").fetchall()
    )
    if counts.get("usable"):
        return
    found = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    photo, name = db.sql("SELECT (SELECT min(key) FROM photo), (SELECT min(name) FROM label_rows)").fetchall()[0]
    raise PlanError(
        f"no photo under {settings.photos!r} has a usable score in {settings.labels!r}: {found}; "
        f"the first photo is {photo!r}, the first label {name!r}: check that labels name photos by key or by stem"
    )


def _scale(db: duckdb.DuckDBPyConnection, labels: Labels, settings: BuildSettings) -> tuple[float, float] | None:
    """Return the range that is mapped to 0..1; None where scores stay as they are."""
    if settings.label_scale == "none":
        return None
    if settings.label_scale == "minmax":
        low, high = db.sql("SELECT min(score), max(score) FROM photo WHERE reason IS NULL").fetchall()[0]
    else:
        ava = labels.format == "ava"
        low = settings.label_min if settings.label_min is not None else 1.0 if ava else None
        high = settings.label_max if settings.label_max is not None else 10.0 if ava else None
        if low is None or high is None:
            raise PlanError("label_scale 'unit' maps a declared range; set label_min and label_max")
    if low == high:
        raise PlanError(
            f"label_scale {settings.label_scale!r} needs two different scores, but every score is {low}; use 'none'"
        )
    return low, high


def _choose_splits(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `chosen`, one row per usable photo: its row in `photo`, its split and the parent's slot there.

    The split is the label file's, or goes by a hash of the id alone, so that a photo never changes it.  Near-duplicates
    go by a hash of their group's name, so that they come together.
    """
    test, validation = settings.test_fraction, settings.test_fraction + settings.validation_fraction
    by_hash = """CASE WHEN share < ? THEN 'test' WHEN share < ? THEN 'validation' ELSE 'train' END"""
    share = """md5_number_upper(? || ':' || coalesce(near."group", p.id)) / 18446744073709551616.0"""
    is_named = settings.split_column is not None
    db.execute(
        f"""
        CREATE TABLE chosen AS
        SELECT n, rank, id, size, split, slot
        FROM (SELECT *, {"named_split" if is_named else by_hash} AS split
            FROM (SELECT p.rowid AS n, p.rank, p.id, p.key, p.size, p.named_split, {"NULL" if is_named else share} AS share
                FROM photo p LEFT JOIN near USING (key) WHERE p.reason IS NULL))
        LEFT JOIN (SELECT key, split, slot FROM parent) AS before USING (key, split)""",  # noqa: S608
        [] if is_named else [test, validation, settings.split_salt],
    )


def _choose_slots(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `placed`: the shard of each usable photo, as a number that grows in reading order.

    A photo takes the parent's slot where there is one, else room in open shards, else new shards.  Open are a split's
    last shard and those under half full.  New photos fill them in order of hash, so a night's arrivals touch few shards.
    """
    db.execute("CREATE TABLE placed (n BIGINT, shard BIGINT)")
    for number, split in enumerate(SPLITS):
        base = number << 32
        db.execute(
            "INSERT INTO placed SELECT n, ? + slot FROM chosen WHERE split = ? AND slot IS NOT NULL", [base, split]
        )
        arrived = db.execute(
            "SELECT n, size FROM chosen WHERE split = ? AND slot IS NULL ORDER BY rank, id", [split]
        ).fetchnumpy()
        if not len(arrived["n"]):
            continue
        filled = db.execute(
            """SELECT slot, coalesce(bytes, 0)::BIGINT AS bytes
            FROM (SELECT DISTINCT slot FROM parent WHERE split = $split AND slot IS NOT NULL)
            LEFT JOIN (SELECT slot, sum(size) AS bytes FROM chosen WHERE split = $split GROUP BY slot) USING (slot)
            ORDER BY slot""",
            {"split": split},
        ).fetchnumpy()
        slots = _cut(arrived["size"], filled["slot"], filled["bytes"], settings.shard_bytes)
        db.register("arrived", pa.table({"n": arrived["n"], "shard": slots.astype(np.int64) + base}))
        db.execute("INSERT INTO placed SELECT n, shard FROM arrived")
        db.unregister("arrived")


def _cut(sizes: np.ndarray, slots: np.ndarray, filled: np.ndarray, shard_bytes: int) -> np.ndarray:
    """Give each new photo a slot.

    Args:
        sizes: of the new photos in their order, bytes, shape (n,).
        slots: numbers in use, ascending, shape (m,).
        filled: bytes already in each, shape (m,).
        shard_bytes: bytes that fill a shard.

    Returns:
        Slot numbers, int64, shape (n,).  A shard takes photos until it is full, so it ends at most one photo over.
    """
    is_last = np.arange(len(slots)) == len(slots) - 1
    is_open = (filled < shard_bytes // 2) | (is_last & (filled < shard_bytes))
    order = np.argsort(~is_last[is_open], kind="stable")  # the last shard first
    open_slots, room = slots[is_open][order], shard_bytes - filled[is_open][order]
    starts = np.cumsum(sizes) - sizes  # bytes of new photos before each
    ends = np.cumsum(room)
    total_room = int(ends[-1]) if len(ends) else 0
    first_new = int(slots[-1]) + 1 if len(slots) else 0
    fresh = first_new + (starts - total_room) // shard_bytes
    if not len(open_slots):
        return np.asarray(fresh)
    reused = open_slots[np.minimum(np.searchsorted(ends, starts, side="right"), len(open_slots) - 1)]
    return np.asarray(np.where(starts < total_room, reused, fresh))


_ORDERED = f"""
    SELECT p.key, p.etag, p.size, p.id, coalesce(placed.shard, {_REJECTED}) AS shard,
        CASE WHEN p.reason IS NULL THEN (p.score - ?) / ? END::FLOAT AS label,
        coalesce(p.key_place, p.stem_place) AS place, p.reason, p.detail
    FROM photo p LEFT JOIN placed ON placed.n = p.rowid
    ORDER BY shard, p.rank, p.id, p.key
"""  # noqa: S608
_UNMATCHED = """
    WITH matched AS (SELECT key_place AS place FROM photo UNION ALL SELECT stem_place FROM photo),
    known AS (
        SELECT name, by_key, min(place) AS first FROM label_rows SEMI JOIN repeated USING (name, by_key) GROUP BY ALL)
    SELECT row, name
    FROM (SELECT row, name, coalesce(known.first, label_rows.place) AS place FROM label_rows LEFT JOIN known USING (name, by_key))
    ANTI JOIN matched USING (place) ORDER BY row
"""


def _finished(
    ordered: Iterable[pa.RecordBatch],
    shards: list[PlannedShard],
    labels: Labels,
    settings: BuildSettings,
    converter_version: int,
) -> Iterator[pa.Table]:
    """Yield the plan's rows, whole shards at a time, and add the shards to `shards`."""
    first = 0
    distributions = _Distributions(labels)
    for rows in _whole_shards(ordered):
        shard = rows["shard"].to_numpy()
        count = int(np.searchsorted(shard, _REJECTED))
        bounds = np.r_[np.flatnonzero(np.diff(shard[:count], prepend=-1)), count]
        columns = {
            **{name: rows[name] for name in ("key", "etag", "size", "id", "label", "reason", "detail")},
            "split": pa.array(SPLITS).take(pa.array(shard >> 32, mask=shard == _REJECTED)),
            "slot": pa.array((shard & 0xFFFFFFFF).astype(np.int32), mask=shard == _REJECTED),
            "distribution": distributions.at(rows["place"]),
        }
        digests = list(_digests(pa.table(columns), bounds[:-1], bounds[1:], settings, converter_version))
        which = np.repeat(np.arange(len(digests)), np.diff(bounds))
        which = np.r_[which, np.zeros(len(shard) - count, np.int64)]
        columns["digest"] = pa.array(digests, pa.string()).take(pa.array(which, mask=shard == _REJECTED))
        sizes = np.add.reduceat(rows["size"].to_numpy(), bounds[:-1]) if count else ()
        for start, end, digest, size in zip(bounds[:-1], bounds[1:], digests, sizes, strict=True):
            split, slot = SPLITS[shard[start] >> 32], int(shard[start] & 0xFFFFFFFF)
            shards.append(PlannedShard(split, slot, digest, first + int(start), int(end - start), int(size)))
        first += len(shard)
        yield pa.table({name: columns[name] for name in PLAN_SCHEMA.names}).cast(PLAN_SCHEMA)


def _whole_shards(ordered: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the same rows cut where a shard ends, or among rejected photos."""
    held: list[pa.Table] = []
    for batch in ordered:
        rows = pa.table(batch)
        shard = rows["shard"].to_numpy()
        ends = np.flatnonzero(np.diff(shard)) + 1
        cut = len(shard) if shard[-1] == _REJECTED else int(ends[-1]) if len(ends) else 0
        if held and (cut or held[-1]["shard"][-1].as_py() != shard[0]):
            yield pa.concat_tables([*held, rows.slice(0, cut)])
            held = []
        elif cut:
            yield rows.slice(0, cut)
        if cut < len(shard):
            held.append(rows.slice(cut))
    if held:
        yield pa.concat_tables(held)


class _Distributions:
    """The labels' distributions, to be taken by position."""

    def __init__(self, labels: Labels) -> None:
        column = labels.table["distribution"] if labels.has_distribution else None
        self._shares = self._is_there = None
        if column is not None:
            array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
            self._is_there = np.asarray(array.is_valid())
            values = array.values.slice(array.offset * 10, len(array) * 10)
            self._shares = np.asarray(values.fill_null(0)).reshape(-1, 10)

    def at(self, places: pa.ChunkedArray) -> pa.Array:
        """Return lists of float32; null where the place is null, or has none."""
        if self._shares is None or self._is_there is None:
            return pa.nulls(len(places), pa.list_(pa.float32()))
        wanted = places.fill_null(-1).to_numpy()
        is_there = (wanted >= 0) & self._is_there[wanted]
        offsets = np.r_[0, np.cumsum(is_there * 10)].astype(np.int32)
        values = pa.array(self._shares[wanted[is_there]].ravel())
        return pa.ListArray.from_arrays(offsets, values, mask=pa.array(~is_there))


def _gathered(tables: Iterable[pa.Table], scratch: Path | None) -> pa.Table:
    """Return the tables as one: in memory, or in a file in scratch that is mapped."""
    if scratch is None:
        return pa.concat_tables([PLAN_SCHEMA.empty_table(), *tables])
    path = scratch / "plan.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, PLAN_SCHEMA) as writer:
        for table in tables:
            writer.write_table(table.combine_chunks())
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def recipe_digest(photos: pa.Table, settings: BuildSettings, *, converter_version: int) -> str:
    """Return the digest of the recipe of a shard that holds exactly these photos, in this order.

    Args:
        photos: key, etag, size, id, label, distribution, as in PLAN_SCHEMA; at least one row.
        settings: of the build.
        converter_version: of the code that makes records from photos.

    Returns:
        Sha256, 64 hex digits.  docs/format.md says what is hashed.
    """
    (digest,) = _digests(photos, np.array([0]), np.array([photos.num_rows]), settings, converter_version)
    return digest


def _digests(
    photos: pa.Table, starts: np.ndarray, ends: np.ndarray, settings: BuildSettings, converter_version: int
) -> Iterator[str]:
    header = json.dumps({"recipe": 1, "converter": converter_version, **settings.recipe}, sort_keys=True).encode()
    texts = [_text_buffers(photos[name]) for name in ("key", "etag", "id")]
    sizes = photos["size"].to_numpy().astype("<i8")
    labels = photos["label"].to_numpy().astype("<f4")
    lengths, shares = _list_buffers(photos["distribution"])
    for first, end in zip(starts, ends, strict=True):
        digest = hashlib.sha256(b"%d %s" % (end - first, header))
        for offsets, data in texts:
            digest.update(np.diff(offsets[first : end + 1]).astype("<i8").data)
            digest.update(data[offsets[first] : offsets[end]])
        digest.update(sizes[first:end].data)
        digest.update(labels[first:end].data)
        digest.update(np.diff(lengths[first : end + 1]).astype("<i8").data)
        digest.update(shares[lengths[first] : lengths[end]].data)
        yield digest.hexdigest()


def _text_buffers(column: pa.ChunkedArray) -> tuple[np.ndarray, memoryview]:
    """Return the column's offsets, int64, shape (rows + 1,), and its UTF-8 bytes."""
    array = pa.concat_arrays(column.cast(pa.large_string()).chunks or [pa.array([], pa.large_string())])
    _, offsets, data = array.buffers()
    if offsets is None:
        return np.zeros(1, np.int64), memoryview(b"")
    first = array.offset
    return np.frombuffer(offsets, np.int64)[first : first + len(array) + 1], memoryview(data or b"")


def _list_buffers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets, int64, shape (rows + 1,), and values, float32; a null counts as an empty list."""
    array = pa.concat_arrays(
        column.cast(pa.large_list(pa.float32())).chunks or [pa.array([], pa.large_list(pa.float32()))]
    )
    values = array.flatten().to_numpy(zero_copy_only=False).astype("<f4")
    lengths = np.asarray(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    return np.r_[0, np.cumsum(lengths)], values


def balance(work: list[tuple[str, int]], *, partitions: int, partition_bytes: int) -> list[list[str]]:
    """Deal shards out to parallel tasks, largest first, each to the task with the least so far.

    Args:
        work: (digest, source bytes) of each shard.
        partitions: most tasks; > 0.
        partition_bytes: bytes that are worth one more task; > 0.

    Returns:
        Digests per task; no list is empty, and there are no more lists than the work is worth.
    """
    total = sum(size for _, size in work)
    count = min(partitions, len(work), max(1, -(-total // partition_bytes)))
    loads = [0] * count
    parts: list[list[str]] = [[] for _ in range(count)]
    for digest, size in sorted(work, key=lambda shard: (-shard[1], shard[0])):
        lightest = min(range(count), key=loads.__getitem__)
        loads[lightest] += size
        parts[lightest].append(digest)
    return parts
