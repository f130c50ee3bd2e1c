"""Odd but sound files of the other formats, and formats that are known and not decoded."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from aesthetics_ops.rejects import RejectReason
from tests.support.photo_cases import (
    DISPLAY_P3,
    converted,
    encoded,
    levels_off,
    picture,
    png,
    rejected,
    rgb_profile,
    seen,
)

# PNG


def flat_png(bits: int, colour: int, stripes: Sequence[tuple[int, ...]], clear: tuple[int, ...]) -> bytes:
    """Write stripes of 32 columns, each of one level or colour, of which one is transparent."""
    samples = [level for stripe in stripes for level in stripe * 32]
    text = "".join(f"{level:0{bits}b}" for level in samples)
    row = b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    head = struct.pack(">IIBBBBB", 32 * len(stripes), 32, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tRNS", struct.pack(f">{len(clear)}H", *clear)), (b"IDAT", zlib.compress(row * 32))]
    return png([*chunks, (b"IEND", b"")])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_level_of_any_depth_lies_over_white(bits: int):
    most = (1 << bits) - 1
    levels = sorted({0, most // 3, most // 2, most - 1, most})
    for clear in levels:
        shown = seen(converted(flat_png(bits, 0, [(level,) for level in levels], (clear,))))
        for place, level in enumerate(levels):
            wanted = 255 if level == clear else level * 255 // most
            assert abs(int(shown[16, 32 * place + 16, 0]) - wanted) <= 3, (clear, level)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_lies_over_white(bits: int):
    most = (1 << bits) - 1
    colours = [(0, 0, 0), (most // 2, most // 3, 0), (most, 0, most // 5)]
    for clear in colours:
        photo = converted(flat_png(bits, 2, colours, clear))
        assert "alpha_over_white" in photo.transforms
        for place, colour in enumerate(colours):
            found = seen(photo)[16, 32 * place + 16].astype(int)
            wanted = 255 if colour == clear else np.array(colour) * 255 // most
            assert np.abs(found - wanted).max() <= 6


@pytest.mark.parametrize("interlaced", [False, True])
def test_all_sixteen_bits_of_a_transparent_colour_count(interlaced: bool):
    clear = (0x1234, 0x8000, 0x00FF)
    near = [clear, *(tuple(level + (place == channel) for place, level in enumerate(clear)) for channel in range(3))]
    data = flat_png(16, 2, [*near, (0x1200, 0x8000, 0x0000), (0, 0, 0)], clear)
    if interlaced:
        data = interlaced_png(data)
    shown = seen(converted(data))[16, 16::32].astype(int)
    assert np.abs(shown[0] - 255).max() <= 6
    for place in range(1, 5):
        assert np.abs(shown[place] - (0x12, 0x80, 0x00)).max() <= 6, place
    assert shown[5].max() <= 6


def interlaced_png(data: bytes) -> bytes:
    """Store a picture whose rows are equal, 16 bits a channel and colour, in the seven passes of Adam7."""
    width = int.from_bytes(data[16:20], "big")
    at = data.index(b"IDAT")
    row = zlib.decompress(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")])[1 : 1 + 6 * width]
    pixels = [row[first : first + 6] for first in range(0, len(row), 6)]
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    body = b"".join(
        b"".join(b"\0" + b"".join(pixels[left::across]) for _ in range(top, 32, down))
        for left, top, across, down in passes
    )
    clear = data.index(b"tRNS")
    chunks = [(b"IHDR", data[16:28] + b"\1"), (b"tRNS", data[clear + 4 : clear + 10]), (b"IDAT", zlib.compress(body))]
    return png([*chunks, (b"IEND", b"")])


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_only_the_bits_of_a_level_that_count_are_looked_at(bits: int):
    stripes = [(0,), (1,)]
    assert converted(flat_png(bits, 0, stripes, (0xFF00 | 1,))).jpeg == converted(flat_png(bits, 0, stripes, (1,))).jpeg


def test_a_profile_that_fails_its_checksum_is_ignored_and_named():
    data = encoded(Image.fromarray(picture()), "PNG", icc_profile=rgb_profile(DISPLAY_P3))
    at = data.index(b"iCCP")
    broken = data[: at + 30] + bytes((data[at + 30] ^ 1,)) + data[at + 31 :]
    photo = converted(broken)
    assert photo.transforms == ("icc_ignored", "reencoded")
    assert levels_off(photo, picture()) < 2


# BMP


def bmp_v4(alpha: np.ndarray) -> bytes:
    """Write 32 bits a pixel with an alpha mask in the header."""
    height, width = alpha.shape
    pixels = np.dstack([picture(height, width)[:, :, ::-1], alpha])[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks
    info = info.ljust(108, b"\0")
    return struct.pack("<2sIHHI", b"BM", 14 + len(info) + len(pixels), 0, 0, 14 + len(info)) + info + pixels


def test_a_bitmap_that_would_be_wholly_transparent_is_opaque():
    photo = converted(bmp_v4(np.zeros((96, 144), np.uint8)))
    assert photo.transforms == ("reencoded",)
    assert levels_off(photo, picture()) < 2
    half = np.zeros((96, 144), np.uint8)
    half[:48] = 255
    photo = converted(bmp_v4(half))
    assert "alpha_over_white" in photo.transforms
    assert seen(photo)[64:].min() > 250


# HEIC


def heif(orientation: int) -> bytes:
    """Write a HEIC that its container turns; 1 turns nothing."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return encoded(Image.fromarray(picture()), "HEIF", quality=95, exif=tags.tobytes())


def test_oriented_is_counted_where_the_container_turns():
    assert "oriented" not in converted(heif(1)).transforms
    for orientation in range(2, 9):
        data = heif(orientation)
        assert b"irot" in data or b"imir" in data
        assert "oriented" in converted(data).transforms


def test_oriented_is_not_counted_where_only_exif_would_turn():
    data = heif(6)
    assert "oriented" in converted(data).transforms
    # the property is there, and the image does not ask for it any more: `free` is a box that means nothing
    only_exif = data.replace(b"irot", b"free").replace(b"imir", b"free")
    assert pillow_heif.open_heif(only_exif).to_pillow().info["original_orientation"] == 6
    photo = converted(only_exif)
    assert "oriented" not in photo.transforms
    assert (photo.height_px, photo.width_px) == (96, 144)


def test_oriented_is_counted_without_exif():
    data = heif(6)
    at = data.index(b"II*\0", data.index(b"mdat")) if b"II*\0" in data else data.index(b"MM\0*")
    without = data[:at] + bytes(4) + data[at + 4 :]
    photo = converted(without)
    assert (photo.height_px, photo.width_px) == (144, 96)
    assert "oriented" in photo.transforms


# known and not decoded


def targa(kind: int, bits: int, *, colours: int = 0) -> bytes:
    head = struct.pack(
        "<BBBHHBHHHHBB", 0, 1 if colours else 0, kind, 0, colours, 24 if colours else 0, 0, 0, 40, 30, bits, 0
    )
    return head + bytes(3 * colours) + bytes(40 * 30 * 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
        (b"\0\0\0\x0cjP\x1a\x1a\r\n\x87\n" + bytes(40), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(40), "JPEG 2000"),
        (b"P1\n2 2\n0 1 1 0\n", "Netpbm"),
        (b"P2 2 2 255 0 1 2 3", "Netpbm"),
        (b"P3\n# made by hand\n2 2\n255\n", "Netpbm"),
        (b"P4\n8 1\n\xff", "Netpbm"),
        (b"P5\r\n2 2 255\n0123", "Netpbm"),
        (b"P6\n2 2\n255\n" + bytes(12), "Netpbm"),
        (b"P6 2 2 65535 " + bytes(24), "Netpbm"),
        (b"P7\nWIDTH 2\nHEIGHT 2\n", "Netpbm"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "Netpbm"),
        (targa(2, 24), "Targa"),
        (targa(2, 32), "Targa"),
        (targa(10, 24), "Targa"),
        (targa(3, 8), "Targa"),
        (targa(11, 8), "Targa"),
        (targa(1, 8, colours=256), "Targa"),
        (targa(9, 8, colours=256), "Targa"),
        (b"\1" + targa(2, 24)[1:], "Targa"),
        (targa(2, 24) + bytes(8) + b"TRUEVISION-XFILE.\0", "Targa"),
        (b"\0\0\1\0\1\0" + bytes(40), "icon"),
        (b"\0\0\2\0\1\0" + bytes(40), "cursor"),
    ],
)
def test_a_known_format_is_called_by_its_name(data: bytes, words: str):
    photo = rejected(data)
    assert photo.reason is RejectReason.UNSUPPORTED_FORMAT
    assert photo.detail == f"{words} files are not decoded"


@pytest.mark.parametrize(
    "data", [b"P6", b"P6 is a road", b"P8\n2 2\n", b"Photos", bytes(60), targa(2, 7), targa(4, 24)]
)
def test_what_only_looks_alike_is_no_image(data: bytes):
    assert rejected(data).reason is RejectReason.NOT_AN_IMAGE
