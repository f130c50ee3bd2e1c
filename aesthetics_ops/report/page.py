"""The page that shows a version to a person: `report.html`, one file without scripts or anything to load.

In: manifests, records, rejects, and the stores that thumbnails are read from.  Out: HTML text of bounded size.
Promised: equal input gives equal bytes; which photos are shown is decided by a hash of their ids; a photo that cannot
be fetched or decoded is left out and named so on the page, it never fails the caller.
"""

import base64
import hashlib
import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.layout import SPLITS, VersionFile
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.sidecars import spill_table
from aesthetics_ops.dataset.spilled import Spilled, take_rows
from aesthetics_ops.dataset.tables import ROWS_AT_ONCE
from aesthetics_ops.dataset.tfrecord import read_framed
from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.machine import scratch_for
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.report.html import html_environment
from aesthetics_ops.report.plots import extra_score_plots, image_plots, score_histograms, weight_plot
from aesthetics_ops.report.thumbnails import Thumbnail, fetch_all, thumbnail
from aesthetics_ops.report.words import (
    count_in_words,
    difference_in_words,
    gate_in_words,
    name_in_words,
    reasons_in_order,
    score_format,
    setting_field,
    setting_in_words,
    size_in_words,
    value_in_words,
)
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import Store
from aesthetics_ops.versions.diff import COMPARED, compare_records, compared_columns

__all__ = ["render_report"]

_log = logging.getLogger(__name__)

# A hundred thumbnails at most, and none over 15 kB: with these three the page stays below 3 MB.
_DECILES: Final = 10
_PHOTOS_PER_DECILE: Final = 6
_EXAMPLES_PER_REASON: Final = 4

# The photo is not worth fetching: there is nothing to see, or nothing to read.
_NEVER_SEEN: Final = (
    RejectReason.NOT_A_PHOTO,
    RejectReason.EMPTY,
    RejectReason.NOT_AN_IMAGE,
    RejectReason.SOURCE_MISSING,
    RejectReason.SOURCE_DENIED,
    RejectReason.SOURCE_ARCHIVED,
)


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo of the contact sheet."""

    id: str
    score: float
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class _Decile:
    """A tenth of the photos, by score; `number` 1 holds the lowest scores."""

    number: int
    low: float
    high: float
    records: int
    photos: tuple[_Photo, ...]


@dataclass(frozen=True, slots=True)
class _Example:
    """A photo, or a label row, that was left out."""

    name: str
    detail: str
    thumbnail: Thumbnail


@dataclass(frozen=True, slots=True)
class _RejectGroup:
    """All that was left out for one reason, and a few examples of it."""

    reason: str
    count: int
    examples: tuple[_Example, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """One number now and in the parent version, in words; `is_part` where it is a part of the one above."""

    name: str
    now: str
    before: str
    change: str
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class _Setting:
    """One setting in words; `before` is the parent's value where it differs."""

    section: str
    name: str
    title: str
    value: str
    is_default: bool
    before: str | None


def render_report(
    manifest: Manifest, parent: Manifest | None, records: pa.Table, rejects: pa.Table, *, dataset: Store, photos: Store
) -> str:
    """Return the page.

    Args:
        manifest: of the version.
        parent: of the version before it.
        records: rows of RECORDS.schema, all of the version; at least one.
        rejects: rows of REJECTS.schema, all of the version.
        dataset: where the shards and the parent's records lie.
        photos: where the rejected photos lie.
    """
    score = score_format(manifest.labels)
    with scratch_for() as scratch:
        old = _parent_records(dataset, parent, scratch) if parent else None
        score_plots, score_bins = score_histograms(records, None if old is None else old.table, score)
        photo_changes = None
        if parent and old is not None:
            photo_changes = compare_records(old, records, parent.settings, manifest.settings, scratch=scratch)
    page: str = _template(score).render(
        manifest=manifest,
        parent=parent,
        parent_is_read=old is not None,
        photo_changes=photo_changes,
        changes=_changes(manifest, parent, score_format(manifest.labels, 2)) if parent else (),
        split_names=SPLITS,
        score_plots=score_plots,
        score_bins=score_bins,
        ratings=[f"{rating:g}" for rating in manifest.source.ratings],
        extra_plots=extra_score_plots(manifest.extra_scores),
        deciles=_contact_sheet(records, dataset),
        image_plots=image_plots(records),
        weights=_weights(manifest),
        weight_plot=weight_plot([(name, size) for name, size, _ in _weights(manifest)]),
        split_means=_split_means(records),
        reject_groups=_reject_groups(manifest, rejects, photos),
        gates=[gate_in_words(gate) for gate in manifest.gates],
        settings=_settings(manifest, parent),
        software=_software(manifest, parent),
    )
    return page


def _template(score: Callable[[float], str]) -> Any:
    from jinja2 import PackageLoader

    filters = {
        "score": score,
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
    }
    return html_environment(PackageLoader("aesthetics_ops.report"), filters).get_template("report.html.jinja")


# what changed


def _parent_records(dataset: Store, parent: Manifest, scratch: Path) -> Spilled | None:
    """Return the parent's records, or None when they cannot be read: a page without them is better than none."""
    try:
        return spill_table(dataset, parent, VersionFile.RECORDS, scratch, COMPARED, if_there=compared_columns(parent))
    except AestheticsOpsError as error:
        _log.warning("report without a comparison of records: %s", error)
        return None


def _changes(manifest: Manifest, parent: Manifest, score: Callable[[float], str]) -> tuple[_Change, ...]:
    now, then = manifest.accounting, parent.accounting

    def splits() -> Iterator[_Change]:
        for name in SPLITS:
            count, before = (version.splits[name].records for version in (manifest, parent))
            yield _change(name, count, before, is_part=True)

    def reasons() -> Iterator[_Change]:
        for reason in reasons_in_order(manifest.rejects, parent.rejects):
            count, before = (version.rejects.get(reason, 0) for version in (manifest, parent))
            yield _change(name_in_words(reason), count, before, is_part=True)

    return (
        _change("Records", manifest.records, parent.records),
        *splits(),
        _change("Shards", manifest.reuse.shards_total, parent.reuse.shards_total),
        _change("Bytes in shards", manifest.bytes, parent.bytes, size_in_words),
        _change("Mean score", manifest.labels.mean, parent.labels.mean, score),
        _change("Standard deviation", manifest.labels.std, parent.labels.std, score),
        _change("Photos listed", now.listed, then.listed),
        _change("Photos left out", now.rejected, then.rejected),
        *reasons(),
        _change("Rows in the score file", now.label_rows, then.label_rows),
        _change("without a photo", now.unmatched, then.unmatched, is_part=True),
    )


def _change(
    name: str, now: float, before: float, words: Callable[[float], str] = count_in_words, *, is_part: bool = False
) -> _Change:
    return _Change(name, words(now), words(before), difference_in_words(now - before, words), is_part)


def _split_means(records: pa.Table) -> dict[str, float]:
    """Return the mean score of each split that has records."""
    means = records.group_by("split").aggregate([("label", "mean")])
    return dict(zip(means["split"].to_pylist(), means["label_mean"].to_pylist(), strict=True))


def _weights(manifest: Manifest) -> tuple[tuple[str, int, float], ...]:
    """Return name, bytes and multiple of the dataset, for the three forms that the same photos could have."""
    sizes = (
        ("Raw photos, as listed", manifest.source.bytes),
        ("The same records as uint8 tensors", manifest.images.total_pixels * 3),
        ("This dataset", manifest.bytes),
    )
    return tuple((name, size, size / manifest.bytes) for name, size in sizes)


def _rank(text: str) -> bytes:
    """Return where a text stands in an order that is random, yet always the same."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _contact_sheet(records: pa.Table, dataset: Store) -> tuple[_Decile, ...]:
    """Return photos of every tenth of the scores: the same ones in each version that has them in that tenth."""
    scores = records["label"].to_numpy()
    order = pc.sort_indices(records, [("label", "ascending"), ("id", "ascending")]).to_numpy()
    tenths = [tenth for tenth in np.array_split(order, min(_DECILES, records.num_rows)) if tenth.size]
    chosen = [_chosen(records.select(["id"]), tenth) for tenth in tenths]
    # one photo of each tenth before the second of any, so that a limit is shared
    turns = [row for turn in zip_longest(*chosen) for row in turn if row is not None]
    rows = take_rows(records, np.array(turns, np.int64)).to_pylist()
    fetched = fetch_all((row["length"], partial(_stored_photo, dataset, row)) for row in rows)
    shown = {
        place: _Photo(row["id"], row["label"], thumbnail(photo))
        for place, row, photo in zip(turns, rows, fetched, strict=True)
    }
    return tuple(
        _Decile(
            number=number,
            low=scores[tenth[0]].item(),
            high=scores[tenth[-1]].item(),
            records=tenth.size,
            photos=tuple(sorted((shown[row] for row in picked), key=lambda photo: (photo.score, photo.id))),
        )
        for number, (tenth, picked) in enumerate(zip(tenths, chosen, strict=True), start=1)
    )


def _chosen(ids: pa.Table, rows: np.ndarray) -> list[int]:
    """Return the few of these rows that are shown, by the rank of their ids."""
    found: list[tuple[bytes, int, int]] = []
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        ranked = zip(
            map(_rank, take_rows(ids, some)["id"].to_pylist()),
            range(first, first + len(some)),
            some.tolist(),
            strict=True,
        )
        found = heapq.nsmallest(_PHOTOS_PER_DECILE, (*found, *ranked))
    return [row for _, _, row in found]


def _stored_photo(dataset: Store, row: dict[str, Any]) -> bytes | memoryview:
    return decode_example(read_framed(bytes(dataset.get_range(row["shard"], row["offset"], row["length"])))).image


# rejects


def _reject_groups(manifest: Manifest, rejects: pa.Table, photos: Store) -> tuple[_RejectGroup, ...]:
    """Return the reasons that left anything out, in the manifest's order, each with a few examples."""
    examples = {reason: _choose_examples(rejects, reason) for reason, count in manifest.rejects.items() if count}
    visible = [row for rows in examples.values() for row in rows if row["bytes"] and row["reason"] not in _NEVER_SEEN]
    fetched = fetch_all((row["bytes"], partial(photos.get_range, row["key"], 0, row["bytes"])) for row in visible)
    thumbnails = {row["key"]: thumbnail(photo) for row, photo in zip(visible, fetched, strict=True)}
    return tuple(
        _RejectGroup(
            reason=reason,
            count=manifest.rejects[reason],
            examples=tuple(
                _Example(row["key"] or row["id"] or "", row["detail"] or "", thumbnails.get(row["key"], Thumbnail()))
                for row in rows
            ),
        )
        for reason, rows in examples.items()
    )


def _choose_examples(rejects: pa.Table, reason: str) -> list[dict[str, Any]]:
    rows = rejects.filter(pc.equal(rejects["reason"], str(reason)))
    names = pc.coalesce(rows["key"], rows["id"], pa.scalar("")).to_pylist()
    places = heapq.nsmallest(_EXAMPLES_PER_REASON, range(rows.num_rows), key=lambda place: _rank(names[place]))
    chosen: list[dict[str, Any]] = rows.take(pa.array(places, pa.int64())).to_pylist()
    return chosen


def _settings(manifest: Manifest, parent: Manifest | None) -> tuple[_Setting, ...]:
    """Return the settings in the order in which they are defined."""
    defaults = {name: field.default for name, field in BuildSettings.model_fields.items()}
    known = [name for name in defaults if name in manifest.settings]
    found = []
    for name in [*known, *(name for name in manifest.settings if name not in defaults)]:
        value = setting_in_words(manifest.settings, name)
        is_default = name in defaults and value == value_in_words(defaults[name])
        before = _before(parent.settings, name, manifest.settings[name]) if parent else None
        found.append(_Setting(*setting_field(name), value, is_default, before))
    return tuple(found)


def _before(settings: dict[str, Any], name: str, value: object) -> str | None:
    return None if settings.get(name, ...) == value else setting_in_words(settings, name)


def _software(manifest: Manifest, parent: Manifest | None) -> tuple[tuple[str, str, str | None], ...]:
    """Return name and version of each program, and the parent's version of it where that differs."""
    before = parent.software if parent else manifest.software
    return tuple(
        (name, version, None if before.get(name) == version else before.get(name, "not there"))
        for name, version in sorted(manifest.software.items())
    )
