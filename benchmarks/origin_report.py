"""The part of `RESULTS.md` about the origin's before and after.

In: what `origin.json` holds.  Out: Markdown.  Pure.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from figures import Results, Sample, Spread, Target, at_least, failed_runs, headline, short, table

__all__ = ["render_origin"]

_MB: Final = 1e6
_FEEDS: Final = {
    "tensors": "the origin before: serialised uint8 tensors",
    "origin": "the origin after: JPEGs, its preprocess",
    "ours": "**ours**: `Dataset.tf`, `fast`",
    "cache": '**ours**: the same, `fine`, `cache="uint8"`',
}
_HEAD: Final = (
    "fed by", "MB on disk", "photos/s, read alone", "CPU s per 1,000, read alone", "s an epoch, memory for all", "s an epoch, limited",
    "MB from disk in it", "anon MB", "peak MB",
)  # fmt: skip
_LEGEND: Final = (
    "{photos} photos (longest side 640 px, mean 87 kB) in batches of 64 of 224 x 224 px, by tf.data into a CNN of three strided convolutions; "
    "later epochs.  Read alone: the same without the CNN.  Limited: {memory} MB for the process and all that it has read, and a disk that "
    "gives {speed} MB/s, by control groups.  Tensors do not fit there; JPEGs and the uint8 cache do.  Medians; `(a..b)` are the smallest and the largest.\n"
)
_PEERS_LEGEND: Final = (
    "The same photos read without a CNN, in the same run: `same` has this project's decoder inside the peer's loader, `own` what the peer's documents show. "
    "The S3 server is on loopback, and each request to it takes 0 or 20 ms longer.\n"
)


def render_origin(document: Mapping[str, Any]) -> str:
    """Write the part about the origin's before and after."""
    results = Results(document)
    limits = document["limits"]
    legend = _LEGEND.format(
        photos=f"{results.sizes['photos']:,}",
        memory=f"{limits['memory_bytes'] / _MB:,.0f}",
        speed=f"{limits['disk_bytes_per_second'] / _MB:,.0f}",
    )
    parts = ["## The origin's before and after\n", headline(document, "origin.json")]
    targets = list(_targets(results))
    if targets:
        rows = [(target.what, target.wanted, str(target.found), target.verdict) for target in targets]
        parts.append(table(("ratio", "wanted", "median (smallest..largest)", ""), rows))
    parts += [legend, table(_HEAD, list(_rows(results))), *_crossing(results)]
    parts += [f"Left out: {name}: {why}\n" for name, why in document["absent"].items()]
    parts += [
        "### Peers in the same run\n",
        _PEERS_LEGEND,
        table(("reader", "photos/s", "CPU s per 1,000"), list(_peer_rows(results))),
    ]
    return "\n".join([*parts, *failed_runs(document)])


def _later(name: str) -> Callable[[Sample], float]:
    """Return a figure of an epoch, the median of those after the first."""
    return lambda run: float(statistics.median(epoch[name] for epoch in run["printed"]["epochs"][1:]))


_wall: Final = _later("wall_seconds")
_cpu: Final = _later("cpu_seconds")


def _over(results: Results, what: str, base: str, value: Callable[[Sample], float] = _wall) -> Spread | None:
    return results.spread([what, base], lambda first, second: value(first) / value(second))


def _stored(run: Sample) -> float:
    return float(run["printed"]["stored_bytes"])


def _targets(results: Results) -> Iterator[Target]:
    for feed, least in (("ours", 4.0), ("cache", 10.0)):
        found = _over(results, "limited tensors", f"limited {feed}")
        yield from at_least(f"seconds an epoch, limited: tensors over {_FEEDS[feed]}", least, found)
    found = _over(results, "limited tensors", "limited origin")
    yield from at_least("the same over the origin after: its post says 4", 4.0, found)
    yield from at_least("bytes on disk: tensors over JPEGs", 9.0, _over(results, "read tensors", "read ours", _stored))
    for feed in ("origin", "ours", "cache"):
        found = _over(results, "train tensors", f"train {feed}")
        if found:
            yield Target(
                f"seconds an epoch, memory for all: tensors over {_FEEDS[feed]}", "below 1: tensors win", found, None
            )


def _rows(results: Results) -> Iterator[list[str]]:
    for feed, words in _FEEDS.items():

        def cell(job: str, value: Callable[[Sample], float], feed: str = feed) -> str:
            found = results.spread([f"{job} {feed}"], value)
            return str(found) if found else ""

        yield [
            words,
            cell("read", lambda run: _stored(run) / _MB),
            cell("read", lambda run: run["photos"] / _wall(run)),
            cell("read", lambda run: 1000 * _cpu(run) / run["photos"]),
            cell("train", _wall),
            cell("limited", _wall),
            cell("limited", lambda run: _later("disk_bytes")(run) / _MB),
            cell("train", lambda run: run["printed"]["anonymous_bytes"] / _MB),
            cell("train", lambda run: run["printed"]["peak_bytes"] / _MB),
        ]


def _crossing(results: Results) -> Iterator[str]:
    """Say how fast a disk has to be before tensors that do not fit in memory are as fast as JPEGs that do."""
    for feed in ("origin", "ours", "cache"):
        found = results.spread(
            ["read tensors", f"train {feed}"], lambda tensors, other: _stored(tensors) / _wall(other) / _MB
        )
        slower = _over(results, "train tensors", f"train {feed}")
        if found is None or slower is None:
            continue
        if slower.median >= 1:
            yield f"- Tensors never win over {_FEEDS[feed]}: in memory, too, their epoch takes {slower} times as long.\n"
        else:
            yield f"- Tensors win over {_FEEDS[feed]} where they fit in memory, or the disk gives {short(found.median)} MB/s and more.\n"


def _peer_rows(results: Results) -> Iterator[list[str]]:
    names = ["ours numpy fast", "ours torch fast"]
    names += [f"{peer} {which}" for which in ("same", "own") for peer in results.peers]
    for ms in (0, 20):
        names += [
            f"cloud {ms} {who}" for who in ("ours block", "ours global", "ours pulled", "webdataset", "litdata", "mds")
        ]
    for name in names:
        speed = results.spread([name], lambda run: run["photos"] / _wall(run))
        cpu = results.spread([name], lambda run: 1000 * _cpu(run) / run["photos"])
        if speed and cpu:
            words = name.split()
            shown = f"from S3, {words[1]} ms: {' '.join(words[2:])}" if words[0] == "cloud" else name
            yield [shown, str(speed), str(cpu)]
