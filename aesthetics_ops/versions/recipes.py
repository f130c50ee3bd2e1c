"""Compare the plan of a version with the recipes that its digests name, and with the shards of the manifest.

In: the manifest, its tables, and which rows of the plan became records.  Out: nothing, or the first difference.
All shards in some rows of the plan are compared at once: a question to Arrow for each of them would take most of the time.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Final, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.layout import ShardFile, VersionFile, shard_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.recipe import Converter, recipe_digests
from aesthetics_ops.dataset.shard_entries import ShardColumns
from aesthetics_ops.dataset.tables import ROWS_AT_ONCE
from aesthetics_ops.errors import IntegrityError, SettingsError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.versions.comparing import Part, require_equal
from aesthetics_ops.versions.rows import Rows, VersionTables

__all__ = ["Fates", "check_recipes", "settings_of"]

_READ: Final = [
    "key", "etag", "size", "id", "split", "slot", "digest", "label", "distribution", "votes", "label_std", "extra_scores",
]  # fmt: skip
_DIGEST_BYTES: Final = 32
_Digests = Callable[[pa.Table, np.ndarray, np.ndarray], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of the plan's rows, in its order; bool, shape (rows,).

    Attributes:
        is_record: a record has the key.
        is_lost: a reject has it, for a reason that only conversion finds.
    """

    is_record: np.ndarray
    is_lost: np.ndarray


def check_recipes(tables: VersionTables, fates: Fates) -> None:
    """Compare the plan's digests with its rows, and what names shards with the digests of the recipes without lost photos.

    Args:
        tables: of the version, whose manifest names its converter.
        fates: of the plan's rows.

    Raises:
        IntegrityError: the first difference; names the object, the field and both values.
    """
    manifest, name = tables.manifest, tables.name(VersionFile.PLAN)
    digests = _digests_of(manifest)
    records, rejects = (
        (tables.name(file), Rows(tables.batches(file, ["id", "shard"])))
        for file in (VersionFile.RECORDS, VersionFile.REJECTS)
    )
    fingerprint = hashlib.sha256()
    named = {split: bytearray() for split in manifest.splits}
    slots = _Slots(name)
    row = 0
    for rows, starts in _shards_of(tables, fates):
        ends = np.r_[starts[1:], rows.num_rows].astype(np.int64)
        found = list(digests(rows, starts, ends))
        stated, splits = (rows[field].take(pa.array(starts)).to_pylist() for field in ("digest", "split"))
        wrong = next((n for n, (ours, theirs) in enumerate(zip(found, stated, strict=True)) if ours != theirs), None)
        made = _without_lost(rows, starts, ends, found, digests)
        held = _counted(rows["is_record"], starts)
        left = ends - starts - held
        _require_named(name, made[:wrong], (*records, held[:wrong]), (*rejects, left[:wrong]))
        if wrong is not None:
            raise _not_its_recipe(name, stated[wrong], row + starts[wrong], row + ends[wrong] - 1, found[wrong])
        slots.check(rows, starts, ends, splits, row)
        for split, digest, count in zip(splits, made, held.tolist(), strict=True):
            fingerprint.update(f"{split}:{digest}\n".encode() if digest else b"")
            named.setdefault(split, bytearray()).extend(bytes.fromhex(digest) if count else b"")
        row += rows.num_rows
    while rejects[1].is_more:
        _require_named(name, [""], (*rejects, np.array([ROWS_AT_ONCE])))
    _check_shards(manifest, named)
    stored = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
    require_equal(stored, "fingerprint", manifest.fingerprint, "its recipes give", fingerprint.hexdigest())


class _Slots:
    """The slots of the plan's shards: one for all rows of a shard, and rising from shard to shard of a split."""

    def __init__(self, name: str) -> None:
        self._name = name  # of the plan
        self._last: dict[str, int] = {}  # by split

    def check(self, rows: pa.Table, starts: np.ndarray, ends: np.ndarray, splits: Sequence[str], first: int) -> None:
        """Look at the plan's next shards; raises IntegrityError with the first row that has another slot.

        Args:
            rows: of the shards.
            starts: number of each shard's first row in `rows`, shape (shards,).
            ends: number after each shard's last row.
            splits: of the shards.
            first: number of the first of the rows in the plan.
        """
        slots = rows["slot"].fill_null(-1).to_numpy()
        others = np.flatnonzero(slots != np.repeat(slots[starts], ends - starts))
        if len(others):
            shard = int(np.searchsorted(starts, others[0], side="right")) - 1
            self._refuse(
                first + others[0], slots[others[0]], f"that of its shard's first row is {slots[starts[shard]]}"
            )
        for start, split, slot in zip(starts.tolist(), splits, slots[starts].tolist(), strict=True):
            before = self._last.get(split, -1)
            if slot <= before:
                self._refuse(first + start, slot, f"the shard before it in {split} has {before}; slots rise")
            self._last[split] = slot

    def _refuse(self, row: int, slot: int, rule: str) -> NoReturn:
        raise IntegrityError(f"{self._name}: slot of row {row} is {slot}, and {rule}")


def _not_its_recipe(name: str, stated: str, first: int, last: int, found: str) -> IntegrityError:
    return IntegrityError(
        f"{name}: digest {stated} of rows {first} to {last} is not that of their recipe (key, etag, id, size, label, distribution, "
        f"label_std, votes, extra_scores, and the settings and converter of the manifest), {found}"
    )


def _digests_of(manifest: Manifest) -> _Digests:
    """Return what gives the digest of the recipe of each shard, of the rows from one number to before another."""
    assert manifest.converter is not None  # noqa: S101 - the caller looked
    converter = Converter(manifest.converter.version, manifest.converter.codecs)
    return partial(recipe_digests, settings=settings_of(manifest), converter=converter)


def _counted(column: pa.ChunkedArray, starts: np.ndarray) -> np.ndarray:
    """Return how many values of each shard are true: int64, shape (shards,)."""
    counts: np.ndarray = np.add.reduceat(column.to_numpy().astype(np.int64), starts)
    return counts


def _without_lost(
    rows: pa.Table, starts: np.ndarray, ends: np.ndarray, planned: Sequence[str], digests: _Digests
) -> list[str]:
    """Return the digest of each shard's recipe without its lost photos; an empty text where it has no others."""
    made = list(planned)
    for number in np.flatnonzero(_counted(rows["is_lost"], starts)).tolist():
        photos = rows.slice(starts[number], ends[number] - starts[number])
        left = photos.filter(pc.invert(photos["is_lost"]))
        made[number] = next(iter(digests(left, np.array([0]), np.array([left.num_rows])))) if left.num_rows else ""
    return made


def _require_named(plan: str, digests: Sequence[str], *tables: tuple[str, Rows, np.ndarray]) -> None:
    """The next rows of tables name the shard whose recipe holds their photos, or none; of several differences the first shard's is told.

    Args:
        plan: its name.
        digests: of the shards; an empty text where photos are in none.
        tables: of each its name, rows, and how many of them follow for each shard at most, shape (shards,).
    """
    paths = pa.array([shard_key(digest, ShardFile.RECORDS) if digest else None for digest in digests], pa.string())
    differences = []
    for name, rows, counts in tables:
        part = Part(name, first=rows.first, rows=rows.take(int(counts.sum())))
        numbers = np.repeat(np.arange(len(counts)), counts)[: part.rows.num_rows]
        expected = pa.chunked_array([paths.take(pa.array(numbers))])
        if (difference := part.difference("shard", f"the recipe of {plan}", expected)) is not None:
            row, message = difference
            differences.append((int(numbers[row]), message))
    if differences:
        raise IntegrityError(min(differences, key=lambda difference: difference[0])[1])


def _shards_of(tables: VersionTables, fates: Fates) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Yield the plan's placed rows, with their fates, in pieces of whole shards; and where in a piece each shard begins."""
    held: pa.Table | None = None
    first = 0
    for plan in tables.batches(VersionFile.PLAN, _READ):
        for field in ("is_record", "is_lost"):
            plan = plan.append_column(field, pa.array(getattr(fates, field)[first : first + plan.num_rows]))
        first += plan.num_rows
        placed = plan.filter(pc.is_valid(plan["digest"]))
        held = placed if held is None else pa.concat_tables([held, placed])
        starts = _starts(held["digest"])
        if len(starts) > 1:
            yield held.slice(0, int(starts[-1])), starts[:-1]
            held = held.slice(int(starts[-1]))
    if held is not None and held.num_rows:
        yield held, _starts(held["digest"])


def _starts(digests: pa.ChunkedArray) -> np.ndarray:
    """Return the numbers of the rows where another digest begins, int64."""
    values = digests.combine_chunks()
    if not len(values):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.r_[True, pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)])


def _check_shards(manifest: Manifest, by_split: Mapping[str, bytearray]) -> None:
    """The manifest names the plan's shards that have records, in order; `by_split` has their digests, 32 bytes each."""
    name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
    for split, digests in by_split.items():
        shards = manifest.splits[split].shards if split in manifest.splits else ()
        if isinstance(shards, ShardColumns) and shards.digests == digests:
            continue
        planned = (digests[first : first + _DIGEST_BYTES].hex() for first in range(0, len(digests), _DIGEST_BYTES))
        pairs = zip_longest((shard.digest for shard in shards), planned, fillvalue="none")
        for number, (ours, theirs) in enumerate(pairs):
            if ours != theirs:
                raise IntegrityError(
                    f"{name} says splits.{split}.shards.{number} is {ours}, the plan's recipes give {theirs}"
                )


def settings_of(manifest: Manifest) -> BuildSettings:
    """Return the settings that a version was built with.

    Raises:
        IntegrityError: they are none that a build has, or not those of the manifest's `settings_digest`.
    """
    known = {field: value for field, value in manifest.settings.items() if field in BuildSettings.model_fields}
    try:
        settings = BuildSettings(**known)
    except SettingsError as error:
        raise IntegrityError(
            f"{VersionFile.MANIFEST} of version {manifest.version!r} has settings that no build has: {error}"
        ) from error
    if known.keys() == manifest.settings.keys():  # else a newer release has more, which the digest may be of
        name = f"{VersionFile.MANIFEST} of version {manifest.version!r}"
        require_equal(name, "settings_digest", manifest.settings_digest, "its settings give", settings.digest)
    return settings
