"""Several score files read as one: their rows one after the other, in the order of the files' names.

In: what each file says.  Out: one `Labels`.  Files of one split each (`train.csv`, `val.csv`, `test.csv`) name the splits.
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels.judging import SPLITS_BY_NAME, splits_of_files
from aesthetics_ops.sources.labels.reading import Labels

__all__ = ["combine_labels", "is_score_file"]

_LARGEST_EXACT = 1 << 53
_SUFFIXES = ("csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet", "xlsx", "xlsm", "gz", "zst")


def is_score_file(name: str) -> bool:
    """Whether a file of a folder is taken for a score file by its name: not hidden, and with a usual suffix."""
    return not name.startswith(("_", ".")) and name.rpartition(".")[2].casefold() in _SUFFIXES


def combine_labels(files: Mapping[str, Labels], settings: BuildSettings) -> Labels:
    """Return the rows of all files.

    Rows are numbered on from file to file.  Where files disagree about a photo, planning finds it, as in one file.

    Args:
        files: what each file says, by name, in the order of the rows; at least one.
        settings: of the build.

    Raises:
        LabelError: files have votes for different ratings, or only some name a split, or `file_splits` fits them not.
        SettingsError: `file_splits` names no split.
    """
    source = settings.labels
    for (one, a), (other, b) in pairwise(files.items()):
        if a.ratings != b.ratings:
            raise LabelError(
                f"label files {source!r} have votes for different ratings: {one!r} for {_shown(a)}, {other!r} for {_shown(b)}; "
                "give each kind a dataset of its own"
            )
    chosen = splits_of_files(settings)
    found = _in_chosen_splits(files, chosen, source) if chosen else _with_splits(files, source)
    found, votes_notes = _with_votes(found, files)
    first = found[0]
    same_columns = all(labels.columns == first.columns for labels in found)
    columns = first.columns if same_columns else _columns(found)
    return replace(
        first,
        table=_table([labels.table for labels in found]),
        score_range=_range([labels.score_range for labels in found]),
        columns=columns,
        alternatives=_alternatives(found, columns),
        kept=None if first.kept is None else _kept([labels.kept for labels in found]),
        sheets=tuple(sheet for labels in found for sheet in labels.sheets),
        notes=(*(note for labels in found for note in labels.notes), *votes_notes, *_disagreements(files, found)),
    )


def _in_chosen_splits(files: Mapping[str, Labels], chosen: Mapping[str, str], source: str) -> list[Labels]:
    """Return what the files say, each in the split that the settings give it."""
    found, used = [], set()
    for name, labels in files.items():
        fitting = [pattern for pattern in chosen if _is_meant(name, pattern)]
        if len({chosen[pattern] for pattern in fitting}) != 1:
            why = f"{', '.join(f'{pattern}={chosen[pattern]}' for pattern in fitting)} of" if fitting else "nothing in"
            raise LabelError(
                f"label file {name!r} is meant by {why} file_splits; give each file of {source!r} one split there"
            )
        used |= set(fitting)
        found.append(_in_split(labels, chosen[fitting[0]]))
    if unused := [pattern for pattern in chosen if pattern not in used]:
        raise LabelError(
            f"label files {source!r} have none that file_splits calls {unused[0]!r}; they are {', '.join(map(repr, list(files)[:5]))}"
        )
    return found


def _is_meant(name: str, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")) for text in (name, name.rpartition("/")[2]))


def _disagreements(files: Mapping[str, Labels], found: Sequence[Labels]) -> Iterator[str]:
    """Say which photo has rows in two files that disagree."""
    if len(files) == 1:
        return
    several = [
        labels.table.select(["name", "score", "split"]).append_column(
            "file", pa.array(np.full(labels.table.num_rows, number, np.int32))
        )
        for number, labels in enumerate(found)
    ]
    rows = (
        pa.concat_tables(several)
        .group_by("name")
        .aggregate([(column, kind) for column in ("score", "split", "file") for kind in ("min", "max")])
    )
    differ = pc.or_kleene(
        pc.not_equal(rows["score_min"], rows["score_max"]), pc.not_equal(rows["split_min"], rows["split_max"])
    )
    odd = rows.filter(pc.and_kleene(pc.not_equal(rows["file_min"], rows["file_max"]), differ))
    if odd.num_rows:
        row, names = odd.slice(0, 1).to_pylist()[0], list(files)
        what = "score" if row["score_min"] != row["score_max"] else "split"
        yield (
            f"label files disagree about {odd.num_rows} photos: {names[row['file_min']]!r} and {names[row['file_max']]!r} have another "
            f"{what} for {row['name']!r}, {row[f'{what}_min']} and {row[f'{what}_max']}; such photos are left out as label_invalid"
        )


def _with_votes(found: list[Labels], files: Mapping[str, Labels]) -> tuple[list[Labels], tuple[str, ...]]:
    """Return the files without counts of votes where some have only shares, and what is to be said of it."""
    without = [name for name, labels in zip(files, found, strict=True) if not labels.has_votes]
    if not without or len(without) == len(found):
        return found, ()
    note = f"label file {without[0]!r} has shares instead of whole counts of votes, and others have counts: no record gets image/votes"
    return [_without_votes(labels) for labels in found], (note,)


def _without_votes(labels: Labels) -> Labels:
    kind = labels.table.schema.field("votes").type
    place = labels.table.column_names.index("votes")
    table = labels.table.set_column(place, "votes", pa.nulls(labels.table.num_rows, kind))
    return replace(labels, table=table, has_votes=False, alternatives=tuple(map(_without_votes, labels.alternatives)))


def _kept(tables: list[Any]) -> Any:
    """Return the kept columns of all files; as numbers where they are in every file."""
    columns = {}
    for name in tables[0].column_names:
        kinds = {table[name].type for table in tables}
        kind = kinds.pop()
        if kinds:
            is_number = not any(pa.types.is_string(one) for one in (kind, *kinds)) and all(
                _fits_float(table[name]) for table in tables
            )
            kind = pa.float64() if is_number else pa.string()
        columns[name] = pa.chunked_array([chunk for table in tables for chunk in table[name].cast(kind).chunks], kind)
    return pa.table(columns)


def _fits_float(column: Any) -> bool:
    """Whether a float64 holds every number of a column exactly."""
    ends = pc.min_max(column).as_py()
    return not pa.types.is_integer(column.type) or max(abs(end or 0) for end in ends.values()) <= _LARGEST_EXACT


def _shown(labels: Labels) -> str:
    return ", ".join(f"{rating:g}" for rating in labels.ratings) or "none"


def _with_splits(files: Mapping[str, Labels], source: str) -> list[Labels]:
    """Return what the files say; where each is named after a split and has none in it, with that split."""
    if any("split" in labels.columns for labels in files.values()):
        for name, labels in files.items():
            if "split" not in labels.columns:
                raise LabelError(
                    f"label files {source!r} have a column of splits in some, but not in {name!r}; give it one"
                )
        return list(files.values())
    splits = [_split_of(name) for name in files]
    if len(files) == 1 or None in splits or len(set(splits)) == 1:
        return list(files.values())
    return [_in_split(labels, split) for labels, split in zip(files.values(), splits, strict=True) if split is not None]


def _split_of(name: str) -> str | None:
    """The split that a file is named after: one of the words of its name."""
    words = re.split(r"[^a-z]+", name.rpartition("/")[2].casefold())
    found = {SPLITS_BY_NAME[word] for word in words if word in SPLITS_BY_NAME}
    return found.pop() if len(found) == 1 else None


def _in_split(labels: Labels, split: str) -> Labels:
    place = labels.table.column_names.index("split")
    table = labels.table.set_column(
        place, "split", pa.array([split]).take(pa.array(np.zeros(labels.table.num_rows, np.int64)))
    )
    return replace(
        labels,
        table=table,
        columns={**labels.columns, "split": "the file's name"},
        alternatives=tuple(_in_split(other, split) for other in labels.alternatives),
    )


def _table(tables: list[Any]) -> Any:
    """Return the rows of all tables, numbered on."""
    before, numbered = 0, []
    for table in tables:
        numbered.append(table.set_column(0, "row", pc.add(table["row"], before)))
        before += pc.max(table["row"]).as_py()
    return pa.concat_tables(numbered)


def _range(ranges: list[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    lows = [low for low, _ in ranges if low is not None]
    highs = [high for _, high in ranges if high is not None]
    return (
        min(lows) if len(lows) == len(ranges) else None,
        max(highs) if len(highs) == len(ranges) else None,
    )


def _columns(found: list[Labels]) -> dict[str, str]:
    """Return which columns hold what, where the files have them under several names."""
    uses = dict.fromkeys(use for labels in found for use in labels.columns)
    return {
        use: " or ".join(dict.fromkeys(labels.columns[use] for labels in found if use in labels.columns))
        for use in uses
    }


def _alternatives(found: list[Labels], columns: Mapping[str, str]) -> tuple[Labels, ...]:
    """Return the rows named by other columns, as far as a file has several; a file without that column keeps its own."""
    by_id = [{other.columns["id"]: other for other in labels.alternatives} for labels in found]
    names = dict.fromkeys(name for others in by_id for name in others)
    return tuple(
        replace(
            by_id[0].get(name, found[0]),
            table=_table([others.get(name, labels).table for others, labels in zip(by_id, found, strict=True)]),
            columns={**columns, "id": name},
            alternatives=(),
        )
        for name in names
    )
