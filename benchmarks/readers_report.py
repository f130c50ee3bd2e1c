"""What reading costs, as tables in Markdown.

In: what `readers.json` holds.  Out: text.
Pure.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from figures import Results, Sample, Spread, Target, at_least, at_most, failed_runs, headline, short, table

__all__ = ["render_readers"]

_OURS: Final = "ours numpy fast"
_FINE: Final = "ours numpy fine"
_BARE: Final = "bare fast"
_TORCH_PEERS: Final = ("datasets", "webdataset", "litdata", "mds", "files")
_DISK_BYTES_PER_SECOND: Final = 125e6  # what a cloud's disk gives by default
_TENSOR_BYTES: Final = 891_000  # of a photo of this set as full-size uint8
_CACHED_GROWTH_MB: Final = 2.0

_ROWS: Final = {
    "bare linear": "**bare**: decode at 1/2, 1/4, 1/8 or whole, then OpenCV's LINEAR; two calls a photo",
    "bare fast": "**bare**: this project's `fast`, JPEGs in memory, 2 threads",
    "bare fine": "**bare**: this project's `fine`",
    "origin": "**the origin's preprocess** (tf.data: float32, then `tf.image.resize`)",
    "ours numpy fast": "**ours**: numpy batches, `fast`",
    "ours numpy fine": "**ours**: numpy batches, `fine`",
    "ours numpy exact": "ours: numpy batches, `exact` (Pillow's filter)",
    "ours numpy none": "ours: numpy batches, `none` (the origin's pixels)",
    "ours numpy cache": "**ours**: numpy batches, `fine`, uint8 cache file",
    "ours torch fast": "ours: torch tensors, threads",
    "ours torch-loader fast": "ours: torch's DataLoader, 2 workers",
    "ours tf fast": "ours: tf.data",
    "ours tf cache": "ours: tf.data, `fine`, uint8 cache file",
    "ours keras fast": "ours: Keras PyDataset",
    "ours grain fast": "ours: Grain, 2 threads",
    "ours small fine": "ours: a version stored at 320 px, `fine`",
    "ours small fast": "ours: a version stored at 320 px, `fast`",
    "ours numpy fast, one thread": "ours: numpy batches, `fast`, 1 thread",
    "datasets same": "HF datasets, Parquet, 2 workers - this project's decoder",
    "grain same": "Grain, array_record, 2 threads - same",
    "webdataset same": "WebDataset, 2 workers - same",
    "litdata same": "LitData, 2 workers - same",
    "mds same": "MosaicML's streaming, MDS, 2 workers - same",
    "files same": "files, torch's DataLoader, 2 workers - same",
    "dali same": "DALI on the CPU, 2 threads - its own, antialias off",
    "datasets own": "HF datasets - Pillow",
    "grain own": "Grain, array_record - Pillow",
    "webdataset own": "WebDataset - Pillow",
    "litdata own": "LitData - Pillow",
    "mds own": "MosaicML's streaming - Pillow",
    "files own": "files - Pillow",
    "dali own": "DALI - its own, antialias on",
}
_CLOUD_ROWS: Final = {
    "ours block": "ours: a directory that fills itself, block shuffle",
    "ours global": "ours: a directory that fills itself, global shuffle",
    "ours pulled": "ours: pull, then read",
    "webdataset": "WebDataset over HTTP, 2 workers",
    "litdata": "LitData over S3, 2 workers, keeps chunks",
    "mds": "MosaicML's streaming over S3, 2 workers, keeps shards",
}
_LEGEND: Final = (
    "CPU seconds of the whole process tree per 1,000 photos of {photos} (longest side 640 px, mean 87 kB), batches of 64 of "
    "224 x 224 px, page cache warm.  Medians; `(a..b)` are the smallest and the largest.  `x bare` is taken inside a round: epoch 2+ "
    "over the bare codec, of `fine` for rows with `fine` and else of `fast`.  First batch: CPU seconds from the start of the process. "
    "Anon MB: peak of memory that no file stands behind, over all processes.\n"
)
_CLOUD_LEGEND: Final = (
    "The same photos behind a loopback S3 whose every request takes 0 or 20 ms longer.  To the first batch: seconds from the start of the "
    "process, requests for shards and in all, MB; readers read ahead meanwhile.  `one batch` asks for nothing ahead.\n"
)

# Why a target is missed, by what its name starts with; measured on 2026-11-26 on the machine of the table.
_HELD: Final = (
    "Fetching and checking a record is 0.017 of its decode, and `Records.arrays` in one thread takes 1.01 of the codec.  The rest is that "
    "three batches of 9.6 MB are alive at once, in memory that is no longer in the cache: `arrays` takes 1.06 when three of its batches are "
    "held, and the bare codec 1.03."
)
_REASONS: Final[dict[str, str]] = {
    "1. CPU over the bare codec": _HELD,
    "2. CPU over the bare codec with the same pixels: torch's": "The same batches take 1.06 by threads; two worker processes and shared memory "
    "are the rest, and torch's own list of files pays the same: 1.23.",
    "2. CPU over the bare codec with the same pixels: torch tensors": _HELD,
    "3. CPU of the origin's preprocess over ours, `fast`": "Ours antialiases and the origin does not: with the origin's pixels (`none`) it takes "
    "1.65 against 2.10, which is 1.27.",
    "5. CPU of grain as its documents show it over ours, `fast`": "Grain's threads take little; what is left is Pillow, with which ours "
    "(`exact`) takes 3.34 and Grain 3.82.",
    "6. CPU seconds to the first batch of ours": "Imports are 0.38 of it (numpy 0.09, pydantic and the manifest's models 0.13, pyarrow 0.07, "
    "the readers 0.08), and decoding up to the end of the first batch, with what is read ahead meanwhile, is 0.20.",
    "8. CPU seconds to open 2,000,000 records": "Reading six columns of the table is half to two thirds of it, the first time in a process three "
    "times as dear as the second (0.62 and 0.23 s in a row): fresh memory.",
    "9. CPU seconds per GB of a pull": "SHA-256 is 0.55 of it and writing 0.36; the rest is receiving, in pieces of 1 MB, since 55 MB are "
    "shared out to 16 connections.",
    "11. speed of 2 threads over 1": "Other work took 1.3 of the two cores meanwhile; this has to be measured on a quiet machine.",
    "requests for shards to one batch": "The first 128 records were three blocks, and a gap of 1.2 MB cut one request in two.  Gaps of up to 2 MB "
    "are fetched since; then it is three.",
}


def render_readers(document: Mapping[str, Any]) -> str:
    """Write the part about readers."""
    results = Results(document)
    parts = ["## Readers\n", headline(document, "readers.json")]
    targets = list(_targets(results))
    if targets:
        rows = [(target.what, target.wanted, str(target.found), target.verdict) for target in targets]
        parts += ["### Targets of readers\n", table(("target", "wanted", "median (smallest..largest)", ""), rows)]
    if missed := [target for target in targets if target.is_met is False]:
        lines = [f"- {target.shrinks}{_reason(target)}" for target in missed]
        parts += ["### Where a target of readers is missed\n", "\n".join(lines) + "\n"]
    legend = _LEGEND.format(photos=f"{results.sizes['photos']:,}")
    parts += ["### Readers, local files\n", legend, table(_HEAD, list(_rows(results)))]
    parts += ["### Readers, from S3\n", _CLOUD_LEGEND, table(_CLOUD_HEAD, list(_cloud_rows(results)))]
    parts += ["### Single figures\n", table(("what", "median (smallest..largest)"), list(_single_rows(results)))]
    lines = [f"- {name}: {text}." for name, text in document["peers"].items() if name not in document["absent"]]
    lines += [f"- {name}: not measured, {why}." for name, why in document["absent"].items()]
    parts += ["### Peers that read\n", "\n".join(lines) + "\n", *failed_runs(document)]
    return "\n".join(parts)


_HEAD: Final = (
    "reader", "epoch 1", "epoch 2+", "x bare", "CPU s to open", "CPU s to first batch", "anon MB", "processes", "others' cores",
)  # fmt: skip
_CLOUD_HEAD: Final = (
    "reader", "latency ms", "CPU s per 1,000, epoch 1", "epoch 2", "s to first batch", "CPU s to first batch", "requests for shards",
    "requests", "MB", "anon MB",
)  # fmt: skip


def _reason(target: Target) -> str:
    found = next((text for start, text in _REASONS.items() if target.what.startswith(start)), "")
    return f"  {found}" if found else ""


def _printed(name: str, factor: float = 1.0) -> Callable[[Sample], float]:
    return lambda sample: factor * float(sample["printed"][name])


def _epochs(sample: Sample, name: str = "cpu_seconds") -> list[float]:
    return [float(epoch[name]) for epoch in sample["printed"]["epochs"]]


def _first(sample: Sample) -> float:
    """Return the CPU seconds per 1,000 photos of epoch 1."""
    return 1000 * _epochs(sample)[0] / float(sample["photos"])


def _later(sample: Sample) -> float:
    """Return the CPU seconds per 1,000 photos of the later epochs: their median."""
    return 1000 * statistics.median(_epochs(sample)[1:]) / float(sample["photos"])


def _anonymous_mb(sample: Sample) -> float:
    return max(float(sample["peak_anonymous_bytes"]), *map(float, sample["printed"]["anonymous_bytes"])) / 1e6


def _growth_mb(sample: Sample) -> float:
    memory = sample["printed"]["anonymous_bytes"]
    return float(memory[-1] - memory[1]) / 1e6


def _ratio(value: Callable[[Sample], float]) -> Callable[[Sample, Sample], float]:
    return lambda a, b: value(a) / value(b)


def _over(results: Results, job: str, base: str) -> Spread | None:
    """Compare the later epochs of two readers."""
    return results.spread([job, base], _ratio(_later))


def _targets(results: Results) -> Iterator[Target]:
    yield from _codec_targets(results)
    yield from _peer_targets(results)
    yield from _start_targets(results)
    yield from _store_targets(results)
    yield from _last_targets(results)


def _codec_targets(results: Results) -> Iterator[Target]:
    name = "CPU over the bare codec with the same pixels"
    yield from at_most(f"1. {name}, `fast`: numpy", 1.03, _over(results, _OURS, _BARE))
    yield from at_most(f"1. {name}, `fine`: numpy", 1.03, _over(results, _FINE, "bare fine"))
    yield from at_most(
        f"2. {name}: torch's DataLoader, 2 workers", 1.15, _over(results, "ours torch-loader fast", _BARE)
    )
    yield from at_most(f"2. {name}: torch tensors, threads", 1.05, _over(results, "ours torch fast", _BARE))
    yield from at_least("3. CPU of the origin's preprocess over ours, `fast`", 1.25, _over(results, "origin", _OURS))
    cached = _over(results, "origin", "ours numpy cache")
    yield from at_least("3. CPU of the origin's preprocess over ours with the uint8 cache", 40, cached)


def _peer_targets(results: Results) -> Iterator[Target]:
    for peer in results.peers:
        if peer != "dali":
            name = f"4. CPU of {peer} with the same decoder over ours, `fast`"
            yield from at_least(name, 1.08, _over(results, f"{peer} same", _OURS))
    for least, ours, which in ((1.7, _FINE, "fine"), (2.2, _OURS, "fast")):
        for peer in results.peers:
            name = f"5. CPU of {peer} as its documents show it over ours, `{which}`"
            yield from at_least(name, least, _over(results, f"{peer} own", ours))


def _start_targets(results: Results) -> Iterator[Target]:
    first = _printed("first_batch_cpu_seconds")
    loaders = [f"{peer} same" for peer in results.peers if peer in _TORCH_PEERS]
    for job in (*loaders, "origin"):
        what = "tf.data (the origin's)" if job == "origin" else job.split()[0]
        found = results.spread([job, _OURS], _ratio(first))
        yield from at_least(f"6. CPU to the first batch of {what} over ours, numpy", 4.0, found)
    yield from at_most("6. CPU seconds to the first batch of ours, numpy", 0.5, results.spread([_OURS], first))
    heavy = [job for job in (*loaders, "origin", "dali same") if results.has(job)]
    memory = {job: spread.median for job in heavy if (spread := results.spread([job], _anonymous_mb))}
    if memory:
        least = min(memory, key=lambda job: memory[job])
        found = results.spread([_OURS, least], _ratio(_anonymous_mb))
        yield from at_most(
            f"7. anon memory of ours, numpy, over the leanest of torch, tf and DALI ({least})", 0.6, found
        )
    last = results.sizes["long_epochs"]
    found = results.spread(["growth"], _growth_mb)
    yield from at_most(f"7. anon memory from epoch 2 to {last}, MB", _CACHED_GROWTH_MB, found)


def _store_targets(results: Results) -> Iterator[Target]:
    for count, most in zip(results.sizes["indexes"], (0.1, 0.5), strict=True):
        job = [f"index {count}"]
        yield from at_most(
            f"8. CPU seconds to open {count:,} records", most, results.spread(job, _printed("cpu_seconds"))
        )
    found = results.spread(job, lambda run: run["printed"]["bytes"] / run["printed"]["indexed"])
    yield from at_most("8. bytes a record in memory", 40, found)
    found = results.spread(["pull 1", "pull 16"], _ratio(_printed("wall_seconds")))
    yield from at_least("9. speed of a pull with 16 connections of limited speed over one", 12, found)
    found = results.spread(["pull unlimited"], _pull_cpu)
    yield from at_most("9. CPU seconds per GB of a pull", 2.2, found)
    found = results.spread(["pull unlimited"], _printed("again_wall_seconds"))
    yield from at_most("9. seconds of a second pull", 1.0, found)
    found = _over(results, _OURS, "ours small fine")
    yield from at_least("10. CPU of `keep` with `fast` over a version at 320 px with `fine`", 2.5, found)


def _last_targets(results: Results) -> Iterator[Target]:
    found = results.spread(["ours numpy fast, one thread", _OURS], _ratio(_later_wall))
    yield from at_least("11. speed of 2 threads over 1 (8 threads: this machine has not as many cores)", 1.9, found)
    cores = results.sizes["cores"]
    before = 1000 * _TENSOR_BYTES / _DISK_BYTES_PER_SECOND
    for least, job, what in ((4, _OURS, "decoding"), (10, "ours numpy cache", "with the uint8 cache in memory")):
        found = results.spread([job], lambda run: before / (_later(run) / cores))
        name = f"12. the origin's full-size tensors from a disk of 125 MB/s over ours, {what} (computed)"
        yield from at_least(name, least, found)
    for latency in (0, 20):
        found = results.spread([f"first {latency} ours block"], _asked("shards"))
        yield from at_most(f"requests for shards to one batch from S3, block shuffle, {latency} ms", 3, found)
    for where in ("local", "20"):
        name = f"seconds to resume, {'from local files' if where == 'local' else f'from S3 at {where} ms'}"
        yield from at_most(name, 1.0, results.spread([f"resume {where}"], _printed("resume_seconds")))


def _later_wall(sample: Sample) -> float:
    return statistics.median(_epochs(sample, "wall_seconds")[1:])


def _pull_cpu(sample: Sample) -> float:
    return float(sample["printed"]["cpu_seconds"] / sample["printed"]["bytes"] * 1e9)


def _asked(name: str) -> Callable[[Sample], float]:
    return lambda sample: float(sample["printed"]["first_batch_asked"][name])


def _rows(results: Results) -> Iterator[list[str]]:
    for job, words in _ROWS.items():
        if not results.has(job):
            continue
        is_bare = job.startswith("bare")
        base = "bare fine" if job.split()[-1] == "fine" and results.has("bare fine") else _BARE
        over = _over(results, job, base)

        def median(value: Callable[[Sample], float], job: str = job) -> str:
            return short(statistics.median(map(value, results.runs(job))))

        foreign = statistics.median(run["foreign_cores"] for run in results.runs(job))
        yield [
            words, median(_first), str(results.spread([job], _later)), str(over) if over else "",
            "" if is_bare else median(_printed("opened_cpu_seconds")),
            "" if is_bare else median(_printed("first_batch_cpu_seconds")),
            median(_anonymous_mb), f"{max(run['processes'] for run in results.runs(job))}", f"{foreign:.2f}",
        ]  # fmt: skip


def _cloud_rows(results: Results) -> Iterator[list[str]]:
    for latency in (0, 20):
        for name, words in _CLOUD_ROWS.items():
            for kind, more in (("cloud", ""), ("first", ", one batch")):
                job = f"{kind} {latency} {name}"
                if results.has(job):
                    yield _cloud_row(results, job, words + more, latency)


def _cloud_row(results: Results, job: str, words: str, latency: int) -> list[str]:
    def median(value: Callable[[Sample], float]) -> str:
        return short(statistics.median(map(value, results.runs(job))))

    is_whole = job.startswith("cloud")
    return [
        words, str(latency), median(_first) if is_whole else "", median(_later) if is_whole else "",
        median(_printed("first_batch_wall_seconds")), median(_printed("first_batch_cpu_seconds")),
        f"{statistics.median(map(_asked('shards'), results.runs(job))):.0f}",
        f"{statistics.median(map(_asked('requests'), results.runs(job))):.0f}",
        median(lambda run: run["printed"]["first_batch_asked"]["bytes"] / 1e6), median(_anonymous_mb) if is_whole else "",
    ]  # fmt: skip


def _single_rows(results: Results) -> Iterator[list[str]]:
    figures: list[tuple[str, str, Callable[[Sample], float]]] = []
    for count in results.sizes["indexes"]:
        figures += [
            (f"open an index of {count:,} records, CPU s", f"index {count}", _printed("cpu_seconds")),
            (
                "the same, bytes a record",
                f"index {count}",
                lambda run: run["printed"]["bytes"] / run["printed"]["indexed"],
            ),
            ("the same, growth of anon memory, MB", f"index {count}", _printed("grown", 1e-6)),
        ]
    for connections in (1, 16):
        name = f"pull with {connections} connection{'s' * (connections > 1)} of 4 MB/s each"
        figures.append((f"{name}, s", f"pull {connections}", _printed("wall_seconds")))
    figures += [
        ("pull without a limit, 16 connections, CPU s per GB", "pull unlimited", _pull_cpu),
        ("a second pull, s", "pull unlimited", _printed("again_wall_seconds")),
        ("resume from local files, s from the state to the first batch", "resume local", _printed("resume_seconds")),
        ("the same with start-up and opening, s", "resume local", _printed("wall_seconds")),
        ("resume from S3 at 20 ms, nothing kept, s", "resume 20", _printed("resume_seconds")),
        ("the same with start-up and opening, s", "resume 20", _printed("wall_seconds")),
        ("anon memory from epoch 2 to the last, MB", "growth", _growth_mb),
    ]
    for words, job, value in figures:
        if found := results.spread([job], value):
            yield [words, str(found)]
