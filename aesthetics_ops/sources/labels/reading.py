"""Read the file of scores, whatever its format, into one table.

In: the file's bytes, and what its format asks for beside it.  Out: one row per label row, in file order, each either with a
score or with the problem it has.
Pure and columnar: no network, no clock.  A row that makes no sense is data; a file that makes no sense is an error.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels.blocks import NeedsAllRowsError
from aesthetics_ops.sources.labels.extra import typed
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows, first_line
from aesthetics_ops.sources.labels.format import LabelFormat
from aesthetics_ops.sources.labels.judging import judge_rows
from aesthetics_ops.sources.labels.registry import find_label_format
from aesthetics_ops.sources.labels.unpacking import unpack

__all__ = ["Labels", "read_labels"]


@dataclass(frozen=True, slots=True)
class Labels:
    """What the label file says.

    Attributes:
        table: one row per label row, in file order.  `row` (int64): line number, in Parquet the row, from 1.  `name`
            (string): what names the photo, without blanks and a leading / or ./ around it; Unicode as in the file.
            `by_key` (bool): the name had a slash, so it can only be a key relative to the photos prefix; any other may be
            a key or the stem of one.  `score` (float64): null exactly where there is a problem.  `distribution` (float32s): shares of the votes for
            each of `ratings`, or null.  `split` (string): train, validation or test; null without a split column.
            `votes` (int64s): the counts behind them, or null.  `label_std` (float64): standard deviation of the votes, or null.
            `extra_scores` (float64s): one number for each of `extra_scores`, or null.
            `problem` (string): why the row cannot be used, or null.  `excluded` (string): the excluded tag or challenge
            that the photo has, or the limit of the settings that leaves it out, or null.
        format: name of the file's format.
        has_distribution: the file has votes.
        has_votes: they are whole counts, in every row; where some are shares only, `votes` is null in all.
        extra_scores: names of the columns that `extra_scores` of the table holds.
        kept: the columns to keep, one row for each of `table`; None where none are.
        score_range: lowest and highest score that there can be, as the settings or else the format declare them; None
            where neither does.
        columns: which of the file's columns hold the `id`, `score` or `votes`, and `split`; empty where columns have no names.
        alternatives: the same rows, named by another column that may hold the ids; planning chooses.
        ratings: what the votes are for; empty without votes.
        layout: name of the kind of file, where its columns are those of a known one.
        notes: what has to be said about how the file was read.
        sheets: names of the sheets that were read, one for each workbook.
    """

    table: Any  # pa.Table
    format: str
    has_distribution: bool
    has_votes: bool
    score_range: tuple[float | None, float | None]
    columns: Mapping[str, str] = field(default_factory=dict)
    alternatives: "tuple[Labels, ...]" = ()
    ratings: tuple[float, ...] = ()
    layout: str | None = None
    extra_scores: tuple[str, ...] = ()
    kept: Any = None  # pa.Table
    notes: tuple[str, ...] = ()
    sheets: tuple[str, ...] = ()

    @property
    def names_splits(self) -> bool:
        """Whether the file says in which split each photo is."""
        return "split" in self.columns


def read_labels(
    data: bytes,
    *,
    source: str,
    settings: BuildSettings,
    beside: Callable[[str], bytes | None] = lambda _: None,
    spill: Callable[[Iterator[Labels]], None] | None = None,
) -> Labels:
    """Read a label file.

    Args:
        data: the file.
        source: its URL, for messages.
        settings: format, columns, range and exclusions to go by.
        beside: returns the file of a name that lies beside it, or None where there is none; some formats ask for some.
        spill: takes the rows of a large file, block by block, each as a table of its own, so that they are not in memory together;
            it may be called and not get to the end.  Where all came, what is returned has no table.

    Raises:
        LabelError: the file is empty, not text, of another format than declared, has a broken line, lacks a column or
            any row; or the settings ask for what this file cannot give.
        SettingsError: `label_format` is unknown.
    """
    data = unpack(data, source)
    found, file = find_label_format(LabelFile(data, first_line(data), source, settings, beside))
    if spill is not None and (spilled := _spilled(found, file, spill)) is not None:
        return spilled
    return _labels(found, file, found.read(file))


def _spilled(found: LabelFormat, file: LabelFile, spill: Callable[[Iterator[Labels]], None]) -> Labels | None:
    """Spill the rows of a large file; None where it is to be read at once: few rows, or such that make no sense alone."""
    first: list[Labels] = []

    def labels(blocks: Iterator[LabelRows]) -> Iterator[Labels]:
        for rows in blocks:
            block = _labels(found, file, rows)
            bare = replace(block, table=None)
            if bare != (first or [bare])[0] or _are_shares(rows) or block.alternatives:
                raise NeedsAllRowsError
            first[:] = [bare]
            yield block

    try:
        blocks = found.blocks(file)
        if blocks is None:
            return None
        spill(labels(blocks))
    except (NeedsAllRowsError, LabelError):  # all of it says what is wrong
        return None
    return first[0] if first else None


def _are_shares(rows: LabelRows) -> bool:
    return rows.distribution is not None and (
        rows.counts is None or rows.counts.null_count > rows.distribution.null_count
    )


def _labels(found: LabelFormat, file: LabelFile, rows: LabelRows) -> Labels:
    settings, source = file.settings, file.url
    if not len(rows.row):
        raise file.error("has no rows; it must have one per scored photo")
    low, high = rows.range or found.default_range or (None, None)
    low = low if settings.label_min is None else settings.label_min
    high = high if settings.label_max is None else settings.label_max
    if settings.label_scale == "unit" and (low is None or high is None):
        raise file.error(
            f"is {found.name} without a declared range, but label_scale is 'unit'; set label_min and label_max"
        )
    if settings.min_votes is not None and rows.votes is None:
        raise file.error(
            f"has no votes, but min_votes is {settings.min_votes}; set vote_columns, or leave min_votes empty"
        )
    rows, mixed = _whole_or_none(rows)
    labels = Labels(
        judge_rows(rows, low, high, settings),
        found.name,
        rows.distribution is not None,
        rows.counts is not None,
        (low, high),
        columns=rows.columns,
        ratings=rows.ratings,
        layout=rows.layout,
        sheets=() if rows.sheet is None else (rows.sheet,),
        extra_scores=tuple(rows.extra),
        kept=pa.table({name: typed(column) for name, column in rows.kept.items()}) if rows.kept else None,
        notes=tuple(f"label file {source!r} {note}" for note in (file.note, rows.note, mixed) if note is not None),
    )
    others = tuple(
        replace(
            labels,
            table=judge_rows(replace(rows, name=names), low, high, settings),
            columns={**rows.columns, "id": column},
        )
        for column, names in rows.other_names.items()
        if not names.equals(rows.name)
    )
    return replace(labels, alternatives=others)


def _whole_or_none(rows: LabelRows) -> tuple[LabelRows, str | None]:
    """Return the rows without counts where some have only shares, and what is to be said of it: all records have one form."""
    if rows.counts is None or rows.distribution is None:
        return rows, None
    shares = pc.and_(pc.is_valid(rows.distribution), pc.is_null(rows.counts))
    count, rated = pc.sum(shares).as_py() or 0, len(rows.row) - rows.distribution.null_count
    if not count:
        return rows, None
    note = (
        f"has shares instead of whole counts of votes in {count} of {rated} rows, such as row {rows.row.filter(shares)[0].as_py()}: "
        "no record gets image/votes"
    )
    return replace(rows, counts=None), note if count < rated else None
