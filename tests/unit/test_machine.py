"""How many cores a task takes for its own."""

import os
from pathlib import Path

import pytest

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.machine import THREADS_VARIABLE, codec_threads, cpus


def test_without_limits_it_is_the_cores_of_the_mask(tmp_path: Path) -> None:
    assert cpus(tmp_path) == len(os.sched_getaffinity(0))


def test_the_mask_counts(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpus(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1), ("100000 100000", 1), ("nonsense", 64), ("", 64)],
)
def test_a_control_group_limits_it(
    limit: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    (tmp_path / "cpu.max").write_text(limit)
    assert cpus(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("200000", 2), ("-1", 64)])
def test_so_does_one_of_version_1(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpus(tmp_path) == expected


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, "3")
    assert codec_threads() == 3
    monkeypatch.setenv(THREADS_VARIABLE, " ")
    assert codec_threads() == cpus()


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_wrong_variable_is_explained(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS_VARIABLE, text)
    with pytest.raises(SettingsError, match=f"{THREADS_VARIABLE} is '{text}'"):
        codec_threads()
