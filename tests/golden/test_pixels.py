"""No stored byte changes unnoticed: neither by our code nor by another release of a codec library."""

from pathlib import Path

import pytest

from aesthetics_ops.pixels.decoders import decoders
from aesthetics_ops.pixels.transforms import Transform
from tests.golden import pixels_table
from tests.golden.make_probe import probes
from tests.golden.pixels_table import COMMAND, made_by, read_table, rows, what_differs
from tests.support.paths import ROOT


def test_every_stored_byte_is_what_it_was():
    then, wanted = read_table()
    found = rows()
    changed = [f"{new.source} ({new.settings})" for old, new in zip(wanted, found, strict=False) if old != new]
    if changed or len(wanted) != len(found):
        pytest.fail(what_differs(made_by(), then, changed or ["a file that was added or left out"]))


def test_the_table_was_written_under_this_converter():
    then, _ = read_table()
    now = made_by()
    assert then["converter_version"] == now["converter_version"], f"write the table anew: {COMMAND}"
    if then["releases"] == now["releases"]:
        assert then["codecs"] == now["codecs"], what_differs(now, then, ["the probe photos"])


def test_the_table_holds_every_decoder_and_every_transform():
    _, table = read_table()
    assert {row.decoder for row in table} == {decoder.name for decoder in decoders()}
    done = {name for row in table for name in row.transforms}
    assert done == {transform.value for transform in Transform} - {Transform.MADE_BASELINE}  # test_lossless.py has it


def test_another_code_another_library_and_a_raised_version_are_told_apart():
    then = {"converter_version": 4, "codecs": "0" * 16, "releases": {"pillow": "13.0.0", "simplejpeg": "1.9.0"}}
    assert what_differs(then, then, ["a.jpg (keep)"]) == (
        f"bytes changed for a.jpg (keep): raise CONVERTER_VERSION, then write the table anew: {COMMAND}"
    )
    newer = then | {"codecs": "1" * 16, "releases": {"pillow": "13.1.0", "simplejpeg": "1.9.0"}}
    words = what_differs(newer, then, [f"{n}.jpg" for n in range(7)])
    assert words.startswith("other codecs (pillow 13.0.0 is now 13.1.0) put out other bytes for 0.jpg, 1.jpg, ")
    assert "4.jpg and 2 more" in words
    assert "CONVERTER_VERSION was raised" in what_differs(then | {"converter_version": 5}, then, ["a.jpg"])


def test_the_table_can_be_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pixels_table, "TABLE", tmp_path / "pixels.json")
    pixels_table.main()
    assert read_table() == (made_by(), rows())


def test_the_probes_are_those_that_their_script_names():
    folder = ROOT / "aesthetics_ops" / "pixels" / "probe"
    assert {path.name for path in folder.iterdir()} == set(probes())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000
