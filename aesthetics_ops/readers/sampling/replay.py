"""Which records a past batch held, from a reader's state alone.

In: the state of a reader, and the dataset that it names.  Out: the rows of records.parquet of one batch, as the ranks got
them.  Nothing was logged while training: the order is computed again.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.errors import NoSuchVersionError, SettingsError
from aesthetics_ops.readers.dataset import Dataset, open_dataset
from aesthetics_ops.readers.sampling.order import Weighted
from aesthetics_ops.readers.sampling.sampler import Order, order_of
from aesthetics_ops.readers.sampling.state import ReaderState
from aesthetics_ops.readers.sampling.weights import BALANCED, by_label, by_weights
from aesthetics_ops.store import S3Access

__all__ = ["Replayed", "replay"]

_SHOWN = ("id", "key", "etag", "label", "shard")


@dataclass(frozen=True, slots=True)
class Replayed:
    """A batch that was handed out.

    Attributes:
        state: what it follows from.
        batch: its number in the epoch, from 0.
        batches: that the epoch had handed out.
        ranks: that shared it.
        records: one row per record, in the epoch's order: rank, position (in the epoch), id, key, etag, label, shard.
    """

    state: ReaderState
    batch: int
    batches: int
    ranks: int
    records: pa.Table


def replay(
    dataset: str | Dataset,
    state: object,
    *,
    batch: int | None = None,
    rank: int | None = None,
    weights: npt.ArrayLike | None = None,
    s3: S3Access | None = None,
) -> Replayed:
    """Return the records of a batch that a reader handed out in the epoch of its state.

    Args:
        dataset: where the state's version is published, or pulled.
        state: what `state_dict()` returned.
        batch: its number in the epoch, from 0, on whatever ranks; by default the last one.
        rank: whose records; by default all ranks', which took turns.
        weights: that the reader had, if it had some; balance="label" needs none.
        s3: how to reach s3:// URLs, as `open_dataset`.

    Raises:
        SettingsError: not a state, or damaged; one whose records do not follow from the version: rows that were selected, or
            other weights; a version that is not the one that the state was made from; no such batch or rank.
        NoSuchVersionError: the version has expired, or is not of this dataset.
    """
    asked = ReaderState.parse(state)
    number, batches, places, ranks = _places(asked, batch)
    if rank is not None and not 0 <= rank < ranks:
        raise SettingsError(f"batch {number} has no rank {rank}; it was shared by {ranks}, which count from 0")
    records = _records(dataset, asked, s3)
    rows = _order(asked, records, weights)(places)
    turns = np.arange(len(places)) % ranks
    found = records.select(_SHOWN).take(rows)
    found = found.add_column(0, "position", pa.array(places)).add_column(0, "rank", pa.array(turns))
    return Replayed(asked, number, batches, ranks, found if rank is None else found.filter(pc.field("rank") == rank))


def _places(state: ReaderState, batch: int | None) -> tuple[int, int, npt.NDArray[np.int64], int]:
    """Return the batch's number, how many there are, its places in the epoch in the ranks' turns, and the ranks."""
    stretches = [(steps, steps.until(end) or 0) for steps, end in state.stretches()]
    batches = sum(count for _, count in stretches)
    number = batches - 1 if batch is None else batch
    if not 0 <= number < batches:
        had = f"it had handed out {batches}, which count from 0" if batches else "it had handed out none yet"
        raise SettingsError(
            f"epoch {state.epoch} has no past batch {max(number, 0)} at this state: {had}; take a state saved later in that epoch"
        )
    left = number
    for steps, count in stretches:
        if left < count:
            low, high = steps.bounds(left)
            return number, batches, np.arange(low, high) % max(state.records, 1), steps.ranks
        left -= count
    raise AssertionError("the stretches add up")


def _records(dataset: str | Dataset, state: ReaderState, s3: S3Access | None) -> pa.Table:
    """Return the rows of records.parquet that the reader read."""
    if state.version is None or state.split is None or state.manifest_sha256 is None:
        raise SettingsError(
            "the state names no version, manifest and split; only readers of a dataset leave such that can be replayed"
        )
    if state.selection is not None:
        raise SettingsError(
            f"the state is of rows that were selected (sha256 {state.selection}), which it does not hold; select with "
            "where=..., which it holds, to be able to replay"
        )
    opened = _opened(dataset, state, s3)
    if opened.source.manifest_sha256 != state.manifest_sha256:
        raise SettingsError(
            f"version {opened.version!r} of {opened.manifest.dataset} has a manifest of sha256 "
            f"{opened.source.manifest_sha256}, but the state is of version {state.version!r} of {state.dataset}, sha256 "
            f"{state.manifest_sha256}; open that one"
        )
    records = opened.records(state.split, where=state.where)
    if records.num_rows != state.records:
        which = "" if state.where is None else f" with the filter {state.where!r}"
        raise SettingsError(
            f"split {state.split!r} of version {state.version!r} has {records.num_rows} records{which}, and the state has "
            f"{state.records}; give what state_dict() returned, unchanged"
        )
    return records


def _opened(dataset: str | Dataset, state: ReaderState, s3: S3Access | None) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset
    try:
        return open_dataset(dataset, state.version, s3=s3)
    except NoSuchVersionError as error:
        raise NoSuchVersionError(f"{error}; the state is of version {state.version!r} of {state.dataset}") from error


def _order(state: ReaderState, records: pa.Table, weights: npt.ArrayLike | None) -> Order:
    """Return the order that the reader had.

    Raises:
        SettingsError: it had weights, and these are not they.
    """
    if state.weights is None and weights is not None:
        raise SettingsError("the state is of a reader without weights; give none")
    drawn: Weighted | None = None
    if state.weights == BALANCED:
        drawn = by_label(records["label"].to_numpy(), state.records)[1]
    elif state.weights is not None:
        drawn = _drawn(state.weights, weights, state.records)
    shards = pc.dictionary_encode(records["shard"]).combine_chunks().indices.to_numpy()
    return order_of(state, weights=drawn, shards=shards)


def _drawn(name: str, weights: npt.ArrayLike | None, records: int) -> Weighted:
    if weights is None:
        raise SettingsError(
            f"the state is of a reader with weights ({name}), which it does not hold; give the same weights to `replay` in "
            "Python"
        )
    given, drawn = by_weights(weights, records)
    if given != name:
        raise SettingsError(f"the state is of a reader with weights {name}, and these are {given}; give the same")
    return drawn
