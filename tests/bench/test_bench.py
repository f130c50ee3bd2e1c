"""The benchmark's own parts: what it counts, what it makes, what it writes.  No peer, no photo from a server."""

import sys
import threading
import urllib.request

import pytest

from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
MIB = 1 << 20


def test_cpu_memory_and_wall_of_a_whole_tree_are_counted_also_of_workers_nobody_waited_for(tmp_path):
    from measure import measure

    burn = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"
    worker = f"block = b'x' * {64 * MIB}\n{burn}\ntime.sleep(0.8)"
    parent = (
        "import subprocess, sys, time\n"
        f"for _ in range(2): subprocess.Popen([sys.executable, '-S', '-c', {worker!r}])\n"
        "time.sleep(2.5)\nprint('done')\n"
    )
    usage = measure([sys.executable, "-S", "-c", parent], log=tmp_path / "log")
    assert usage.exit_code == 0
    assert (tmp_path / "log").read_text() == "done\n"
    assert 0.8 <= usage.cpu_seconds < 1.6
    assert usage.wall_seconds >= 2.5
    assert usage.processes == 3
    assert 128 * MIB <= usage.peak_bytes < 240 * MIB
    assert 128 * MIB <= usage.peak_anonymous_bytes <= usage.peak_bytes
    assert usage.busy_seconds >= 0.7


def test_the_cpu_of_a_worker_that_outlives_its_parent_is_counted(tmp_path):
    from measure import measure

    worker = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', {worker!r}])\n"
    assert measure([sys.executable, "-S", "-c", parent], log=tmp_path / "log").cpu_seconds >= 0.2


def test_a_failing_command_and_one_that_takes_too_long_show_in_the_exit_code(tmp_path):
    from measure import measure

    assert measure([sys.executable, "-S", "-c", "raise SystemExit(3)"], log=tmp_path / "log").exit_code == 3
    endless = [sys.executable, "-S", "-c", "import time\ntime.sleep(60)"]
    assert measure(endless, log=tmp_path / "log", timeout_seconds=0.3).exit_code == -9


@pytest.mark.parametrize("name", ["ava", "small"])
def test_photos_depend_on_their_set_and_number_alone(tmp_path, name):
    from photos import SETS, make_photos

    three = make_photos(tmp_path / "three", SETS[name], 3)
    one_by_one = [make_photos(tmp_path / "more", SETS[name], count, workers=1)[-1] for count in (1, 2, 3)]
    assert [path.read_bytes() for path in three] == [path.read_bytes() for path in one_by_one]
    assert len({path.read_bytes() for path in three}) == 3


def test_every_bare_codec_takes_a_photo_of_the_benchmark(tmp_path):
    from bare import codec, run_codec
    from photos import SETS, make_photos

    photos = [path.read_bytes() for path in make_photos(tmp_path, SETS["ava"], 4)]
    for what in ("keep", "reencode", "reencode-simplejpeg", "resize", "keep-tensorflow"):
        assert run_codec(photos, codec(what), 2)["cpu_seconds"] > 0


def test_the_fast_s3_lists_and_serves_what_it_was_given_under_keys_and_etags_of_their_own(tmp_path, monkeypatch):
    from fast_s3 import FastS3, find_nginx
    from photos import SETS, make_photos

    from aesthetics_ops.store import open_store

    nginx = find_nginx(install=False)
    if nginx is None:
        pytest.skip("nginx is not installed")
    files = make_photos(tmp_path / "photos", SETS["small"], 700)
    with FastS3(nginx, tmp_path / "s3", tmp_path / "photos", (400,)) as s3:
        bucket = s3.bucket("small", files, 2)
        s3.probe(bucket)
        for endpoint in (s3.endpoint, s3.ways[400]):  # the same, and 400 milliseconds away
            for name, value in s3.environment(endpoint).items():
                monkeypatch.setenv(name, value)
            store = open_store(bucket.url)
            store.check()
            listed = store.list()
            assert listed["key"].to_pylist() == [f"{photo}.jpg" for photo in bucket.ids]  # two pages
            assert len(set(listed["etag"].to_pylist())) == 1400
            question = f"{endpoint}/{bucket.name}?list-type=2&prefix=photos%2F&max-keys=1&encoding-type=url"
            with urllib.request.urlopen(question, timeout=5) as reply:  # noqa: S310
                assert reply.read().count(b"<Key>") == 1  # a page of a thousand costs boto3 a tenth of a second
            for place, file in ((0, files[0]), (1399, files[699])):
                found = store.get(listed["key"][place].as_py())
                assert bytes(found.data) == file.read_bytes()
                assert found.etag == listed["etag"][place].as_py()
        photo = f"/{bucket.name}/photos/{bucket.ids[0]}.jpg"
        came: list[str] = []

        def read(endpoint: str) -> None:
            with urllib.request.urlopen(endpoint + photo, timeout=5) as reply:  # noqa: S310
                reply.read()
            came.append(endpoint)

        far = threading.Thread(target=read, args=(s3.ways[400],))
        far.start()
        read(s3.endpoint)
        far.join()
        assert came == [s3.endpoint, s3.ways[400]]  # who was asked last answered first
        assert s3.cpu_seconds() >= 0


def sample(job: str, photos: int, wall: float, cpu: float, number: int = 0, **more: object) -> dict[str, object]:
    values: dict[str, object] = {
        "peak_bytes": 2e8,
        "processes": 1,
        "server_cpu_seconds": 0.1,
        "foreign_cores": 0.0,
        "output_bytes": 1e6,
    }
    values |= {"job": job, "round": number, "photos": photos, "wall_seconds": wall, "cpu_seconds": cpu}
    return values | {"printed": {}, "error": ""} | more


def document(samples: list[dict[str, object]]) -> dict[str, object]:
    machine = {"date": "2026-11-22", "cpu": "a CPU", "memory": "8 GB", "system": "Linux", "python": "3.11"}
    sizes = {
        "ava": (2400, 300),
        "camera": (48, 8),
        "huge": 32,
        "copies": 10,
        "growth": (1000, 10_000, 100_000),
        "cores": 2,
    }
    peers = {"slow": "does it slowly", "gone": "does it"}
    return {
        "machine": machine, "versions": {"numpy": "2"}, "peers": peers, "absent": {"gone": "cannot be installed: no wheel"},
        "rounds": 2, "sizes": sizes, "samples": samples,
    }  # fmt: skip


def test_the_page_has_targets_ratios_by_round_and_the_peers_that_are_missing():
    from report import render

    runs = []
    for number, factor in enumerate((1.0, 1.2)):  # a machine that gets slower leaves ratios as they are
        runs += [
            sample("bare get ava-2400x1", 2400, 1.0 * factor, 0.5 * factor, number),
            sample("bare keep ava-2400x1", 2400, 1.0 * factor, 1.9 * factor, number),
            sample("convert keep ava-2400x1", 2400, 2.0 * factor, 3.6 * factor, number, foreign_cores=0.5),
            sample("convert keep ava-300x1", 300, 1.0 * factor, 1.5 * factor, number),
            sample("slow keep ava-2400x1", 2400, 20.0 * factor, 30.0 * factor, number, peak_bytes=1e8),
            sample("slow keep ava-300x1", 300, 17.9 * factor, 20.0 * factor, number),
        ]
    page = render(document(runs))
    rows = {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in page.splitlines() if line[:1] == "|"
    }
    assert rows["keep, ava: CPU over the bare limit, whole process"][:3] == ["", "1.50 (1.50..1.50)", ""]
    assert rows["keep, ava: speed over the bare limit, whole process"][0] == "at least 0.85"
    assert "**missed**" in rows["keep, ava: speed over the bare limit, whole process"][2]
    assert rows["keep: wall of slow over ours, whole process"][:2] == ["", "10.0 (10.0..10.0)"]
    assert rows["keep: wall of slow over ours, whole process"][3].startswith(
        "16.0 (16.0..16.0)"
    )  # 20 s over 1 + 0.5 / 2
    assert rows["keep: wall of the best peer (slow) over ours, start-up removed"][:3] == ["", "2.10 (2.10..2.10)", ""]
    assert rows["convert keep ava-2400x1"][:3] == ["2,400", "2", "2.20 (2.00..2.40)"]
    assert rows["convert keep ava-2400x1"][-1].startswith("0.50 !")
    assert "- keep, ava: speed over the bare limit, whole process: wanted at least 0.85, found 0." in page
    assert "- slow, keep: 100 peak MB; `convert` takes 200." in page
    assert "- gone: not measured, cannot be installed: no wheel." in page


def test_two_cores_and_complete_builds_are_shown_beside_what_the_codec_alone_could_reach():
    from report import render

    runs = [
        sample(f"{name} ava-{photos}x1{end}", photos, wall * photos / 300, cpu * photos / 300)
        for name, end, wall, cpu in (
            ("bare keep", " @1", 0.9, 0.9),
            ("bare keep", "", 0.5, 1.0),
            ("convert keep", " @1", 1.2, 1.2),
            ("convert keep", "", 0.8, 1.0),
            ("tasks keep", " in 1 @1", 1.2, 1.2),
            ("tasks keep", " in 1", 0.9, 1.2),
            ("tasks keep", " in 2", 0.6, 1.2),
            ("build keep", "", 1.6, 2.5),
            ("build keep", " in 2", 1.7, 2.6),
            ("bare keep-tensorflow", "", 0.4, 0.7),
        )
        for photos in (2400, 300)
    ]
    page = render(document(runs))
    rows = {
        line.split(" | ")[0].removeprefix("| "): line.removesuffix(" |").split(" | ")[1:] for line in page.splitlines()
    }
    head = "keep: speed of 2 cores over 1, S3 server on the same cores, one process of two threads"
    codec = "1.80 (1.80..1.80)"
    assert rows[f"{head}, start-up removed"] == ["at least 1.75", "1.50 (1.50..1.50)", "**missed**", codec]
    head = "keep: speed of two tasks of one thread on 2 cores over one task on 1, start-up removed"
    assert rows[head] == ["at least 1.75", "2.00 (2.00..2.00)", "met", codec]
    assert (
        rows["keep: speed of two tasks of one thread over one of two threads, start-up removed"][1]
        == "1.50 (1.50..1.50)"
    )
    name = "keep: CPU of a complete build over `convert`, start-up removed"
    assert rows[name] == ["at most 1.60", "2.50 (2.50..2.50)", "**missed**", "1.70 (1.70..1.70)"]
    for name in ("tasks keep ava-2400x1 in 2", "bare keep-tensorflow ava-2400x1", "build keep ava-2400x1 in 2"):
        assert rows[name][0] == "2,400"


def test_speed_far_from_the_store_is_compared_with_speed_near_it_both_over_a_way_that_waits():
    from report import render

    walls = {0: (3.1, 1.0), 20: (3.3, 1.1), 50: (5.0, 1.5)}
    runs = [
        sample(f"convert keep ava-2400x{copies} at {distance} ms", 2400 * copies, wall, 1.0)
        for distance, both in walls.items()
        for copies, wall in zip((4, 1), both, strict=True)
    ]
    rows = {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:] for line in render(document(runs)).splitlines()
    }
    name = "keep: speed with {} ms added to every request over without, start-up removed"
    assert rows[name.format(20)][:3] == ["at least 0.90", "0.95 (0.95..0.95)", "met"]
    assert rows[name.format(50)][:3] == ["at least 0.90", "0.60 (0.60..0.60)", "**missed**"]
    assert rows["convert keep ava-2400x4 at 50 ms"][2] == "5.00 (5.00..5.00)"


def test_a_failed_run_is_named_and_counts_nowhere():
    from report import render

    failed = sample(
        "convert keep ava-2400x1", 2400, 2.0, 3.6, error="Traceback\n  somewhere\nOSError: disk full\n   ^^^\n"
    )
    page = render(document([failed]))
    assert "- convert keep ava-2400x1, round 1: OSError: disk full" in page
    assert "| convert keep" not in page
