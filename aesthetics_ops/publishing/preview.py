"""How a score file is understood, before any build: what each row says, and which photos it finds.

In: the labels, and a listing of the photos where there is one.  Out: numbers, the first problems, and what would refuse a build.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.manifest import NearDuplicates, matches_in_words
from aesthetics_ops.dataset.recipe import Converter
from aesthetics_ops.dataset.statistics import count_reasons
from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning.model import Plan
from aesthetics_ops.planning.plan import plan_photos
from aesthetics_ops.publishing.gates import foreseen_refusals
from aesthetics_ops.publishing.measures import Candidate
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels

__all__ = ["LabelsPreview", "PhotosPreview", "lines_of", "preview_labels"]

_BINS: Final = 10
_PROBLEMS: Final = 10
_UNUSED: Final = Converter(0, "0" * 16)  # no recipe that is made here is used
_NOT_SOUGHT: Final = NearDuplicates(max_distance=None, groups=0, records=0, spanning_splits=0, examples=())


@dataclass(frozen=True, slots=True)
class PhotosPreview:
    """Which photos the rows find.

    Attributes:
        listed: objects under the photos prefix.
        scored: photos that a build would use.
        reasons: how many of the others there are, by the reason in words.
        unmatched: rows that name no photo.
        matched_by: how many of the others each rule has matched, in the order of the rules.
        refusal: why nothing could be planned; None where it could.
        gates: those that would refuse the version, with what they allow and measure; a gate that compares with the version before,
            or looks at pixels, is not asked.
        problems: the first photos that are left out though a row names them, in words.
    """

    listed: int
    scored: int
    reasons: dict[str, int]
    unmatched: int
    matched_by: dict[str, int]
    refusal: str | None
    gates: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelsPreview:
    """How a score file is understood.

    Attributes:
        format: name of its format.
        layout: name of its kind, where it is known.
        sheets: names of the sheets that were read, one for each workbook.
        columns: which columns hold what.
        ratings: what its votes are for; empty without votes.
        has_votes: records would get whole counts of votes.
        votes_per_photo: fewest, median and most votes of a row with a score; None where there are no counts.
        extra_scores: lowest and highest of each extra score, by its name; None where no row has one.
        kept: the type of each kept column, by its name.
        rows: how many it has; of single votes, photos.
        usable: rows with a score.
        score_range: lowest and highest score in it; None where no row has one.
        mean: of the scores, likewise.
        histogram: counts of the scores in equal parts of the range.
        splits: how many rows are in each split; empty where the file names none.
        problems: the first rows that cannot be used, in words.
        notes: what has to be said about how it was read.
        photos: None without a listing.
    """

    format: str
    layout: str | None
    sheets: tuple[str, ...]
    columns: dict[str, str]
    ratings: tuple[float, ...]
    has_votes: bool
    votes_per_photo: tuple[int, float, int] | None
    extra_scores: dict[str, tuple[float, float] | None]
    kept: dict[str, str]
    rows: int
    usable: int
    score_range: tuple[float, float] | None
    mean: float | None
    histogram: tuple[int, ...]
    splits: dict[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    photos: PhotosPreview | None

    @property
    def is_refused(self) -> bool:
        """Whether a build would be refused, as far as the file and the listing tell."""
        found = self.photos
        return not self.usable or (found is not None and (found.refusal is not None or bool(found.gates)))


def preview_labels(labels: Labels, settings: BuildSettings, listing: pa.Table | None) -> LabelsPreview:
    """Say how a score file is understood.

    Args:
        labels: what it says.
        settings: to go by.
        listing: key, size and etag of the photos; None to look at the file alone.
    """
    found, notes = None, labels.notes
    if listing is not None:
        labels, found = _photos(labels, settings, listing)
    elif labels.alternatives:
        names = " and ".join(repr(other.columns["id"]) for other in (labels, *labels.alternatives))
        notes = (*notes, f"{names} may name the photos; the one that finds most of them is taken: --photos shows which")
    table = labels.table
    scores = np.asarray(table["score"].drop_null(), np.float64)
    bad = table.filter(pc.is_valid(table["problem"])).slice(0, _PROBLEMS).select(["row", "name", "problem"])
    return LabelsPreview(
        format=labels.format,
        layout=labels.layout,
        sheets=labels.sheets,
        columns=dict(labels.columns),
        ratings=labels.ratings,
        has_votes=labels.has_votes,
        votes_per_photo=_votes_per_photo(table),
        extra_scores=_ranges(labels),
        kept={} if labels.kept is None else {field.name: str(field.type) for field in labels.kept.schema},
        rows=table.num_rows,
        usable=len(scores),
        score_range=(float(scores.min()), float(scores.max())) if len(scores) else None,
        mean=float(scores.mean()) if len(scores) else None,
        histogram=tuple(np.histogram(scores, _BINS)[0].tolist()) if len(scores) else (),
        splits=_counts(table["split"].drop_null()),
        problems=tuple(f"row {row['row']} ({row['name']!r}): {row['problem']}" for row in bad.to_pylist()),
        notes=notes,
        photos=found,
    )


def _votes_per_photo(table: pa.Table) -> tuple[int, float, int] | None:
    counts = table.filter(pc.is_valid(table["score"]))["votes"].drop_null().combine_chunks()
    if not len(counts):
        return None
    votes = np.asarray(counts.flatten()).reshape(len(counts), -1).sum(axis=1)
    return int(votes.min()), float(np.median(votes)), int(votes.max())


def _ranges(labels: Labels) -> dict[str, tuple[float, float] | None]:
    found: dict[str, tuple[float, float] | None] = {}
    lists = labels.table["extra_scores"].drop_null()
    for place, name in enumerate(labels.extra_scores):
        ends = pc.min_max(pc.list_element(lists, place)).as_py()
        found[name] = None if ends["min"] is None else (ends["min"], ends["max"])
    return found


def _counts(values: Any) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(values).to_pylist()}


def _photos(labels: Labels, settings: BuildSettings, listing: pa.Table) -> tuple[Labels, PhotosPreview]:
    """Return the labels as a build names them, by one of the columns that may, and which photos they find."""
    try:
        plan = plan_photos(listing, labels, settings, converter=_UNUSED, parent=None)
    except PlanError as error:
        return labels, PhotosPreview(listing.num_rows, 0, {}, labels.table.num_rows, {}, str(error), (), ())
    labels = next(other for other in (labels, *labels.alternatives) if other.columns == plan.label_columns)
    photos = plan.photos.select(["key", "reason", "detail"])
    left_out = photos.filter(pc.is_valid(photos["reason"]))
    named = left_out.filter(
        pc.invert(
            pc.is_in(left_out["reason"], pa.array([RejectReason.NOT_A_PHOTO.value, RejectReason.UNLABELLED.value]))
        )
    )
    return labels, PhotosPreview(
        listed=listing.num_rows,
        scored=photos.num_rows - left_out.num_rows,
        reasons=_counts(left_out["reason"]),
        unmatched=plan.unmatched.num_rows,
        matched_by=dict(plan.matched_by),
        refusal=None,
        gates=tuple(map(str, foreseen_refusals(_candidate(plan, settings, labels)))),
        problems=tuple(
            f"{row['key']}: {row['reason']}, {row['detail']}" for row in named.slice(0, _PROBLEMS).to_pylist()
        ),
    )


def _candidate(plan: Plan, settings: BuildSettings, labels: Labels) -> Candidate:
    """Return the version that a build would publish if every photo with a score could be converted."""
    reason = plan.photos["reason"]
    lost = plan.photos.filter(pc.is_valid(reason)).select(["id", "key", "reason"])
    unmatched = pa.table({"id": plan.unmatched["name"]})
    rejects = pa.concat_tables([lost, unmatched], promote_options="default")
    named = pc.fill_null(rejects["reason"], RejectReason.LABEL_WITHOUT_PHOTO.value)
    rejects = rejects.set_column(2, "reason", named)
    records = plan.photos.filter(pc.is_null(reason))
    return Candidate(
        settings, records, rejects, count_reasons(rejects), _NOT_SOUGHT, None, labels.table.num_rows, plan.label_range
    )


def lines_of(found: LabelsPreview) -> list[str]:
    """Return the same for people, in lines."""
    kind = found.format if found.layout is None else f"{found.format}, {found.layout}"
    lines = [f"format      {kind}", *(f"note        {note}" for note in found.notes)]
    if found.sheets:
        lines.append("sheet       " + ", ".join(map(repr, found.sheets)))
    if found.columns:
        lines.append("columns     " + ", ".join(f"{use} in {column!r}" for use, column in found.columns.items()))
    if found.ratings:
        kind = "" if found.has_votes else "; shares, not counts"
        lines.append("votes for   " + ", ".join(f"{rating:g}" for rating in found.ratings) + kind)
    if found.votes_per_photo is not None:
        fewest, median, most = found.votes_per_photo
        lines.append(f"votes       {fewest:,} to {most:,} per photo, median {median:,g}")
    lines += [
        f"score       {name!r}" + ("" if ends is None else f": {ends[0]:g} to {ends[1]:g}")
        for name, ends in found.extra_scores.items()
    ]
    if found.kept:
        lines.append("kept        " + ", ".join(f"{name!r} ({kind})" for name, kind in found.kept.items()))
    lines.append(f"rows        {found.rows:,}, {found.usable:,} with a score")
    if found.score_range is not None:
        low, high = found.score_range
        lines.append(f"scores      {low:g} to {high:g}, mean {found.mean:g}")
        edges = np.histogram_bin_edges(np.array(found.score_range), _BINS)
        lines += [
            f"  {edge:>10.4g}  {'#' * -(-40 * count // max(found.histogram)):<40}  {count:,}"
            for edge, count in zip(edges[:-1], found.histogram, strict=True)
        ]
    if found.splits:
        lines.append("splits      " + ", ".join(f"{count:,} {split}" for split, count in found.splits.items()))
    lines += [f"problem     {problem}" for problem in found.problems]
    return lines if found.photos is None else lines + _photo_lines(found.photos)


def _photo_lines(photos: PhotosPreview) -> list[str]:
    if photos.refusal is not None:
        return [f"photos      {photos.listed:,} listed; a build would be refused: {photos.refusal}"]
    others = "".join(f", {count:,} {reason}" for reason, count in photos.reasons.items())
    return [
        f"photos      {photos.listed:,} listed, {photos.scored:,} with a score{others}",
        f"matched     {matches_in_words(photos.matched_by)}",
        f"unmatched   {photos.unmatched:,} rows name no photo",
        *(f"left out    {problem}" for problem in photos.problems),
        *(f"refused     a build would not be published; {gate}" for gate in photos.gates),
    ]
