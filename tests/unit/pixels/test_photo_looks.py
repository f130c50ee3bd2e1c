"""A stored photo looks as its source looks to a person: turned, in sRGB, over white, whatever the format."""

import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import PixelSettings
from tests.support.photo_cases import (
    ADOBE_RGB,
    D50,
    D65,
    DISPLAY_P3,
    KEEP,
    PROPHOTO,
    REENCODE,
    SRGB,
    converted,
    encoded,
    exif,
    gray_profile,
    jpeg,
    levels_off,
    picture,
    png,
    rejected,
    rgb_profile,
    seen,
    to_srgb_by_hand,
    with_segment,
)

# the right way up


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_every_orientation_ends_the_right_way_up(orientation: int, order: str, pixels: PixelSettings):
    upright = picture()
    as_stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    data = with_segment(jpeg(np.ascontiguousarray(as_stored)), 0xE1, exif(orientation, order))
    photo = converted(data, pixels)
    assert levels_off(photo, upright) < 2
    assert ("oriented" in photo.transforms) == (orientation != 1)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_out_of_range_is_none(value: int):
    assert converted(with_segment(jpeg(), 0xE1, exif(value))).transforms == ("metadata_dropped",)


@given(cut=st.integers(0, 31), flip=st.integers(0, 255))
def test_a_broken_exif_block_never_stops_a_photo(cut: int, flip: int):
    block = bytearray(exif(6))
    block[6 + flip % (len(block) - 6)] ^= 1 + flip % 255
    converted(with_segment(jpeg(), 0xE1, bytes(block[: 6 + cut])))


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_holds_in_other_formats(name: str):
    tags = Image.Exif()
    tags[0x0112] = 6
    upright = picture()
    data = encoded(Image.fromarray(np.ascontiguousarray(np.rot90(upright, 1))), name, exif=tags.tobytes(), quality=95)
    photo = converted(data)
    assert levels_off(photo, upright) < 4
    assert "oriented" in photo.transforms


# colours

PROFILES = {
    "display_p3": (DISPLAY_P3, D65),
    "adobe_rgb": (ADOBE_RGB, D65),
    "prophoto": (PROPHOTO, D50),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("file", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_wide_profile_is_converted_to_the_srgb_colours_of_the_textbook(name: str, file: str):
    primaries, white = PROFILES[name]
    source = picture()
    wanted = to_srgb_by_hand(source, primaries, white, 2.2)
    profile = rgb_profile(primaries, white)
    options = {"lossless": True} if file == "WEBP" else {"quality": 100}
    photo = converted(encoded(Image.fromarray(source), file, icc_profile=profile, **options))
    assert "icc_to_srgb" in photo.transforms
    assert levels_off(photo, np.rint(wanted).astype(np.uint8)) < 3
    assert np.abs(wanted - source).mean() > 7  # leaving the profile out would not pass


def test_a_profile_is_srgb_by_what_it_does_and_not_by_its_name():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = converted(jpeg(icc_profile=srgb))
    assert photo.jpeg == jpeg()
    assert photo.transforms == ("metadata_dropped",)
    assert "icc_to_srgb" in converted(jpeg(icc_profile=rgb_profile(SRGB, gamma=1.8))).transforms


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_a_gray_profile_is_applied_and_gray_stays_one_component(gamma: float):
    gray = picture()[:, :, 0]
    wanted = to_srgb_by_hand(np.repeat(gray[:, :, None], 3, axis=2), SRGB, D65, gamma)
    for data in (jpeg(gray, icc_profile=gray_profile(gamma)), jpeg(gray, icc_profile=rgb_profile(SRGB, gamma=gamma))):
        photo = converted(data)
        assert simplejpeg.decode_jpeg_header(photo.jpeg)[2] == "Gray"
        assert "icc_to_srgb" in photo.transforms
        assert levels_off(photo, np.rint(wanted).astype(np.uint8)) < 2


@pytest.mark.parametrize(
    "profile",
    [b"no profile", bytes(200), rgb_profile(DISPLAY_P3)[:300], gray_profile(2.2)],
    ids=["words", "zeros", "truncated", "for gray images"],
)
def test_a_profile_that_cannot_be_used_is_ignored_as_viewers_do_and_named(profile: bytes):
    photo = converted(jpeg(icc_profile=profile))
    assert photo.jpeg == jpeg()
    assert photo.transforms == ("icc_ignored", "metadata_dropped")


def test_a_profile_with_a_missing_part_is_ignored():
    part = b"ICC_PROFILE\0\x01\x02" + rgb_profile(DISPLAY_P3)
    data = with_segment(jpeg(), 0xE2, part)
    with pytest.raises(ValueError, match="bad ICC marker"):
        simplejpeg.decode_jpeg(data, strict=True)  # the decoder would condemn the photo for it
    assert converted(data).jpeg == jpeg()
    assert converted(data).transforms == ("icc_ignored", "metadata_dropped")


@pytest.mark.parametrize("file", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(file: str):
    image = Image.fromarray(picture()).convert("CMYK")
    photo = converted(encoded(image, file, quality=95))
    assert photo.transforms == ("cmyk_to_rgb", "reencoded")
    assert levels_off(photo, picture()) < 2


@pytest.mark.parametrize("file", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_what_is_transparent_lies_over_white(file: str):
    image = Image.fromarray(picture())
    share = np.tile(np.linspace(0, 255, 144).astype(np.uint8), (96, 1))
    image.putalpha(Image.fromarray(share))
    options = {"lossless": True, "exact": True} if file == "WEBP" else {"quality": 100} if file != "PNG" else {}
    photo = converted(encoded(image, file, **options))
    part = share[:, :, None] / 255
    assert levels_off(photo, np.rint(picture() * part + 255 * (1 - part)).astype(np.uint8)) < 3
    assert "alpha_over_white" in photo.transforms


def test_an_alpha_channel_that_hides_nothing_is_not_named():
    image = Image.fromarray(picture())
    image.putalpha(255)
    assert converted(encoded(image, "PNG")).transforms == ("reencoded",)


def test_transparent_palette_gray_and_colour_levels_lie_over_white():
    gray = Image.fromarray(np.repeat(np.array([[10, 200]], np.uint8), 32, axis=1).repeat(32, axis=0))
    for image in (gray, gray.convert("P"), gray.convert("RGB")):
        clear = (10, 10, 10) if image.mode == "RGB" else 10
        photo = converted(encoded(image, "PNG", transparency=clear))
        assert "alpha_over_white" in photo.transforms
        assert abs(int(seen(photo)[16, 8, 0]) - 255) <= 3
        assert abs(int(seen(photo)[16, 56, 0]) - 200) <= 3


def test_sixteen_bits_become_eight():
    samples = np.tile(np.linspace(0, 65_535, 64).astype(np.uint16), (64, 1))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", 64, 64, 16, 0, 0, 0, 0)
    gray_png = png([(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
    wanted = np.repeat((samples >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    for data in (gray_png, encoded(Image.fromarray(samples), "TIFF")):
        photo = converted(data)
        assert photo.transforms == ("depth_to_8bit", "reencoded")
        assert levels_off(photo, wanted) < 1.5


def test_float_samples_have_no_agreed_range_and_are_unsupported():
    data = encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")
    assert rejected(data).reason is RejectReason.UNSUPPORTED_FORMAT


def test_a_bomb_inside_a_png_profile_is_ignored():
    bomb = b"x\0\0" + zlib.compress(bytes(64 << 20))
    plain = encoded(Image.fromarray(picture()), "PNG")
    head, rest = plain[:33], plain[33:]
    chunk = png([(b"iCCP", bomb)])[8:]
    assert converted(head + chunk + rest).transforms == ("icc_ignored", "reencoded")


# formats and frames


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"])
def test_every_format_is_read_by_content(name: str):
    photo = converted(encoded(Image.fromarray(picture()), name, **({"quality": 95} if name != "BMP" else {})))
    assert "reencoded" in photo.transforms
    assert levels_off(photo, picture()) < (8 if name == "GIF" else 3)


@pytest.mark.parametrize("name", ["PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_the_first_frame_of_many_is_taken_and_named(name: str):
    frames = [Image.fromarray(picture()), Image.fromarray(picture()[::-1].copy())]
    photo = converted(encoded(frames[0], name, save_all=True, append_images=frames[1:]))
    assert "first_frame" in photo.transforms
    assert levels_off(photo, picture()) < 8
