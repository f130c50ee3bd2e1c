"""Decide which photo goes into which shard, before any pixel is read.

In: the listing, the labels, and what the parent version planned.  Out: one row per listed photo, either in a shard or
with a reason why not, and the digest of each shard's recipe.
Pure: no clock, no network, no randomness.  Equal input gives an equal plan.  Columnar: DuckDB joins and sorts, numpy
cuts; nothing loops over photos.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

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
        photos: rows of PLAN_SCHEMA.
        groups: key and group (strings) of photos that it found to be near-duplicates; a key stands in one group only.
        seed: its shuffle seed.
        shard_bytes: its shard size, bytes.
    """

    photos: pa.Table
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
        shards: in reading order: by split, then by slot.
        unmatched: label rows that name no photo: row (1-based), name.
        label_range: (lowest, highest) score that scaling mapped to 0 and 1; None when scores are stored as they are.
    """

    photos: pa.Table
    shards: tuple[PlannedShard, ...]
    unmatched: pa.Table
    label_range: tuple[float, float] | None


def plan_photos(
    listing: pa.Table, labels: Labels, settings: BuildSettings, *, converter_version: int, parent: ParentPlan | None
) -> Plan:
    """Place every listed photo.

    Args:
        listing: key (string, unique), size (int64, bytes), etag (string).
        labels: the score file.
        settings: of this build.
        converter_version: part of every recipe.
        parent: the version to stay close to; where a setting asks for a plan from scratch, only its near-duplicates count.

    Raises:
        PlanError: nothing is listed, no photo has a usable label, or scores cannot be scaled.
    """
    if listing.num_rows == 0:
        raise PlanError(f"no objects under {settings.photos!r}; check the photos prefix, or upload photos first")
    groups = parent.groups if parent is not None and settings.near_duplicate_distance is not None else _NO_GROUPS
    if parent is not None and (
        settings.reshuffle or parent.seed != settings.seed or parent.shard_bytes != settings.shard_bytes
    ):
        parent = None
    with duckdb.connect() as db:
        db.register("listing", listing)
        db.register("label_rows", labels.table)
        db.register("near", groups)
        db.register("parent", parent.photos if parent is not None else PLAN_SCHEMA.empty_table())
        _join(db, settings)
        _reject_duplicates(db)
        _require_usable(db, settings)
        label_range = _scale(db, labels, settings)
        _choose_splits(db, settings)
        _choose_slots(db, settings)
        photos = db.sql(_PLACED).to_arrow_table()
        unmatched = db.sql(
            "FROM label_rows SELECT row, name WHERE row NOT IN (FROM matched) ORDER BY row"
        ).to_arrow_table()
    shards, digests = _shards(photos, settings, converter_version)
    photos = photos.append_column("digest", digests).select(PLAN_SCHEMA.names).cast(PLAN_SCHEMA)
    return Plan(photos, shards, unmatched, label_range)


def _join(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make tables `named` (one row per label name), `matched` (label row numbers) and `photo` (one row per listing)."""
    db.execute("""
        CREATE TEMP TABLE named AS
        SELECT name, by_key, min(row) AS row, arg_min(score, row) AS score, arg_min(distribution::FLOAT[], row) AS distribution,
            arg_min(split, row) AS split, min(excluded) AS excluded,
            CASE WHEN count(DISTINCT (score, distribution::VARCHAR, split)) > 1
                THEN count(*) || ' label rows disagree: ' || string_agg('row ' || row || ' has '
                    || coalesce(score::VARCHAR, 'none') || coalesce(' ' || split, ''), ', ' ORDER BY row)
                ELSE arg_min(problem, row) END AS problem
        FROM label_rows GROUP BY name, by_key""")
    suffixes = ", ".join(f"'{suffix}'" for suffix in _NOT_PHOTO_SUFFIXES)
    db.execute(f"""
        CREATE TEMP TABLE listed AS
        SELECT key, size, etag, regexp_replace(base, '(.)\\.[^.]*$', '\\1') AS stem,
            lower(regexp_extract(base, '.\\.([^.]*)$', 1)) IN ({suffixes}) OR base = '.DS_Store' AS is_sidecar
        FROM (SELECT key, size, etag, regexp_extract(key, '([^/]*)$', 1) AS base FROM listing)""")  # noqa: S608
    db.execute("""
        CREATE TEMP TABLE matched AS
        SELECT row FROM label_rows
        WHERE (by_key AND name IN (SELECT key FROM listed WHERE NOT is_sidecar))
            OR (NOT by_key AND name IN (SELECT stem FROM listed WHERE NOT is_sidecar))""")
    db.execute(f"""
        CREATE TEMP TABLE photo AS
        SELECT p.key, p.size, p.etag, CASE WHEN k.name IS NOT NULL THEN p.key ELSE p.stem END AS id,
            label.score, label.distribution, label.split AS named_split,
            CASE WHEN p.is_sidecar THEN '{RejectReason.NOT_A_PHOTO}'
                WHEN label.name IS NULL THEN '{RejectReason.UNLABELLED}'
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
        LEFT JOIN named k ON k.by_key AND k.name = p.key AND NOT p.is_sidecar
        LEFT JOIN named s ON NOT s.by_key AND s.name = p.stem AND NOT p.is_sidecar
        CROSS JOIN LATERAL (SELECT CASE WHEN k.name IS NOT NULL THEN k ELSE s END AS label)""")  # noqa: S608


def _reject_duplicates(db: duckdb.DuckDBPyConnection) -> None:
    """Keep the first photo of each id in key order, then the first of each content in id order."""
    for reason, same, order, other in (
        (RejectReason.DUPLICATE_ID, "id", "key", "'id ' || id || ' belongs to ' || first_key"),
        (RejectReason.DUPLICATE_PHOTO, "etag, size", "id, key", "'same ETag and size as ' || first_key"),
    ):
        db.execute(f"""
            UPDATE photo SET reason = '{reason}', detail = {other}
            FROM (SELECT key AS again, first_value(key) OVER same AS first_key FROM photo WHERE reason IS NULL
                WINDOW same AS (PARTITION BY {same} ORDER BY {order})) WHERE key = again AND key <> first_key""")  # noqa: S608


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
    """Add `label`, float32; return the range that was mapped to 0..1."""
    bounds: tuple[float, float] | None = None
    if settings.label_scale == "minmax":
        low, high = db.sql("SELECT min(score), max(score) FROM photo WHERE reason IS NULL").fetchall()[0]
        bounds = (low, high)
    elif settings.label_scale == "unit":
        ava = labels.format == "ava"
        low = settings.label_min if settings.label_min is not None else 1.0 if ava else None
        high = settings.label_max if settings.label_max is not None else 10.0 if ava else None
        if low is None or high is None:
            raise PlanError("label_scale 'unit' maps a declared range; set label_min and label_max")
        bounds = (low, high)
    if bounds is None:
        db.execute("ALTER TABLE photo ADD COLUMN label FLOAT; UPDATE photo SET label = score WHERE reason IS NULL")
        return None
    low, high = bounds
    if low == high:
        raise PlanError(
            f"label_scale {settings.label_scale!r} needs two different scores, but every score is {low}; use 'none'"
        )
    db.execute("ALTER TABLE photo ADD COLUMN label FLOAT")
    db.execute("UPDATE photo SET label = (score - ?) / ? WHERE reason IS NULL", [low, high - low])
    return bounds


def _choose_splits(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Add `split`: the label file's, or by a hash of the id alone, so that a photo never changes its split.

    Near-duplicates go by a hash of their group's name, so that they come together.
    """
    db.execute("ALTER TABLE photo ADD COLUMN split VARCHAR")
    if settings.split_column is not None:
        db.execute("UPDATE photo SET split = named_split WHERE reason IS NULL")
        return
    test, validation = settings.test_fraction, settings.test_fraction + settings.validation_fraction
    db.execute(
        """UPDATE photo SET split = CASE WHEN share < ? THEN 'test' WHEN share < ? THEN 'validation' ELSE 'train' END
        FROM (SELECT key AS same, md5_number_upper(? || ':' || coalesce(near."group", photo.id)) / 18446744073709551616.0 AS share
            FROM photo LEFT JOIN near USING (key))
        WHERE key = same AND reason IS NULL""",
        [test, validation, settings.split_salt],
    )


def _choose_slots(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `placed` (key, slot): the parent's slot where there is one, else room in open shards, else new shards.

    Open are a split's last shard and those under half full.  New photos fill them in order of hash, so a night's
    arrivals touch few shards.
    """
    db.execute(
        "CREATE TEMP TABLE sorted AS SELECT *, md5_number_lower(? || ':' || id) AS rank FROM photo",
        [str(settings.seed)],
    )
    db.execute("""
        CREATE TEMP TABLE placed AS SELECT s.key, p.slot FROM sorted s JOIN parent p USING (key, split)
        WHERE s.reason IS NULL AND p.slot IS NOT NULL""")
    for split in SPLITS:
        keys = db.sql(
            "SELECT key, size FROM sorted WHERE split = ? AND key NOT IN (SELECT key FROM placed) ORDER BY rank, id",
            params=[split],
        ).to_arrow_table()
        if keys.num_rows == 0:
            continue
        filled = db.execute(
            """SELECT slot, coalesce(sum(s.size), 0) AS bytes FROM parent p LEFT JOIN sorted s
                ON s.key = p.key AND s.split = p.split AND s.reason IS NULL
            WHERE p.split = ? AND p.slot IS NOT NULL GROUP BY slot ORDER BY slot""",
            [split],
        ).fetchnumpy()
        slots = _cut(keys["size"].to_numpy(), filled["slot"], filled["bytes"].astype(np.int64), settings.shard_bytes)
        db.register("arrived", pa.table({"key": keys["key"], "slot": pa.array(slots, pa.int32())}))
        db.execute("INSERT INTO placed SELECT key, slot FROM arrived")
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


_PLACED = f"""
    SELECT s.key, s.etag, s.size, s.id, s.split, placed.slot, s.label, s.distribution, s.reason, s.detail
    FROM sorted s LEFT JOIN placed USING (key)
    ORDER BY s.reason IS NOT NULL, list_position({list(SPLITS)}, s.split), placed.slot, s.rank, s.id, s.key
"""  # noqa: S608


def _shards(
    photos: pa.Table, settings: BuildSettings, converter_version: int
) -> tuple[tuple[PlannedShard, ...], pa.Array]:
    """Return the shards, and the digest column of the photos."""
    count = photos.num_rows - photos["reason"].drop_null().length()
    split = photos["split"].slice(0, count).combine_chunks().to_numpy(zero_copy_only=False)
    slot = photos["slot"].slice(0, count).to_numpy()
    starts = np.flatnonzero(np.r_[True, (slot[1:] != slot[:-1]) | (split[1:] != split[:-1])])
    ends = np.r_[starts[1:], count]
    sizes = np.add.reduceat(photos["size"].slice(0, count).to_numpy(), starts)
    digests = list(_digests(photos, starts, ends, settings, converter_version))
    shards = tuple(
        PlannedShard(str(split[first]), int(slot[first]), digest, int(first), int(end - first), int(size))
        for first, end, size, digest in zip(starts, ends, sizes, digests, strict=True)
    )
    indices = np.repeat(np.arange(len(shards), dtype=np.int32), ends - starts)
    column = pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(digests, pa.string()))
    rejected = pa.nulls(photos.num_rows - count, pa.string())
    return shards, pa.chunked_array([column.cast(pa.string()), rejected])


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
