"""The plots of a version, as SVG that lives inside a page: it takes the page's font and colours, light or dark.

In: records.  Out: `Plot`, markup with what a person needs who does not see it.  Pure: equal input gives equal bytes,
and no state of matplotlib outlives a call.  The markup has no style attribute, so a page can forbid inline styles.

The page defines the colours as CSS custom properties: `--ink`, `--line`, `--accent`, `--before`.
"""

import importlib
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aesthetics_ops.dataset.layout import SPLITS
from aesthetics_ops.dataset.manifest import ScoreStatistics
from aesthetics_ops.machine import while_loading
from aesthetics_ops.report.words import short, size_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Plot", "ScoreBin", "extra_score_plots", "image_plots", "load_plotting", "score_histograms", "weight_plot"]

# Drawn in colours that nothing else has, then named: matplotlib knows no CSS.
_INK: Final = "#010203"
_LINE: Final = "#010204"
_ACCENT: Final = "#010205"
_BEFORE: Final = "#010206"
_CSS: Final = {_INK: "var(--ink)", _LINE: "var(--line)", _ACCENT: "var(--accent)", _BEFORE: "var(--before)"}
_WIDTH_PT: Final = 330  # about a phone's width, so that text is as large there as it is designed
_HEIGHT_PT: Final = 200
_MARGINS_PT: Final = (48, 12, 36, 10)  # left, right, bottom, top
_BAR_PT: Final = 44
_BINS: Final = 20
_CELLS: Final = 22  # of the map of sizes, in each direction
_ASPECTS: Final = ("1:3", "1:2", "2:3", "1:1", "3:2", "2:1", "3:1")
_SVG: Final = "{http://www.w3.org/2000/svg}"
_XLINK: Final = "{http://www.w3.org/1999/xlink}"
_KEPT_STYLES: Final = frozenset(
    {"fill", "fill-opacity", "fill-rule", "opacity", "stroke", "stroke-opacity", "stroke-width", "text-anchor"}
)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Attributes:
        title: what it shows, in a few words.
        words: what there is to see in it.
        svg: markup, safe to put into a page as it is.
    """

    title: str
    words: str
    svg: str


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """A range of scores.

    Attributes:
        low, high: its ends; only the last range includes its `high`.
        counts: photos of each split, in the order of SPLITS.
        before: photos of the parent version, in all; None when its records are not known.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    before: int | None


def load_plotting() -> None:
    """Load what draws, a second of work: whoever waits for something else can have it done then, in a thread."""
    with while_loading():
        importlib.import_module("matplotlib.figure")
        importlib.import_module("matplotlib.backends.backend_svg")


def score_histograms(
    records: pa.Table, before: pa.Table | None, score_words: Callable[[float], str]
) -> tuple[tuple[Plot, ...], tuple[ScoreBin, ...]]:
    """Draw how the scores of each split are distributed, with the parent version behind.

    Args:
        records: with columns split and label; at least one row.
        before: the parent version's; None without one.
        score_words: how a score is written.

    Returns:
        A plot for each split that has records, and the numbers behind all of them.
    """
    tables = [records] if before is None else [records, before]
    every = np.concatenate([table["label"].to_numpy() for table in tables]).astype(np.float64)
    edges = np.histogram_bin_edges(every, bins=_BINS)
    counts = np.array([[_counts_of_split(table, split, edges) for split in SPLITS] for table in tables])
    plots = []
    for split, now, then in zip(SPLITS, counts[0], counts[-1], strict=True):
        if now.sum():
            first, last = now.nonzero()[0][[0, -1]]
            top = int(now.argmax())
            words = (
                f"Scores from {score_words(edges[first])} to {score_words(edges[last + 1])}. The tallest bar: {now[top]:,} "
                f"between {score_words(edges[top])} and {score_words(edges[top + 1])}."
            )
            svg = _histogram(now, edges, "score", before=None if before is None else then)
            plots.append(Plot(f"{split.capitalize()}, {_photos(now.sum())}", words, svg))
    behind = [None] * _BINS if before is None else counts[1].sum(axis=0).tolist()
    limits = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    bins = tuple(
        ScoreBin(low, high, tuple(now), then)
        for (low, high), now, then in zip(limits, counts[0].T.tolist(), behind, strict=True)
    )
    return tuple(plots), bins


def extra_score_plots(scores: Mapping[str, ScoreStatistics]) -> tuple[Plot, ...]:
    """Draw how each extra score is distributed.

    Args:
        scores: by their names, as the manifest has them.
    """
    plots = []
    for name, score in scores.items():
        counts, edges = np.array(score.histogram.counts), np.array(score.histogram.edges)
        words = f"From {score.min:.4g} to {score.max:.4g}, mean {score.mean:.4g}, standard deviation {score.std:.4g}."
        svg = _histogram(counts.astype(np.int64), edges, "score")
        plots.append(Plot(short(name), words, svg))
    return tuple(plots)


def image_plots(records: pa.Table) -> tuple[Plot, ...]:
    """Draw the stored images' width and height, their shape, and their bytes.

    Args:
        records: with columns width, height (px) and bytes, all > 0; at least one row.
    """
    widths, heights, sizes = (records[name].to_numpy() for name in ("width", "height", "bytes"))
    kinds = (widths < heights, widths == heights, widths > heights)
    upright, square, wide = (int(np.count_nonzero(kind)) for kind in kinds)
    ticks = [(math.log(Fraction(name.replace(":", "/"))), name) for name in _ASPECTS]
    edges = np.linspace(ticks[0][0], ticks[-1][0], 31)
    shapes = np.histogram(np.clip(np.log(widths / heights), edges[0], edges[-1]), bins=edges)[0]
    size_edges = np.histogram_bin_edges(np.log10(sizes), bins=_BINS)
    in_bins = np.histogram(np.log10(sizes), bins=size_edges)[0]
    least, median, most = (size_in_words(size) for size in np.quantile(sizes, (0, 0.5, 1)))
    return (
        Plot(
            "Width and height",
            f"Widths from {widths.min():,} to {widths.max():,} px, median {np.median(widths):,.0f}; heights from "
            f"{heights.min():,} to {heights.max():,} px, median {np.median(heights):,.0f}. The larger a circle, the "
            "more photos; those on the line are square.",
            _size_map(np.log10(widths), np.log10(heights)),
        ),
        Plot(
            "Shape",
            f"{upright:,} upright, {square:,} square, {wide:,} wide. Shapes beyond 1:3 and 3:1 count at the ends.",
            _histogram(shapes, edges, "width : height", ticks=ticks),
        ),
        Plot(
            "Bytes of a JPEG",
            f"From {least} to {most}, median {median}.",
            _histogram(in_bins, size_edges, "size", ticks=_round_ticks(size_edges[0], size_edges[-1], _round_size)),
        ),
    )


def weight_plot(weights: Sequence[tuple[str, int]]) -> Plot:
    """Draw names and their bytes as bars, the first on top."""
    words = "; ".join(f"{name}: {size_in_words(size)}" for name, size in weights)

    def draw(axes: "Axes") -> None:
        places = np.arange(len(weights))[::-1]
        axes.barh(places, [size for _, size in weights], height=0.42, color=_ACCENT)
        for place, (name, size) in zip(places, weights, strict=True):
            axes.text(0, place + 0.32, f"{name}: {size_in_words(size)}", va="bottom", color=_INK, fontsize=9.5)
        axes.set_xlim(0, max(size for _, size in weights))
        axes.set_ylim(-0.4, len(weights) - 0.1)
        axes.set_axis_off()

    return Plot("Bytes in each form", f"{words}.", _svg(draw, _BAR_PT * len(weights), (1, 1, 1, 1)))


def _round_size(count: int) -> str:
    """Return a round number of bytes in words, for a scale: `20 kB`."""
    return re.sub(r"\.?0+ ", " ", words) if "." in (words := size_in_words(count)) else words


def _photos(count: int) -> str:
    return f"{count:,} photo{'' if count == 1 else 's'}"


def _counts_of_split(table: pa.Table, split: str, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    values = table["label"].filter(pc.equal(table["split"], split)).to_numpy()
    return np.histogram(values, bins=edges)[0]


def _histogram(
    counts: NDArray[np.int64],
    edges: NDArray[np.float64],
    x_label: str,
    *,
    before: NDArray[np.int64] | None = None,
    ticks: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw counts per bin; what was there before stands behind, wider, so that both can be seen everywhere."""
    middles, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]

    def draw(axes: "Axes") -> None:
        if before is not None:
            axes.bar(middles, before, width=width * 0.92, color=_BEFORE)
        axes.bar(middles, counts, width=width * (0.5 if before is not None else 0.92), color=_ACCENT)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.06 * max(1, counts.max(), 0 if before is None else before.max()))
        axes.set_xlabel(x_label)
        axes.set_ylabel("photos")
        if ticks:
            axes.set_xticks([place for place, _ in ticks], [name for _, name in ticks])
        _count_photos(axes)
        axes.grid(axis="y", color=_LINE, linewidth=0.8)

    return _svg(draw)


def _size_map(widths: NDArray[np.float64], heights: NDArray[np.float64]) -> str:
    """Draw how many photos have which decimal logarithms of width and height: the area of a circle is their number."""
    both = np.concatenate([widths, heights])
    low, high = both.min() - 0.08, both.max() + 0.08
    counts, xs, ys = np.histogram2d(widths, heights, bins=_CELLS, range=((low, high), (low, high)))
    column, row = np.nonzero(counts)
    x, y = (xs[column] + xs[column + 1]) / 2, (ys[row] + ys[row + 1]) / 2

    def draw(axes: "Axes") -> None:
        axes.plot([low, high], [low, high], color=_LINE, linewidth=1.6)
        axes.scatter(x, y, s=6 + 130 * counts[column, row] / counts.max(), color=_ACCENT, alpha=0.7, linewidth=0)
        ticks = _round_ticks(low, high, "{:,}".format)
        for axis, name in ((axes.xaxis, "width, px"), (axes.yaxis, "height, px")):
            axis.set_ticks([place for place, _ in ticks], labels=[name for _, name in ticks])
            axis.set_label_text(name)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.grid(color=_LINE, linewidth=0.8)

    return _svg(draw)


def _round_ticks(low: float, high: float, words: Callable[[int], str]) -> list[tuple[float, str]]:
    """Return places on a decimal logarithm's axis that stand for round numbers, with their names; seven at most."""
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        numbers = [round(step * 10**power) for power in range(16) for step in steps]
        ticks = [(float(np.log10(number)), words(number)) for number in numbers]
        ticks = [(place, name) for place, name in ticks if low <= place <= high]
        if len(ticks) <= 6:
            break
    return ticks


def _count_photos(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: _short_count(count)))


def _short_count(count: float) -> str:
    for step, name in ((10**6, "M"), (1000, "k")):
        if count >= 10 * step or (count >= step and step > 1000):
            return f"{count / step:g}{name}"
    return f"{count:g}"


def _svg(draw: Callable[["Axes"], None], height_pt: int = _HEIGHT_PT, margins_pt: Sequence[int] = _MARGINS_PT) -> str:
    load_plotting()
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    left, right, bottom, top = margins_pt
    sink = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "aesthetics_ops"}):
        figure = Figure(figsize=(_WIDTH_PT / 72, height_pt / 72))
        FigureCanvasSVG(figure)
        width, height = _WIDTH_PT - left - right, height_pt - bottom - top
        axes = figure.add_axes((left / _WIDTH_PT, bottom / height_pt, width / _WIDTH_PT, height / height_pt))
        axes.tick_params(which="both", length=0, labelsize=9, labelcolor=_INK, pad=5)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=_INK, fontsize=9)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_LINE)
        draw(axes)
        for artist in figure.findobj():
            artist.set_clip_on(False)  # nothing reaches beyond the axes, and clips need ids, which a page has only once
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(sink.getvalue())


def _for_page(document: str) -> str:
    """Turn matplotlib's document into markup for a page: no prologue, font, style, fixed size or unused id."""
    root = ElementTree.fromstring(document)  # noqa: S314 -- matplotlib wrote it a moment ago
    for element in list(root.iter()):
        for child in list(element):
            if not _is_drawn(child):
                element.remove(child)
        element.tag = element.tag.removeprefix(_SVG)
        element.text = element.text and element.text.strip()
        element.tail = None
        _plain_attributes(element.attrib)
    used = {element.get("href", "").removeprefix("#") for element in root.iter("use")}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    root.attrib = {"viewBox": root.get("viewBox", ""), "aria-hidden": "true", "focusable": "false"}
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub("|".join(_CSS), lambda found: _CSS[found[0]], text)


def _is_drawn(element: Any) -> bool:
    if element.tag in (f"{_SVG}metadata", f"{_SVG}style"):
        return False
    inside = (f"{_SVG}g", f"{_SVG}defs")
    return element.tag not in inside or any(child.tag not in inside for child in element.iter())


def _plain_attributes(attributes: dict[str, str]) -> None:
    """Turn what one style attribute says into attributes, as far as a page wants it."""
    for part in attributes.pop("style", "").split(";"):
        name, _, value = (text.strip() for text in part.partition(":"))
        if name in _KEPT_STYLES:
            attributes[name] = value
        elif name in ("font", "font-size") and (size := re.search(r"([\d.]+)px", value)):
            attributes["font-size"] = size[1]
    if (link := attributes.pop(f"{_XLINK}href", None)) is not None:
        attributes["href"] = link
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
