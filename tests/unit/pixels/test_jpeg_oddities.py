"""Headers that are odd and pixels that are sound: such a JPEG becomes the photo that its repaired twin is."""

import io
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings, PixelSettings
from tests.support.jpeg_files import baseline, lossless
from tests.support.photo_cases import (
    ADOBE_RGB,
    DISPLAY_P3,
    KEEP,
    REENCODE,
    converted,
    encoded,
    exif,
    jpeg,
    levels_off,
    picture,
    rejected,
    rgb_profile,
    seen,
)


def with_scan(data: bytes, parameters: bytes) -> bytes:
    """Write other parameters into every scan of a JPEG."""
    made, at = bytearray(data), 0
    while (at := made.find(b"\xff\xda", at)) >= 0:
        place = at + 5 + 2 * made[at + 4]
        made[place : place + 3] = parameters
        at = place
    return bytes(made)


def with_jfif(data: bytes, version: bytes) -> bytes:
    return data[:11] + version + data[13:]


def with_adobe(data: bytes, transform: int) -> bytes:
    """Replace the JFIF segment by Adobe's."""
    assert data[2:4] == b"\xff\xe0"
    content = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    return data[:2] + struct.pack(">BBH", 0xFF, 0xEE, len(content) + 2) + content + data[20:]


def cmyk_with_adobe(transform: int) -> bytes:
    data = encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    at = data.index(b"Adobe")
    return data[: at + 11] + bytes((transform,)) + data[at + 12 :]


PLAIN = jpeg()
ODDITIES = {
    "scan 0 0 0": (with_scan(PLAIN, b"\0\0\0"), PLAIN),
    "scan 0 0 255": (with_scan(PLAIN, b"\0\0\xff"), PLAIN),
    "scan 1 63 0": (with_scan(PLAIN, b"\1\x3f\0"), PLAIN),
    "scan 0 63 1": (with_scan(PLAIN, b"\0\x3f\1"), PLAIN),
    "gray scan 0 0 0": (with_scan(jpeg(picture()[:, :, 0]), b"\0\0\0"), jpeg(picture()[:, :, 0])),
    "JFIF 0.02": (with_jfif(PLAIN, b"\0\2"), with_jfif(PLAIN, b"\1\2")),
    "JFIF 2.01": (with_jfif(PLAIN, b"\2\1"), with_jfif(PLAIN, b"\1\2")),
    "JFIF 255.255": (with_jfif(PLAIN, b"\xff\xff"), with_jfif(PLAIN, b"\1\2")),
    "Adobe 2, three components": (with_adobe(PLAIN, 2), with_adobe(PLAIN, 1)),
    "Adobe 3, three components": (with_adobe(PLAIN, 3), with_adobe(PLAIN, 1)),
    "Adobe 255, three components": (with_adobe(PLAIN, 255), with_adobe(PLAIN, 1)),
    "Adobe 1, four components": (cmyk_with_adobe(1), cmyk_with_adobe(2)),
    "Adobe 9, four components": (cmyk_with_adobe(9), cmyk_with_adobe(2)),
    "all at once": (with_jfif(with_scan(PLAIN, b"\0\0\0"), b"\0\2"), with_jfif(PLAIN, b"\1\2")),
}


@pytest.mark.parametrize("name", ODDITIES)
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_a_field_that_decoders_ignore_condemns_no_photo_and_changes_no_pixel(name: str, pixels: PixelSettings):
    odd, repaired = ODDITIES[name]
    colours = "CMYK" if "four" in name else "RGB"
    lenient, sound = (np.asarray(Image.open(io.BytesIO(data))) for data in (odd, repaired))
    assert np.array_equal(lenient, sound), "the field is ignored"
    if not name.startswith("gray"):
        with pytest.raises(ValueError, match=r"SOS|JFIF|Adobe"):
            simplejpeg.decode_jpeg(odd, colours, strict=True)
    photo, twin = converted(odd, pixels), converted(repaired, pixels)
    assert photo.jpeg == twin.jpeg
    kept = pixels is KEEP and colours == "RGB"
    assert photo.transforms == (("header_repaired",) if kept else twin.transforms)


def test_a_progressive_scan_keeps_its_parameters():
    data = jpeg(progressive=True)
    assert converted(data).jpeg == data


@pytest.mark.parametrize("name", ODDITIES)
def test_an_odd_field_hides_no_damage(name: str):
    odd, _ = ODDITIES[name]
    assert rejected(odd[: len(odd) * 2 // 3] + b"\xff\xd9").reason is RejectReason.CORRUPT
    assert rejected(odd[:-2]).reason is RejectReason.CORRUPT


# sampling that the strict decoder has no name for

ODD_SAMPLINGS = {
    "4:1:0": [(4, 2), (1, 1), (1, 1)],
    "XYB": [(2, 2), (2, 2), (1, 1)],
    "one chroma whole": [(2, 1), (1, 1), (2, 1)],
    "4:4:1": [(1, 4), (1, 1), (1, 1)],
    "chroma finer": [(1, 1), (2, 2), (1, 1)],
}


def with_exif_and_profile(data: bytes, orientation: int, profile: bytes) -> bytes:
    parts = [(0xE1, exif(orientation)), (0xE2, b"ICC_PROFILE\0\x01\x01" + profile)]
    head = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in parts)
    return data[:2] + head + data[2:]


@pytest.mark.parametrize("name", ODD_SAMPLINGS)
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_an_odd_sampling_keeps_orientation_and_profile(name: str, pixels: PixelSettings):
    channels = np.asarray(Image.fromarray(picture()).convert("YCbCr"))
    data = baseline([channels[:, :, index] for index in range(3)], ODD_SAMPLINGS[name])
    with pytest.raises((ValueError, KeyError)):
        simplejpeg.decode_jpeg_header(data)
    assert converted(data, pixels).transforms == ("reencoded",)
    assert levels_off(converted(data, pixels), picture()) < 4
    for profile, transforms in (
        (rgb_profile(DISPLAY_P3), ("icc_to_srgb", "oriented", "reencoded")),
        (b"broken", ("icc_ignored", "oriented", "reencoded")),
    ):
        photo = converted(with_exif_and_profile(data, 6, profile), pixels)
        plain = converted(with_exif_and_profile(jpeg(), 6, profile), pixels)
        assert photo.transforms == transforms
        assert levels_off(photo, seen(plain)) < 4
    assert "first_frame" in converted(data + jpeg(), pixels).transforms


def test_cmyk_with_an_odd_sampling_is_cmyk():
    inks = np.asarray(Image.fromarray(picture()).convert("CMYK"))
    parts = [255 - inks[:, :, index] for index in range(4)]
    data = baseline(parts, [(2, 2), (1, 1), (1, 1), (1, 1)], adobe=0)
    with pytest.raises((ValueError, KeyError)):
        simplejpeg.decode_jpeg_header(data)
    photo = converted(with_exif_and_profile(data, 3, b"broken"))
    assert photo.transforms == ("cmyk_to_rgb", "icc_ignored", "oriented", "reencoded")
    assert levels_off(photo, picture()[::-1, ::-1]) < 4


# kinds of coding


@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_a_lossless_jpeg_is_decoded_without_loss(pixels: PixelSettings):
    for shown, data in (
        (picture(), lossless(picture())),
        (picture(), lossless(picture(), adobe=0)),
        (picture()[:, :, 0], lossless(picture()[:, :, :1])),
    ):
        photo = converted(data, pixels)
        sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if pixels is KEEP else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
        bgr = shown if shown.ndim == 2 else np.ascontiguousarray(shown[:, :, ::-1])
        options = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
        assert photo.jpeg == cv2.imencode(".jpg", bgr, options)[1].tobytes()
        assert photo.transforms == ("reencoded",)
        assert rejected(data[: len(data) // 2] + b"\xff\xd9", pixels).reason is RejectReason.CORRUPT
    small = PixelSettings("keep", 95, 16, KEEP.max_pixels)
    assert converted(lossless(picture()), small).width_px == 16
    assert rejected(lossless(picture(), adobe=1), pixels).reason is RejectReason.UNSUPPORTED_FORMAT


def frame_with(data: bytes, **fields: int) -> bytes:
    made = bytearray(data)
    at = made.index(b"\xff\xc0")
    for name, value in fields.items():
        place, size = {"marker": (1, 1), "bits": (4, 1), "height": (5, 2), "width": (7, 2), "count": (9, 1)}[name]
        made[at + place : at + place + size] = value.to_bytes(size, "big")
    return bytes(made)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame_with(PLAIN, bits=12), "unsupported_format"),
        (frame_with(PLAIN, bits=12, marker=0xC1), "unsupported_format"),
        (frame_with(PLAIN, bits=16, marker=0xC3), "unsupported_format"),
        (frame_with(PLAIN, marker=0xC5), "unsupported_format"),  # hierarchical
        (frame_with(PLAIN, marker=0xCB), "unsupported_format"),  # lossless, arithmetic
        (frame_with(PLAIN, marker=0xF7), "unsupported_format"),  # JPEG-LS
        (baseline([picture()[:, :, 0]] * 5, [(1, 1)] * 5), "unsupported_format"),
        (baseline([picture()[:, :, 0]] * 2, [(1, 1)] * 2), "unsupported_format"),
        (frame_with(PLAIN, count=0), "corrupt"),
        (frame_with(PLAIN, width=65_501, height=8), "too_large"),
        (frame_with(PLAIN, width=65_535, height=1_000), "too_large"),
        (frame_with(PLAIN, height=65_501, width=8), "too_large"),
        (frame_with(PLAIN, marker=0xC3, width=9_000, height=9_000), "corrupt"),
    ],
)
def test_what_is_not_decoded_is_called_what_it_is(data: bytes, reason: str):
    assert rejected(data).reason == reason


# the sampling of what is encoded anew


@pytest.mark.parametrize(
    ("sampling", "turned"), [("444", "444"), ("422", "440"), ("440", "422"), ("420", "420"), ("411", "440")]
)
def test_a_jpeg_that_is_encoded_for_its_profile_keeps_its_chroma_sampling(sampling: str, turned: str):
    plain = simplejpeg.encode_jpeg(picture(), 95, "RGB", sampling)
    assert simplejpeg.decode_jpeg_header(plain)[3] == sampling
    for orientation, wanted in ((1, sampling), (3, sampling), (6, turned), (5, turned)):
        data = with_exif_and_profile(plain, orientation, rgb_profile(ADOBE_RGB))
        assert simplejpeg.decode_jpeg_header(converted(data).jpeg)[3] == wanted
        assert simplejpeg.decode_jpeg_header(converted(data, REENCODE).jpeg)[3] == "420"


def test_other_formats_are_sampled_as_usual():
    photo = converted(encoded(Image.fromarray(picture()), "PNG"))
    assert simplejpeg.decode_jpeg_header(photo.jpeg)[3] == "420"


def test_cameras_called_100_megapixels_pass_by_default():
    pixels = BuildSettings(photos="file:///p/", labels="file:///l.csv", dataset="file:///d/").pixels
    for width, height in ((11_648, 8_736), (12_000, 9_000)):
        file = io.BytesIO()
        Image.new("L", (width, height), 90).save(file, "JPEG")
        photo = convert_photo(file.getvalue(), pixels)
        assert isinstance(photo, Converted)
        assert (photo.width_px, photo.height_px) == (width, height)
