"""Find the columns that hold id, score, votes and split among a table's names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.key_template import key_parts
from aesthetics_ops.sources.labels.cells import rated_in, ratings_in_cells, read_cells
from aesthetics_ops.sources.labels.doubts import (
    doubt_of_counts,
    doubt_of_name,
    doubt_of_ratings,
    doubt_of_sum,
    doubt_of_weights,
)
from aesthetics_ops.sources.labels.extra import different_in_photos, mean_scores
from aesthetics_ops.sources.labels.file import LabelFile, LabelRows
from aesthetics_ops.sources.labels.fitting import Sample, find_misfit, find_set, find_splits
from aesthetics_ops.sources.labels.ids import ID_NAMES, find_ids, without_url
from aesthetics_ops.sources.labels.joined import join_columns
from aesthetics_ops.sources.labels.layout import Layout, squeeze
from aesthetics_ops.sources.labels.layouts import LAYOUTS
from aesthetics_ops.sources.labels.named import check_width, find_column, like, named, names_meant
from aesthetics_ops.sources.labels.numbered import other_numbers
from aesthetics_ops.sources.labels.parsing import doubt_of_commas, with_points
from aesthetics_ops.sources.labels.votes import PhotoVotes, count_votes, rate_counts, read_counts, whole_ratings

__all__ = ["FoundColumns", "find_columns", "is_known_name", "name_columns"]

_SCORE_COLUMNS = ("score", "label", "mean", "mos")
_MORE_SCORE_COLUMNS = (
    "aesthetic_score", "aesthetics_score", "aesthetic", "mean_score", "score_mean", "mean_opinion_score", "rating",
)  # fmt: skip
_KNOWN_NAMES: Final = frozenset(map(squeeze, (*ID_NAMES, *_SCORE_COLUMNS, *_MORE_SCORE_COLUMNS)))


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """Which columns of a table are read.

    Attributes:
        names: of all columns, in the file's order.
        ids: positions of the columns that may name the photos, in the order in which they are preferred; at least one.
        score: position of the score's column; None where votes make the score.
        split: position of the split's column; None where none is set.
        votes: positions of the columns of counts.
        ratings: what the counts count, or the votes can be; empty without votes.
        is_joined: the columns `ids` are the parts of one name, to be joined by the template, or else with slashes.
        is_cell: the one column `votes` has all votes of a photo in its text.
        layout: name of the kind of file, where it is known.
        extra: positions of the columns of `extra_scores`, by the names that the settings use.
        kept: of `keep_columns`, likewise.
        file: that has them.
        has_decimal_commas: other signs than commas stand between the fields, so commas are decimal points.
        template: how the columns `ids` make a name, as `key_template` has it; the columns stand there in the order of `ids`.
        note: what has to be said about how they were found; None where there is nothing.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    score: int | None
    split: int | None
    votes: tuple[int, ...] = ()
    ratings: tuple[float, ...] = ()
    is_joined: bool = False
    is_cell: bool = False
    layout: str | None = None
    template: str | None = None
    note: str | None = None
    extra: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, int] = field(default_factory=dict)
    has_decimal_commas: bool = False
    file: LabelFile | None = field(default=None, repr=False, compare=False)

    @property
    def numbers(self) -> set[int]:
        """The positions of columns that are read as numbers where the file has them as such."""
        score = set() if self.score is None else {self.score}
        votes = () if self.is_cell else self.votes
        return {*score, *votes, *self.extra.values(), *self.kept.values()}

    @property
    def places(self) -> list[int]:
        """The positions of all columns to read; each once."""
        others = [place for place in (self.score, self.split) if place is not None]
        return list(dict.fromkeys((*self.ids, *others, *self.votes, *self.extra.values(), *self.kept.values())))

    def rows(self, row: Any, values: Mapping[int, Any]) -> LabelRows:
        """Return the rows of a file from their numbers and the columns by position; an id that is not among them is left out."""
        ids = {
            self.names[place]: without_url(self.names[place], values[place]) for place in self.ids if place in values
        }
        problem = None
        if self.template is not None:
            parts = key_parts(self.template)
            wanted = dict.fromkeys(part.column for part in parts if part.column is not None)
            names, problem = join_columns(parts, dict(zip(wanted, ids.values(), strict=True)))
            ids = {self.template: names}
        elif self.is_joined:
            ids = {"/".join(ids): pc.binary_join_element_wise(*(pc.fill_null(part, "") for part in ids.values()), "/")}
        first = next(iter(ids))
        used = {"id": first}
        if self.score is not None:
            used["score"] = self.names[self.score]
        elif self.votes:
            first_and_last = (self.names[self.votes[0]], self.names[self.votes[-1]])
            used["votes"] = first_and_last[0] if self.is_cell else " to ".join(first_and_last)
        if self.split is not None:
            used["split"] = self.names[self.split]
        found = LabelRows(
            row,
            ids.pop(first),
            None if self.score is None else values[self.score],
            None if self.split is None else values[self.split],
            columns=used,
            other_names=ids,
            layout=self.layout,
            extra={name: values[place] for name, place in self.extra.items()},
            kept={name: values[place] for name, place in self.kept.items()},
            problem=problem,
        )
        doubt = None
        if self.score is not None:
            doubt = self._doubt_of_commas(found.score) or doubt_of_name(self.names, self.names[self.score], found.score)
        if self.has_decimal_commas:
            values = {
                place: with_points(column) if place in self.counted else column for place, column in values.items()
            }
            found = replace(
                found,
                score=None if self.score is None else values[self.score],
                extra={name: with_points(column) for name, column in found.extra.items()},
            )
        read = self._rated(found, values) if self.ratings else replace(found, note=doubt)
        return replace(read, note="; it ".join(filter(None, (self.note, read.note))) or None)

    @property
    def counted(self) -> set[int]:
        """The positions of the score and of columns of counts."""
        return {*(() if self.score is None else (self.score,)), *(() if self.is_cell else self.votes)}

    def _doubt_of_commas(self, scores: Any) -> str | None:
        if not self.has_decimal_commas or self.score is None:
            return None
        return doubt_of_commas(self.names[self.score], scores)

    def _rated(self, found: LabelRows, values: Mapping[int, Any]) -> LabelRows:
        """Return the rows with the means of their votes as scores; of single votes, one row per photo."""
        if self.votes:
            if self.is_cell:
                counts, problem = read_cells(self.file, found.row, values[self.votes[0]], self.ratings)
            else:
                counts, problem = read_counts([values[place] for place in self.votes])
            problem = problem if found.problem is None else pc.coalesce(found.problem, problem)
            found = replace(found, note=None if self.layout else doubt_of_counts(self.ratings, counts))
        else:
            photos = count_votes(found.row, found.name, found.score, self.ratings)
            counts, problem = photos.counts, photos.problem
            extra, odd = self._means(found, photos)
            problem = pc.coalesce(problem, odd)
            kept = self._alike(found.row, found.kept, photos, "of keep_columns")
            split = {} if found.split is None else {found.columns["split"]: found.split}
            split = self._alike(found.row, split, photos, "as the split")
            found = LabelRows(
                photos.row,
                photos.name,
                None,
                next(iter(split.values()), None),
                columns=found.columns,
                layout=found.layout,
                extra=extra,
                kept=kept,
            )
            doubts = (doubt_of_ratings(self.layout, self.ratings, counts), doubt_of_weights(self.names))
            found = replace(found, note="; it ".join(filter(None, doubts)) or None)
        rated = rate_counts(counts, self.ratings, problem)
        return replace(
            found,
            score=rated.score,
            problem=rated.problem,
            distribution=rated.shares,
            votes=rated.votes,
            counts=rated.counts,
            deviation=rated.deviation,
            ratings=self.ratings,
            range=(min(self.ratings), max(self.ratings)),
        )

    def _means(self, found: LabelRows, photos: PhotoVotes) -> tuple[dict[str, Any], Any]:
        """Return the means of the extra scores over each photo's rows, and what is wrong with photos."""
        if not found.extra:
            return {}, pa.nulls(len(photos.counts), pa.string())
        return mean_scores(found.extra, found.row, photos.photo, len(photos.counts))

    def _alike(self, row: Any, columns: Mapping[str, Any], photos: PhotoVotes, use: str) -> dict[str, Any]:
        """Return what columns say of the photos; all rows of a photo must have one value."""
        first = pa.array(np.unique(photos.photo, return_index=True)[1])
        for name, column in columns.items():
            differs = different_in_photos(column, photos.photo)
            if differs is not None and self.file is not None:
                (one, a), (other, b) = ((row[place].as_py(), column[place].as_py()) for place in differs)
                raise self.file.error(
                    f"has one row per vote, and {name!r} {use} differs between the rows of one photo: row {one} has "
                    f"{str(a)[:40]!r}, row {other} {str(b)[:40]!r}; take columns that say something of the photo"
                )
        return {name: pc.take(column, first) for name, column in columns.items()}


def find_columns(file: LabelFile, columns: Sequence[str], sample: Sample) -> FoundColumns:
    """Return where the id, the score and, if one is set, the split are among `columns`.

    Where neither `id_column` nor `score_column` is set, a known kind of file is read as such, if its first rows fit.
    """
    check_width(file, len(columns))
    found = _find_columns(file, columns, sample)
    extra, kept = (
        {name: find_column(file, columns, setting, (name,)) for name in getattr(file.settings, setting)}
        for setting in ("extra_scores", "keep_columns")
    )
    unused = None if found.split is not None else find_splits(columns, sample)
    if unused is not None:
        said = (
            f"has splits in column {columns[unused]!r}, which are not used; set split_column to it, if they are meant"
        )
        found = replace(found, note="; it ".join(filter(None, (found.note, said))))
    return replace(found, extra=extra, kept=kept, file=file)


def _find_columns(file: LabelFile, columns: Sequence[str], sample: Sample) -> FoundColumns:
    settings = file.settings
    if settings.vote_columns:
        return _with_votes(file, columns, sample)
    if settings.one_row_per_vote:
        return _with_single_votes(file, columns, sample)
    layout, note = None, None
    if not settings.id_column and not settings.score_column:
        layout, note = _find_layout(columns, sample)
    if layout is not None:
        return replace(_in_layout(file, columns, layout, sample), note=note)
    if note is not None:
        file = replace(file, seen=f"{file.seen}; it {note}")
    ids, score, split = find_ids(file, columns, sample), _find_score(file, columns), _split(file, columns, None)
    doubt = doubt_of_sum(columns, score, (*ids, *(() if split is None else (split,))), sample)
    return FoundColumns(
        names=tuple(columns),
        ids=ids,
        is_joined=settings.key_template is not None,
        template=settings.key_template,
        score=score,
        split=split,
        note="; it ".join(filter(None, (note, doubt))) or None,
    )


def is_known_name(name: str) -> bool:
    """Whether a header may have this name for an id or a score."""
    return squeeze(name) in _KNOWN_NAMES


def name_columns(first_row: Sequence[str]) -> tuple[str, ...] | None:
    """Return names for the columns of a file without a header, by its first row; None where they are of no known kind."""
    for layout in LAYOUTS:
        if (names := layout.rows_alike(first_row)) is not None:
            return tuple(names)
    return None


def _with_votes(file: LabelFile, columns: Sequence[str], sample: Sample) -> FoundColumns:
    """Return the columns where settings name those of the votes."""
    settings = file.settings
    if len(settings.vote_columns) == 1 and ".." not in settings.vote_columns[0]:
        return _with_one_column(file, columns, sample)
    wanted = [name for text in settings.vote_columns for name in names_meant(file, text)]
    votes = tuple(find_column(file, columns, "vote_columns", (name,)) for name in wanted)
    ratings = settings.vote_values or tuple(float(rating) for rating in range(1, len(votes) + 1))
    if len(votes) < 2 or len(set(votes)) < len(votes):
        raise file.error(f"has {len(set(votes))} columns of votes by vote_columns; name at least two, each once")
    if len(ratings) != len(votes):
        raise file.error(
            f"has {len(votes)} columns of votes, but vote_values has {len(ratings)} ratings; give one for each"
        )
    found = _voted(file, columns, votes, ratings, sample)
    return replace(found, note=None if settings.vote_values else other_numbers(wanted, votes))


def _with_one_column(file: LabelFile, columns: Sequence[str], sample: Sample) -> FoundColumns:
    """Return the columns where settings name one that holds all votes: as text, or as a list or object, whose elements are columns."""
    settings = file.settings
    (name,) = settings.vote_columns
    votes = rated_in(columns, name)
    places = tuple(place for place, _ in votes) or (find_column(file, columns, "vote_columns", (name,)),)
    named = tuple(rating for _, rating in votes if rating is not None)
    counted = tuple(float(rating) for rating in range(1, len(votes) + 1))
    ratings = settings.vote_values or named or counted or ratings_in_cells(sample(places)[0])
    if len(ratings) < 2 or (votes and len(ratings) != len(votes)):
        raise file.error(
            f"has {len(votes) or 1} columns of votes by vote_columns, and {len(ratings)} ratings; name at least two, each once, or one "
            "column that has votes for each rating, such as [1, 0, 4], and set vote_values to the ratings"
        )
    found = replace(_voted(file, columns, places, ratings, sample), is_cell=not votes)
    if settings.vote_values:
        return found
    return replace(found, note=f"takes {name!r} for votes for {', '.join(f'{rating:g}' for rating in ratings)}")


def _voted(
    file: LabelFile, columns: Sequence[str], votes: tuple[int, ...], ratings: tuple[float, ...], sample: Sample
) -> FoundColumns:
    """Return the columns of a file whose votes stand in known places."""
    return FoundColumns(
        names=tuple(columns),
        ids=find_ids(file, columns, sample),
        is_joined=file.settings.key_template is not None,
        template=file.settings.key_template,
        score=None,
        split=_split(file, columns, None),
        votes=votes,
        ratings=ratings,
    )


def _with_single_votes(file: LabelFile, columns: Sequence[str], sample: Sample) -> FoundColumns:
    """Return the columns where settings say that each row is one vote."""
    settings = file.settings
    ratings = settings.vote_values or whole_ratings(settings.label_min, settings.label_max)
    ids = find_ids(file, columns, sample)
    if len(ratings) < 2:
        raise file.error(
            "has one row per vote by one_row_per_vote, but nothing says which ratings there are; set vote_values, such as 1, 2, 3, "
            "or label_min and label_max to whole numbers, at most 100 of them"
        )
    if len(ids) > 1 and settings.key_template is None:
        names = ", ".join(repr(columns[place]) for place in ids)
        raise file.error(f"has one row per vote, and several columns may name the photos: {names}; set id_column")
    return FoundColumns(
        names=tuple(columns),
        ids=ids,
        is_joined=settings.key_template is not None,
        template=settings.key_template,
        score=_find_score(file, columns),
        split=_split(file, columns, None),
        ratings=tuple(sorted(ratings)),
    )


def _find_layout(columns: Sequence[str], sample: Sample) -> tuple[Layout | None, str | None]:
    """Return the kind whose columns and values a file has, and what has to be said where it has the columns of one alone."""
    names = _squeezed(columns)
    note = None
    for layout in LAYOUTS:
        if layout.is_in(names):
            misfit = find_misfit(layout, names, sample)
            if misfit is None:
                return layout, note
            note = note or (
                f"has the columns of {layout.name}, but is of another kind: {misfit}; set id_column, and score_column or "
                "vote_columns, if it was read wrongly"
            )
    return None, note


def _squeezed(columns: Sequence[str]) -> dict[str, int]:
    """Return where each name is, but for those that come twice."""
    squeezed = [squeeze(column) for column in columns]
    counts = Counter(squeezed)
    return {name: place for place, name in enumerate(squeezed) if counts[name] == 1}


def _in_layout(file: LabelFile, columns: Sequence[str], layout: Layout, sample: Sample) -> FoundColumns:
    places, template = _squeezed(columns), file.settings.key_template
    return FoundColumns(
        names=tuple(columns),
        ids=find_ids(file, columns, sample)
        if template or not layout.id
        else tuple(places[squeeze(name)] for name in layout.id),
        score=None if layout.score is None else places[squeeze(layout.score)],
        split=_split(file, columns, find_set(places, sample)),
        votes=tuple(places[squeeze(name)] for name in layout.votes),
        ratings=layout.ratings or tuple(layout.votes.values()),
        is_joined=len(layout.id) > 1 or template is not None,
        layout=layout.name,
        template=template,
    )


def _split(file: LabelFile, columns: Sequence[str], known: int | None) -> int | None:
    wanted = file.settings.split_column
    return find_column(file, columns, "split_column", (wanted,)) if wanted else known


def _find_score(file: LabelFile, columns: Sequence[str]) -> int:
    if (wanted := file.settings.score_column) is not None:
        return find_column(file, columns, "score_column", (wanted,))
    if any(named(columns, name) for name in _SCORE_COLUMNS):
        return find_column(file, columns, "score_column", _SCORE_COLUMNS)
    return find_column(file, columns, "score_column", (*_SCORE_COLUMNS, *_MORE_SCORE_COLUMNS), like)
