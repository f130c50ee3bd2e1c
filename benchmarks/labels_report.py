"""The part of `RESULTS.md` about files of scores.

In: what `labels.json` holds.  Out: Markdown.  Pure.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from figures import Results, Sample, Spread, Target, at_most, failed_runs, headline, short, table

__all__ = ["render_labels"]

_MB: Final = 1e6
_MOST_SECONDS: Final = 2.0
_MOST_MB: Final = 300
_PLAN_MB: Final = 3_257 * 2**20 / _MB  # docs/scale.md: the plan of 10^7 photos, first night, the whole process
_LOUD_CORES: Final = 0.3
_HEAD: Final = (
    "file", "rows", "MB", "wall s", "CPU s", "MB added", "bare library", "CPU s of it", "x its wall", "x its CPU", "x its MB added",
    "others' cores",
)  # fmt: skip
_LEGEND: Final = (
    "What `read_labels` takes for a file that lies in the page cache, in a process of its own that has read a small file of the kind "
    "before; beside it the bare library, which gives a table or lists and looks for no column, number, range or photo.  Medians; `(a..b)` are the "
    "smallest and the largest.  Memory is what the peak has more than the process had before, the file's bytes included.  Ratios are taken inside "
    "a round.  Rows with ! saw more than 0.3 cores at work on something else, which wall time shows; CPU seconds and memory hold.\n"
)


def render_labels(document: Mapping[str, Any]) -> str:
    """Write the part about files of scores."""
    results = Results(document)
    parts = ["## Files of scores\n", headline(document, "labels.json")]
    targets = list(_targets(results, document))
    if targets:
        rows = [(target.what, target.wanted, str(target.found), target.verdict) for target in targets]
        parts += [
            "### Targets of files of scores\n",
            table(("target", "wanted", "median (smallest..largest)", ""), rows),
        ]
    parts += ["### Files of scores, measured\n", _LEGEND, table(_HEAD, list(_rows(results, document)))]
    return "\n".join([*parts, *failed_runs(document)])


def _wall(sample: Sample) -> float:
    return float(sample["wall_seconds"])


def _cpu(sample: Sample) -> float:
    return float(sample["cpu_seconds"])


def _added(sample: Sample) -> float:
    return float(sample["printed"]["added_bytes"]) / _MB


def _peak(sample: Sample) -> float:
    return float(sample["printed"]["peak_bytes"]) / _MB


def _over(value: Callable[[Sample], float]) -> Callable[[Sample, Sample], float]:
    return lambda ours, bare: value(ours) / value(bare)


def _targets(results: Results, document: Mapping[str, Any]) -> Iterator[Target]:
    for kind, rows, job in _files(results, document):
        if rows == results.sizes["rows"]:
            yield from at_most(f"{kind}: seconds for {rows:,} rows", _MOST_SECONDS, results.spread([job], _wall), " s")
            yield from at_most(
                f"{kind}: CPU seconds for {rows:,} rows", _MOST_SECONDS, results.spread([job], _cpu), " s"
            )
            yield from at_most(f"{kind}: MB added by {rows:,} rows", _MOST_MB, results.spread([job], _added), " MB")
        else:
            what = f"{kind}: peak MB of a process that reads {rows:,} rows, against the plan's of 10^7 photos"
            yield from at_most(what, _PLAN_MB, results.spread([job], _peak), " MB")


def _files(results: Results, document: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Give kind, rows and job of each file that this project has read, the large ones last."""
    for rows in (results.sizes["rows"], results.sizes["large_rows"]):
        for kind in document["libraries"]:
            if results.has(job := f"read {kind} {rows} ours"):
                yield kind, rows, job


def _rows(results: Results, document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for kind, rows, job in _files(results, document):
        both = [job, job.replace(" ours", " bare")]
        bare = results.spread(both[1:], _cpu)
        ratios = [results.spread(both, _over(value)) for value in (_wall, _cpu, _added)]
        size = Spread.of([sample["printed"]["file_bytes"] / _MB for sample in results.runs(job)])
        own = [results.spread([job], value) for value in (_wall, _cpu, _added)]
        others = Spread.of([float(sample["foreign_cores"]) for sample in results.runs(job)])
        loud = "" if others is None else f"{short(others.median)}{' !' if others.median > _LOUD_CORES else ''}"
        yield (
            kind, f"{rows:,}", short(size.median) if size else "", *map(str, own), document["libraries"][kind], str(bare or ""),
            *(str(ratio or "") for ratio in ratios), loud,
        )  # fmt: skip
