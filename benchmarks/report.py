"""What building costs, as tables in Markdown.

In: what `results.json` holds.  Out: text.
Pure.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from figures import Results, Sample, Spread, Target, at_least, at_most, failed_runs, headline, short, table

__all__ = ["DISTANCES_MS", "FAR_COPIES", "render"]

ENCODINGS: Final = ("keep", "reencode", "resize")
DISTANCES_MS: Final = (0, 20, 50)  # added to every request
FAR_COPIES: Final = (
    4  # of each photo, so that finding the number of requests, which takes a second, is not most of a run
)
_LOUD_CORES: Final = 0.3
_CLEARLY: Final = 0.99
_HEAD: Final = (
    "what", "photos", "runs", "wall s", "photos/s", "CPU s per 1,000", "ratio", "photos/s, no start-up", "CPU s per 1,000, no start-up",
    "ratio, no start-up", "peak MB", "output MB", "S3 CPU s per 1,000", "others' cores",
)  # fmt: skip


def render(document: Mapping[str, Any]) -> str:
    """Write the part about builds."""
    results = Results(document)
    parts = ["## Builds\n", headline(document, "results.json")]
    targets = list(_targets(results))
    if targets:
        rows = [
            (target.what, target.wanted, str(target.found), target.verdict, str(target.limit or ""))
            for target in targets
        ]
        parts += ["### Targets\n", _LIMIT_LEGEND, table(_TARGET_HEAD, rows)]
    parts += ["### Measured\n", _LEGEND, table(_HEAD, list(_rows(results)))]
    notes = _NOTES if results.peers else ()
    if shrinks := [*(target.shrinks for target in targets if target.shrinks), *_peers_win(results), *notes]:
        parts += ["### Where a peer wins or a claim shrinks\n", "\n".join(f"- {line}" for line in shrinks) + "\n"]
    parts += _startup(results)
    if document["peers"]:
        lines = [f"- {name}: {text}." for name, text in document["peers"].items() if name not in document["absent"]]
        lines += [f"- {name}: not measured, {why}." for name, why in document["absent"].items()]
        parts += ["### Peers\n", "\n".join(lines) + "\n"]
    parts += failed_runs(document)
    return "\n".join(parts)


_TARGET_HEAD: Final = ("target", "wanted", "median (smallest..largest)", "", "at the bare limit")
_LIMIT_LEGEND: Final = (
    '"At the bare limit": what a process without any start-up would reach that spends both cores on nothing but the '
    "codec and the GETs; for two cores, what the codec alone gains by the second one; for a complete build, `convert` and nothing else "
    "than TensorFlow's decode of the same photos at 1/8.  Rows without a wanted value, such as those of peers, are measured and nothing is promised.\n"
)
_LEGEND: Final = (
    "Medians; `(a..b)` are the smallest and the largest.  Ratio: for this project's rows under a bare limit, CPU over "
    "the limit's (codec plus GET); for a peer's, its wall time over that of `convert`.  \"No start-up\" is the large run less the "
    "small one.  `convert` plans and converts like a peer and checks each photo's coded data; `build` also reads everything back "
    "with TensorFlow and publishes.  Rows with ! saw more than 0.3 cores at work on something else.\n"
)

_NOTES: Final = (
    "On 2,400 photos most of a peer's wall time is its start-up (TensorFlow, torch); on a million photos the ratios come close to "
    "those with start-up removed.",
    "`convert` is what is compared with peers, because they read nothing back; `build` does, and takes the time its rows say.",
    "Each of this project's tasks uses all cores of its machine, as img2dataset and LitData do here; MosaicML's writer and the "
    "script use one, so part of the ratio over them is the second core.",
    "Peers other than img2dataset read photos from local files, this project from S3: they are spared the GETs.",
    "Torch comes as the package index has it for Linux, with GPU libraries; a build without them starts faster.",
    "Results are written to memory: no PUT to S3 and no disk is measured, for anybody.",
)


def _wall(sample: Sample) -> float:
    return float(sample["wall_seconds"])


def _cpu(sample: Sample) -> float:
    return 1000 * float(sample["cpu_seconds"]) / float(sample["photos"])


def _rate(sample: Sample) -> float:
    return float(sample["photos"] / sample["wall_seconds"])


def _marginal(name: str) -> Callable[[Sample, Sample], float]:
    """Return a function that gives the cost per photo of what the large run has more than the small one."""
    return lambda large, small: float(large[name] - small[name]) / float(large["photos"] - small["photos"])


_marginal_wall = _marginal("wall_seconds")
_marginal_cpu = _marginal("cpu_seconds")


def _limit_jobs(results: Results, encoding: str, bucket: str) -> list[str]:
    """Return the bare GET and the cheaper of the bare codecs for an encoding."""
    codecs = [job for job in (f"bare {encoding} {bucket}", f"bare {encoding}-simplejpeg {bucket}") if results.has(job)]
    costs = {job: spread.median for job in codecs if (spread := results.spread([job], _cpu))}
    return [f"bare get {bucket}", min(costs, key=lambda job: costs[job])] if costs else []


def _limit_wall(get: Sample, codec: Sample, cores: float) -> float:
    """Return the wall seconds per photo of the codec and the GETs with every core busy."""
    return float(codec["wall_seconds"] / codec["photos"] + get["cpu_seconds"] / get["photos"] / cores)


def _cpu_ratio(ours: Sample, get: Sample, codec: Sample) -> float:
    return _cpu(ours) / (_cpu(get) + _cpu(codec))


def _cpu_ratio_marginal(ours: Sample, small: Sample, get: Sample, codec: Sample) -> float:
    return 1000 * _marginal_cpu(ours, small) / (_cpu(get) + _cpu(codec))


def _targets(results: Results) -> Iterator[Target]:
    yield from _limit_targets(results)
    yield from _peer_targets(results)
    yield from _memory_targets(results)
    yield from _cores_targets(results)
    yield from _build_targets(results)
    yield from _distance_targets(results)
    yield from _growth_targets(results)
    found = results.spread(["startup task"], lambda sample: float(sample["cpu_seconds"]))
    yield from at_most("partition task, from what any Airflow task needs to the first GET: CPU seconds", 1.0, found)


def _cores_targets(results: Results) -> Iterator[Target]:
    """Compare two cores with one: two threads of one process, and two processes of one thread; the S3 server is on the same cores."""
    large, small = results.buckets("ava")
    one, two = results.on(1), results.on(2)
    for encoding in ENCODINGS:
        limit = results.spread([f"bare {encoding} {large}{cores}" for cores in (one, two)], _over)
        alone = [f"convert {encoding} {bucket}{cores}" for cores in (one, two) for bucket in (large, small)]
        head = f"{encoding}: speed of 2 cores over 1, S3 server on the same cores, one process of two threads"
        if whole := results.spread(alone[::2], _over):
            yield Target(f"{head}, whole process", "", whole, None)
        yield from at_least(f"{head}, start-up removed", 1.75, results.spread(alone, _over_marginal), limit)
        single = [f"tasks {encoding} {bucket} in 1{one}" for bucket in (large, small)]
        tasks = [f"tasks {encoding} {bucket} in {count}{two}" for count in (1, 2) for bucket in (large, small)]
        head = f"{encoding}: speed of two tasks of one thread on 2 cores over one task on 1, start-up removed"
        yield from at_least(head, 1.75, results.spread([*single, *tasks[2:]], _over_marginal), limit)
        if found := results.spread(tasks, _over_marginal):
            yield Target(
                f"{encoding}: speed of two tasks of one thread over one of two threads, start-up removed",
                "",
                found,
                None,
            )


def _over(first: Sample, second: Sample) -> float:
    return _wall(first) / _wall(second)


def _over_marginal(large: Sample, small: Sample, other_large: Sample, other_small: Sample) -> float:
    return _marginal_wall(large, small) / _marginal_wall(other_large, other_small)


def _build_targets(results: Results) -> Iterator[Target]:
    """Compare a complete build with conversion alone, and one in two processes with one in one."""
    large, small = results.buckets("ava")
    for encoding in ("keep", "reencode"):
        ours = [f"convert {encoding} {large}", f"convert {encoding} {small}"]
        whole = [f"build {encoding} {large}", f"build {encoding} {small}"]
        found = results.spread([*whole, *ours], lambda a, b, c, d: _marginal_cpu(a, b) / _marginal_cpu(c, d))
        limit = results.spread(
            [*ours, f"bare {encoding}-tensorflow {large}"],
            lambda a, b, decode: 1 + _cpu(decode) / (1000 * _marginal_cpu(a, b)),
        )
        name = f"{encoding}: CPU of a complete build over `convert`, start-up removed"
        yield from at_most(name, 1.6, found, limit=limit)
        found = results.spread([whole[0], ours[0]], _over)
        yield from at_most(f"{encoding}: wall of a complete build over `convert`", 1.6, found)
        pair = [f"{whole[0]} in {processes}" for processes in (2, 1)]
        for what, value in (("wall", _wall), ("CPU", _cpu)):
            name = f"{encoding}: {what} of a complete build in two processes of one thread over one of two threads"
            if found := results.spread(pair, lambda two, one, value=value: value(two) / value(one)):
                yield Target(name, "", found, None)


def _far_buckets(results: Results) -> tuple[str, str]:
    """Return the names of the buckets far away: each photo several times, and each once."""
    once, _ = results.buckets("ava")
    return once.removesuffix("x1") + f"x{FAR_COPIES}", once


def _distance_targets(results: Results) -> Iterator[Target]:
    """Compare conversion far from the store with conversion near it, both over a way that only waits."""
    large, small = _far_buckets(results)
    for encoding in ("keep", "reencode"):
        near, *far = (
            [f"convert {encoding} {bucket} at {distance} ms" for bucket in (large, small)] for distance in DISTANCES_MS
        )
        for distance, jobs in zip(DISTANCES_MS[1:], far, strict=True):
            found = results.spread([*near, *jobs], _over_marginal)
            name = f"{encoding}: speed with {distance} ms added to every request over without, start-up removed"
            yield from at_least(name, 0.9, found)


def _limit_targets(results: Results) -> Iterator[Target]:
    for photo_set in ("ava", "camera"):
        large, small = results.buckets(photo_set)
        for encoding in ENCODINGS:
            limit = _limit_jobs(results, encoding, large)
            ours, less = f"convert {encoding} {large}", f"convert {encoding} {small}"
            if not limit or not results.has(ours, less, *limit):
                continue
            name = f"{encoding}, {photo_set}"
            most = {"keep": 1.21, "reencode": 1.23}.get(encoding) if photo_set == "ava" else None
            cpu = results.spread([ours, *limit], _cpu_ratio)
            free = results.spread([ours, less, *limit], _cpu_ratio_marginal)
            if cpu:
                yield Target(f"{name}: CPU over the bare limit, whole process", "", cpu, None)
            if free:
                wanted = f"at most {most}" if most else ""
                is_met = round(free.median, 2) <= most if most else None  # as the page shows it
                yield Target(f"{name}: the same, start-up removed", wanted, free, is_met)
            cores = float(results.sizes["cores"])

            def own_wall(sample: Sample, cores: float = cores) -> float:
                return float(sample["wall_seconds"] - sample["server_cpu_seconds"] / cores)

            speed = results.spread(
                [ours, *limit],
                lambda run, get, codec, cores=cores: _limit_wall(get, codec, cores) * run["photos"] / own_wall(run),
            )
            free = results.spread(
                [ours, less, *limit],
                lambda run, short, get, codec, cores=cores: (
                    _limit_wall(get, codec, cores)
                    * (run["photos"] - short["photos"])
                    / (own_wall(run) - own_wall(short))
                ),
            )
            least = 0.85 if photo_set == "ava" else None
            for what, found in (
                (f"{name}: speed over the bare limit, whole process", speed),
                (f"{name}: the same, start-up removed", free),
            ):
                if found:
                    yield Target(
                        what, f"at least {least}" if least else "", found, found.median >= least if least else None
                    )


def _peer_targets(results: Results) -> Iterator[Target]:
    large, small = results.buckets("ava")
    cores = float(results.sizes["cores"])
    for encoding in ("reencode", "keep"):
        limit = _limit_jobs(results, encoding, large)
        free: dict[str, Spread] = {}
        for peer in results.peers:
            jobs = [f"{peer} {encoding} {large}", f"convert {encoding} {large}"]
            found = results.spread(jobs, _over)
            bound = results.spread(
                [jobs[0], *limit] if limit else [],
                lambda its, get, codec: _wall(its) / its["photos"] / _limit_wall(get, codec, cores),
            )
            if found:
                yield Target(f"{encoding}: wall of {peer} over ours, whole process", "", found, None, bound)
            jobs = [
                f"{peer} {encoding} {large}",
                f"{peer} {encoding} {small}",
                f"convert {encoding} {large}",
                f"convert {encoding} {small}",
            ]
            if found := results.spread(jobs, _over_marginal):
                free[peer] = found
        if free:
            best = min(free, key=lambda peer: free[peer].median)
            bound = results.spread(
                [f"{best} {encoding} {large}", f"{best} {encoding} {small}", *limit] if limit else [],
                lambda a, b, get, codec: _marginal_wall(a, b) / _limit_wall(get, codec, cores),
            )
            what = f"{encoding}: wall of the best peer ({best}) over ours, start-up removed"
            yield Target(what, "", free[best], None, bound)


def _growth_targets(results: Results) -> Iterator[Target]:
    counts = results.sizes["growth"]
    few, some, many = (f"build keep small-{count}x1" for count in counts)
    name = f"complete build, {counts[2]:,} small photos over {counts[1]:,}"
    costs: tuple[tuple[str, Callable[[Sample], float], Callable[[Sample, Sample], float]], ...] = (
        ("CPU", _cpu, _marginal_cpu),
        ("wall", lambda sample: 1 / _rate(sample), _marginal_wall),
    )
    for what, whole, marginal in costs:
        found = results.spread([many, some], lambda more, less, value=whole: value(more) / value(less))
        yield from at_most(f"{name}: {what} per photo", 1.1, found)
        found = results.spread([many, some, few], lambda a, b, c, value=marginal: value(a, b) / value(b, c))
        text = (
            f"{name}: {what} per added photo ({counts[2]:,} less {counts[1]:,}, over {counts[1]:,} less {counts[0]:,})"
        )
        yield from at_most(text, 1.1, found)


def _memory_targets(results: Results) -> Iterator[Target]:
    sizes = results.sizes
    for photo_set, count, limit in (("ava", sizes["ava"][0], 300.0), ("huge", sizes["huge"], 700.0)):
        once, more = f"{photo_set}-{count}x1", f"{photo_set}-{count}x{sizes['copies']}"
        for encoding in ("keep", "reencode"):
            name = f"{encoding}, {'AVA-sized' if photo_set == 'ava' else '24 megapixels'}: peak"
            found = results.spread([f"partition {encoding} {once}"], lambda run: run["peak_bytes"] / 1e6)
            yield from at_most(f"{name} memory, MB", limit, found)
            jobs = [f"partition {encoding} {more}", f"partition {encoding} {once}"]
            found = results.spread(jobs, lambda long, short: long["peak_bytes"] / short["peak_bytes"])
            yield from at_most(f"{name} with {sizes['copies']} times the photos, over it", 1.1, found)


def _rows(results: Results) -> Iterator[list[str]]:
    for photo_set in ("ava", "camera"):
        large, small = results.buckets(photo_set)
        yield from _row(results, f"bare get {large}")
        for encoding in ENCODINGS:
            limit = _limit_jobs(results, encoding, large)
            yield from _row(results, f"bare {encoding} {large}")
            yield from _row(results, f"bare {encoding}-simplejpeg {large}")
            yield from _row(results, f"bare {encoding}-tensorflow {large}")
            ours = f"convert {encoding} {large}"
            ratio = results.spread([ours, *limit], _cpu_ratio) if limit else None
            jobs = [ours, f"convert {encoding} {small}", *limit]
            yield from _row(results, ours, jobs[1], ratio, results.spread(jobs, _cpu_ratio_marginal) if limit else None)
            whole = f"build {encoding} {large}"
            yield from _row(
                results,
                whole,
                f"build {encoding} {small}",
                results.spread([whole, *limit], _cpu_ratio) if limit else None,
            )
            if photo_set == "ava":
                for peer in results.peers:
                    yield from _peer_row(results, peer, encoding)
    less = ""
    for count in results.sizes["growth"]:
        yield from _row(results, f"build keep small-{count}x1", less)
        less = f"build keep small-{count}x1"
    for photo_set, count in (("ava", results.sizes["ava"][0]), ("huge", results.sizes["huge"])):
        for encoding in ("keep", "reencode"):
            for number in (1, results.sizes["copies"]):
                yield from _row(results, f"partition {encoding} {photo_set}-{count}x{number}")
    large, small = results.buckets("ava")
    for encoding in ENCODINGS:
        for cores in (1, 2):
            yield from _row(results, f"bare {encoding} {large} @{cores}")
            yield from _row(results, f"convert {encoding} {large} @{cores}", f"convert {encoding} {small} @{cores}")
    for encoding in ("keep", "reencode"):
        for way in (f"in 1{results.on(1)}", f"in 1{results.on(2)}", f"in 2{results.on(2)}"):
            yield from _row(results, f"tasks {encoding} {large} {way}", f"tasks {encoding} {small} {way}")
    for encoding in ("keep", "reencode"):
        for distance in DISTANCES_MS:
            many, once = (f"convert {encoding} {bucket} at {distance} ms" for bucket in _far_buckets(results))
            yield from _row(results, many, once)
    for encoding in ENCODINGS:
        for processes in (1, 2):
            yield from _row(
                results, f"build {encoding} {large} in {processes}", f"build {encoding} {small} in {processes}"
            )


def _peer_row(results: Results, peer: str, encoding: str) -> Iterator[list[str]]:
    large, small = results.buckets("ava")
    its, ours = ((f"{who} {encoding} {large}", f"{who} {encoding} {small}") for who in (peer, "convert"))
    ratio = results.spread([its[0], ours[0]], _over)
    free = results.spread([*its, *ours], _over_marginal)
    yield from _row(results, its[0], its[1], ratio, free)


def _row(
    results: Results, job: str, small: str = "", ratio: Spread | None = None, free: Spread | None = None
) -> Iterator[list[str]]:
    """Give one line of the table, unless the job did not run."""
    runs = results.runs(job)
    if not runs:
        return

    def median(value: Callable[[Sample], float]) -> str:
        return short(statistics.median(map(value, runs)))

    pair = [job, small] if small else []
    rate = results.spread(pair, lambda a, b: 1 / _marginal_wall(a, b))
    cpu = results.spread(pair, lambda a, b: 1000 * _marginal_cpu(a, b))
    foreign = statistics.median(run["foreign_cores"] for run in runs)
    inside = job.startswith("bare")
    server = statistics.median(1000 * run["server_cpu_seconds"] / run["photos"] for run in runs)
    output = statistics.median(run["output_bytes"] for run in runs) / 1e6
    yield [
        job, f"{runs[0]['photos']:,}", str(len(runs)), str(results.spread([job], _wall)), median(_rate), median(_cpu),
        str(ratio) if ratio else "", short(rate.median) if rate else "", short(cpu.median) if cpu else "",
        str(free) if free else "", "" if inside else median(lambda run: run["peak_bytes"] / 1e6),
        short(output) if output else "", short(server) if server >= 0.001 else "",
        f"{foreign:.2f}{' !' if foreign > _LOUD_CORES else ''}",
    ]  # fmt: skip


def _peers_win(results: Results) -> Iterator[str]:
    """Say where any peer needs less of anything than this project, checked or not."""
    large, small = results.buckets("ava")
    measures: list[tuple[str, Callable[..., float], bool]] = [
        ("wall seconds", _wall, False),
        ("CPU seconds per 1,000", _cpu, False),
        ("peak MB", lambda run: run["peak_bytes"] / 1e6, False),
        ("MB of output", lambda run: run["output_bytes"] / 1e6, False),
        ("wall seconds per 1,000 without start-up", lambda a, b: 1000 * _marginal_wall(a, b), True),
        ("CPU seconds per 1,000 without start-up", lambda a, b: 1000 * _marginal_cpu(a, b), True),
    ]
    for ours in ("convert", "build"):
        for encoding in ENCODINGS:
            for peer in results.peers:
                for what, value, both in measures:
                    buckets = (large, small) if both else (large,)
                    its, own = (
                        results.spread([f"{who} {encoding} {bucket}" for bucket in buckets], value)
                        for who in (peer, ours)
                    )
                    if its and own and its.median < _CLEARLY * own.median:
                        yield f"{peer}, {encoding}: {short(its.median)} {what}; `{ours}` takes {short(own.median)}."


def _startup(results: Results) -> list[str]:
    runs = results.runs("startup imports")
    if not runs:
        return []
    printed = runs[-1]["printed"]
    rows = [[row["module"], str(row["modules"]), short(row["milliseconds"])] for row in printed["imports"]]
    return [
        "### What a partition task imports\n",
        f"Beyond what Airflow needs to run any task of any DAG, which took {short(printed['airflow_cpu_seconds'])} CPU seconds. Wall time "
        "inside each package's own modules, by `-X importtime`, which makes imports slower.\n",
        table(("package", "modules", "ms"), rows),
    ]
