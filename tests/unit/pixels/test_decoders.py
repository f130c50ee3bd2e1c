"""A decoder is one file and one entry: a format that nobody here knows is added from outside."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aesthetics_ops.pixels import decoders
from aesthetics_ops.pixels.codecs import codec_fingerprint, codec_releases
from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders import Decoder, register_decoder, starts_with
from aesthetics_ops.pixels.formats import JPEG, recognise
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.rejects import RejectReason
from tests.support.paths import ROOT
from tests.support.photo_cases import KEEP, converted, encoded, levels_off, picture, rejected


def read_toy(data: bytes, gate: SizeGate) -> Decoded:
    height_px, width_px = struct.unpack_from(">HH", data, 4)
    gate.admit(height_px, width_px)
    return Decoded(Image.frombytes("RGB", (width_px, height_px), data[8:]))


TOY = Decoder("toy", starts_with(b"TOY!"), read_toy)


def toy(height_px: int, width_px: int, levels: bytes) -> bytes:
    return b"TOY!" + struct.pack(">HH", height_px, width_px) + levels


@pytest.fixture(autouse=True)
def only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(decoders, "_DECODERS", dict(decoders._DECODERS))


def test_a_format_from_outside_is_recognised_decoded_and_guarded_like_the_others():
    height_px, width_px, _ = picture().shape
    photo = toy(height_px, width_px, picture().tobytes())
    assert rejected(photo).reason is RejectReason.NOT_AN_IMAGE
    register_decoder(TOY)
    assert recognise(photo) == "toy"
    made = converted(photo)
    assert made.transforms == ("reencoded",)
    assert levels_off(made, picture()) < 2
    assert rejected(toy(60_000, 60_000, b"")).reason is RejectReason.TOO_LARGE
    cut = rejected(photo[:-1])
    assert (cut.reason, cut.detail) == (RejectReason.CORRUPT, "toy: not enough image data")


def test_a_format_that_is_known_and_not_decoded_can_be_added():
    assert rejected(b"qoif" + bytes(30)).reason is RejectReason.UNSUPPORTED_FORMAT
    register_decoder(Decoder("qoi", starts_with(b"qoif"), lambda data, gate: Decoded(Image.new("RGB", (9, 9)))))
    assert converted(b"qoif" + bytes(30)).width_px == 9


def test_a_decoder_from_outside_becomes_part_of_every_recipe():
    before, releases = codec_fingerprint(), codec_releases(KEEP)
    register_decoder(TOY)
    assert codec_fingerprint() != before
    assert codec_releases(KEEP) != releases


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="there is a decoder 'png' already"):
        register_decoder(Decoder("png", starts_with(b"TOY!"), read_toy))


def test_every_file_of_the_folder_that_has_a_decoder_has_its_entry():
    known = decoders.decoders()
    shared = {"__init__", "decoder", "info", "iso_media"}
    files = {path.stem for path in Path(decoders.__file__).parent.glob("*.py")} - shared
    assert files == {decoder.name for decoder in known}
    assert known[0].name == JPEG
    listed = (ROOT / "docs" / "pixels.md").read_text(encoding="utf-8")
    assert {decoder.name for decoder in known if f"`{decoder.name}`" not in listed} == set()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_each_format_is_recognised_as_itself(name: str):
    data = encoded(Image.fromarray(np.ascontiguousarray(picture()[:40, :60])), name)
    assert recognise(data) == name.lower()
    assert converted(data, KEEP).width_px == 60
