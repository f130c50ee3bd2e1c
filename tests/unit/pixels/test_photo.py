"""A photo that reaches a shard is whole, of the size asked for, and free of what it should not carry."""

import io
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aesthetics_ops.pixels.photo import Converted, convert_photo, convert_photos
from aesthetics_ops.rejects import Rejected, RejectReason
from aesthetics_ops.settings import PixelSettings
from tests.support.photo_cases import (
    DISPLAY_P3,
    KEEP,
    NASTY,
    REENCODE,
    blocks,
    converted,
    encoded,
    exif,
    jpeg,
    levels_off,
    picture,
    png,
    real_photos,
    rejected,
    rgb_profile,
    seen,
    with_segment,
)

GPS_EXIF_TAG = 0x8825
BLOCKS_HASH = 18_123_725_825_553_558_786  # of `blocks()`


# keep


def test_keep_stores_a_plain_jpeg_byte_for_byte():
    for data in (
        jpeg(),
        jpeg(progressive=True),
        jpeg(picture()[:, :, 0]),
        jpeg(subsampling=0),
        jpeg(restart_marker_rows=1),
    ):
        photo = converted(data)
        assert photo.jpeg == data
        assert photo.transforms == ()


def test_keep_accepts_a_view_and_the_same_input_gives_the_same_output():
    data = jpeg()
    assert (
        convert_photo(memoryview(data), KEEP)
        == convert_photo(data, KEEP)
        == convert_photo(memoryview(bytearray(data)), KEEP)
    )
    assert convert_photo(data, REENCODE) == convert_photo(data, REENCODE)


def test_keep_drops_metadata_and_what_follows_the_end_and_nothing_else():
    plain = jpeg()
    position = Image.Exif()
    position[GPS_EXIF_TAG] = {1: "N", 2: (48.0, 8.0, 0.0)}
    carrying = encoded(Image.fromarray(picture()), "JPEG", quality=95, exif=position, comment=b"at home")
    assert b"at home" in carrying
    photo = converted(with_segment(carrying, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") + b"tail")
    assert photo.jpeg == plain
    assert photo.transforms == ("metadata_dropped", "trailing_dropped")


def test_keep_drops_metadata_between_the_scans_of_a_progressive_jpeg():
    plain = jpeg(progressive=True)
    second_scan = plain.index(b"\xff\xc4", plain.index(b"\xff\xda"))
    comment = b"\xff\xfe" + struct.pack(">H", 8) + b"secret"
    assert converted(plain[:second_scan] + comment + plain[second_scan:]).jpeg == plain


def test_keep_drops_the_thumbnail_inside_a_jfif_segment():
    plain = jpeg()
    assert plain[2:4] == b"\xff\xe0"
    thumbnail = bytes((2, 1)) + bytes(6)
    segment = plain[6:18] + thumbnail
    photo = converted(plain[:4] + struct.pack(">H", len(segment) + 2) + segment + plain[20:])
    assert photo.jpeg == plain
    assert photo.transforms == ("metadata_dropped",)


def test_keep_leaves_the_adobe_segment_that_says_what_the_colours_are():
    adobe = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 1)
    data = with_segment(jpeg(), 0xEE, adobe)
    assert converted(data).jpeg == data


def test_an_rgb_jpeg_is_encoded_as_ycbcr():
    data = jpeg(keep_rgb=True, subsampling=0)
    assert simplejpeg.decode_jpeg_header(data)[2] == "RGB"
    photo = converted(data)
    assert photo.transforms == ("reencoded",)
    assert levels_off(photo, picture()) < 2


def test_a_second_picture_behind_the_first_is_dropped_and_named():
    first, second = jpeg(), jpeg(picture()[::-1].copy())
    photo = converted(first + second)
    assert photo.jpeg == first
    assert photo.transforms == ("first_frame", "trailing_dropped")


def test_an_mpo_becomes_its_first_picture():
    pictures = [Image.fromarray(picture()), Image.fromarray(picture()[::-1].copy())]
    data = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:], quality=95)
    photo = converted(data)
    assert photo.transforms == ("first_frame", "metadata_dropped", "trailing_dropped")
    assert levels_off(photo, picture()) < 2


def test_real_photos_keep_their_coded_data():
    kept = 0
    for data in real_photos():
        photo = convert_photo(data, KEEP)
        if isinstance(photo, Converted) and "reencoded" not in photo.transforms:
            kept_jpeg = bytes(photo.jpeg)
            assert kept_jpeg[kept_jpeg.index(b"\xff\xda") :] in data
            kept += 1
    assert kept > 20


# strictness


@given(share=st.floats(0.02, 0.999), progressive=st.booleans(), pixels=st.sampled_from([KEEP, REENCODE]))
def test_a_jpeg_cut_off_anywhere_is_corrupt(share: float, progressive: bool, pixels: PixelSettings):
    data = jpeg(progressive=progressive)
    assert rejected(data[: int(len(data) * share)], pixels).reason is RejectReason.CORRUPT


@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_a_jpeg_without_its_end_marker_is_corrupt(pixels: PixelSettings):
    assert rejected(jpeg()[:-2], pixels).reason is RejectReason.CORRUPT


@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_most_zeroed_and_dropped_blocks_in_real_photos_are_found(pixels: PixelSettings):
    photos = [data for data in real_photos() if isinstance(convert_photo(data, KEEP), Converted)][:20]
    damaged = []
    for data in photos:
        middle = data.index(b"\xff\xda") + (len(data) - data.index(b"\xff\xda")) // 2
        damaged.append(data[:middle] + bytes(512) + data[middle + 512 :])
        damaged.append(data[:middle] + data[middle + 512 :])
    passed = sum(isinstance(convert_photo(data, pixels), Converted) for data in damaged if data[:2] == b"\xff\xd8")
    assert passed <= 0.15 * len(damaged)


def test_a_frame_header_that_promises_more_than_the_file_holds_is_corrupt_before_any_decode():
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 9_999, 9_999)
    assert "cannot hold" in rejected(bytes(data)).detail


def test_thousands_of_scans_are_refused_without_a_decode():
    data = jpeg(progressive=True)
    scan = data.rindex(b"\xff\xda")
    photo, asked = with_room_asked(data[:-2] + data[scan:-2] * 5_000 + data[-2:], KEEP)
    assert isinstance(photo, Rejected)
    assert "scans" in photo.detail
    assert asked == []


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF"])
def test_other_formats_cut_off_are_corrupt(name: str):
    data = encoded(Image.fromarray(picture()), name)
    assert rejected(data[: len(data) * 2 // 3]).reason is RejectReason.CORRUPT


@pytest.mark.parametrize("at", [0.3, 0.5, 0.7, 0.9])
def test_a_changed_byte_in_a_png_is_found_by_its_checksum(at: float):
    data = bytearray(encoded(Image.fromarray(picture()), "PNG"))
    data[int(len(data) * at)] ^= 0x10
    assert "CRC error" in rejected(bytes(data)).detail


def test_bytes_after_the_end_of_a_png_are_harmless():
    data = encoded(Image.fromarray(picture()), "PNG")
    assert convert_photo(data + b"tail", KEEP) == convert_photo(data, KEEP)


# size


def with_room_asked(data: bytes, pixels: PixelSettings) -> tuple[Converted | Rejected, list[int]]:
    """Convert; return for how many pixels room was asked too, which every decode is preceded by."""
    asked: list[int] = []
    (photo,) = convert_photos([data], pixels, reserve=lambda: nullcontext(asked.append))
    return photo, asked


def bombs() -> dict[str, bytes]:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    jpeg_bomb = bytearray(jpeg())
    frame = jpeg_bomb.index(b"\xff\xc0")
    jpeg_bomb[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    bmp = bytearray(encoded(Image.fromarray(picture()), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    gif = bytearray(encoded(Image.fromarray(picture()), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x3f\x3f\0\x3f\x3f\0"
    tiff = bytearray(encoded(Image.fromarray(picture()), "TIFF"))
    for tag in (256, 257):
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in tiff else None
        entry = tiff.index(struct.pack("<HHI", tag, 3, 1)) if entry is None else entry
        tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 60_000)
    return {
        "jpeg": bytes(jpeg_bomb),
        "png": png([(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1_000))), (b"IEND", b"")]),
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "webp": b"RIFF" + struct.pack("<I", 4 + len(canvas)) + b"WEBP" + canvas,
        "tiff": bytes(tiff),
    }


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "gif", "webp", "tiff"])
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_a_bomb_is_refused_from_its_header(kind: str, pixels: PixelSettings):
    photo, asked = with_room_asked(bombs()[kind], pixels)
    assert asked == [], "room for pixels is never asked for, so nothing is decoded"
    assert isinstance(photo, Rejected)
    assert photo.reason is RejectReason.TOO_LARGE
    assert "max_pixels 100,000,000" in photo.detail


def test_refusing_bombs_takes_no_memory():
    program = """
import resource, sys
from aesthetics_ops.pixels.photo import convert_photo
from aesthetics_ops.settings import PixelSettings
pixels = PixelSettings("keep", 95, None, 100_000_000)
files = [bytes.fromhex(line) for line in sys.stdin.read().split()]
convert_photo(files[0], pixels); import PIL.Image, PIL.ImageCms, pillow_heif, cv2
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for data in files: convert_photo(data, pixels)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    lines = "\n".join(data.hex() for data in bombs().values())
    done = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 << 20


def test_max_pixels_is_the_last_size_that_passes():
    data = jpeg()
    exactly = 96 * 144
    assert convert_photo(data, replace(KEEP, max_pixels=exactly)) == convert_photo(data, KEEP)
    assert rejected(data, replace(KEEP, max_pixels=exactly - 1)).reason is RejectReason.TOO_LARGE


def test_a_photo_without_pixels_is_corrupt():
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = b"\0\0"
    assert rejected(bytes(data)).reason is RejectReason.CORRUPT


def test_what_no_jpeg_can_hold_is_too_large_unless_it_is_scaled_down():
    data = encoded(Image.new("L", (70_000, 8), 128), "PNG")
    assert "set max_side_px" in rejected(data).detail
    assert converted(data, replace(KEEP, max_side_px=1_000)).width_px == 1_000


def test_a_png_of_ninety_megapixels_passes_without_pillows_bomb_warning():
    photo = converted(encoded(Image.new("1", (9_500, 9_500)), "PNG"), replace(KEEP, max_side_px=64))
    assert (photo.height_px, photo.width_px) == (64, 64)


# what is no photo


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0", "not_an_image"),
        (b"<!DOCTYPE html><html><body><svg></svg></body></html>", "unsupported_format"),
        (b"<!DOCTYPE html><html></html>", "not_an_image"),
        (bytes(1_000), "not_an_image"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "unsupported_format"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(64), "unsupported_format"),
        ((b"II*\0\x10\0\0\0" + bytes(120)) + b"DICM" + bytes(64), "unsupported_format"),  # a TIFF to other readers
        (b"8BPS\0\1" + bytes(32), "unsupported_format"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "unsupported_format"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "unsupported_format"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "unsupported_format"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx mif1", "unsupported_format"),
        (b"RIFF\0\0\0\0AVI LIST", "unsupported_format"),
        (b"\x1a\x45\xdf\xa3" + bytes(32), "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"\xff\xd8\xff", "corrupt"),
        (b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(4), "corrupt"),
        (b"GIF89a", "corrupt"),
        (b"\x89PNG\r\n\x1a\n", "corrupt"),
        (b"RIFF\x04\0\0\0WEBP", "corrupt"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "corrupt"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "corrupt"),
        (b"\0\0\1\0ftypavif\0\0\0\0avifmif1miaf" + bytes(228), "corrupt"),  # starts like an icon
    ],
)
def test_what_is_no_photo_is_named(data: bytes, reason: str):
    assert rejected(data).reason == reason


@pytest.mark.parametrize(
    "tags",
    [
        {50706: b"\x01\x04\0\0"},  # DNG
        {254: 1, 330: 8},  # a preview in front of the sensor's data: Nikon, Sony and others
    ],
    ids=["dng", "preview"],
)
def test_camera_raw_in_a_tiff_is_unsupported_though_its_preview_could_be_read(tags: dict[int, object]):
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory.tagtype[tag] = 1 if isinstance(value, bytes) else 4
        directory[tag] = value
    data = encoded(Image.fromarray(picture()), "TIFF", tiffinfo=directory)
    assert rejected(data).reason is RejectReason.UNSUPPORTED_FORMAT


# sizes asked for


@pytest.mark.parametrize("side", [16, 50, 100, 143])
@pytest.mark.parametrize("pixels", [KEEP, REENCODE], ids=["keep", "reencode"])
def test_the_longest_side_is_scaled_to_what_is_asked_and_the_shape_stays(side: int, pixels: PixelSettings):
    for data in (jpeg(picture(1_152, 1_728)), encoded(Image.fromarray(picture()), "PNG")):
        photo = converted(data, replace(pixels, max_side_px=side))
        assert (photo.height_px, photo.width_px) == (round(side * 2 / 3), side)
        wanted = cv2.resize(picture(), (side, round(side * 2 / 3)), interpolation=cv2.INTER_AREA)
        assert levels_off(photo, wanted) < 3
        assert "resized" in photo.transforms


def test_scaling_is_near_to_pillows_for_every_reduction_of_the_decoder():
    photos = [photo.jpeg for data in real_photos() if isinstance(photo := convert_photo(data, KEEP), Converted)]
    large = [data for data in photos if max(simplejpeg.decode_jpeg_header(data)[:2]) >= 480]
    for data in large[:5]:
        source = Image.open(io.BytesIO(data)).convert("RGB")
        for side in (240, 110, 56):
            photo = convert_photo(data, replace(KEEP, max_side_px=side, quality=100))
            if isinstance(photo, Converted) and photo.transforms == ("reencoded", "resized"):
                wanted = source.resize((photo.width_px, photo.height_px), Image.Resampling.BICUBIC)
                brightness = Image.fromarray(seen(photo)).convert("L")
                off = np.asarray(brightness).astype(float) - np.asarray(wanted.convert("L"))
                assert np.abs(off).mean() < 6


def test_a_photo_is_never_enlarged_and_keeps_its_bytes_when_it_is_small_enough():
    data = jpeg()
    assert converted(data, replace(KEEP, max_side_px=144)).jpeg == data
    assert converted(data, replace(REENCODE, max_side_px=1_000)).width_px == 144


def test_a_turned_photo_is_scaled_by_its_longest_side_too():
    data = with_segment(jpeg(), 0xE1, exif(6))
    photo = converted(data, replace(KEEP, max_side_px=72))
    assert (photo.height_px, photo.width_px) == (72, 48)
    assert photo.transforms == ("oriented", "reencoded", "resized")


def test_an_extreme_shape_keeps_one_pixel():
    photo = converted(jpeg(np.full((1, 4_000, 3), 90, np.uint8)), replace(KEEP, max_side_px=16))
    assert (photo.height_px, photo.width_px) == (1, 16)


# the origin's way


def test_reencode_is_opencvs_decode_and_encode():
    checked = 0
    for data in real_photos():
        photo = convert_photo(data, REENCODE)
        colour = isinstance(photo, Converted) and simplejpeg.decode_jpeg_header(photo.jpeg)[2] == "YCbCr"
        if isinstance(photo, Converted) and colour and photo.transforms == ("reencoded",) and data[:2] == b"\xff\xd8":
            array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert photo.jpeg == cv2.imencode(".jpg", array)[1].tobytes()
            checked += 1
    assert checked > 20


def test_quality_is_what_is_asked():
    sizes = [len(converted(jpeg(), replace(REENCODE, quality=quality)).jpeg) for quality in (30, 70, 95)]
    assert sizes == sorted(set(sizes))


# the hash


def distance(one: Converted, other: Converted) -> int:
    return (one.phash ^ other.phash).bit_count()


def test_copies_of_a_photo_hash_alike_and_different_photos_do_not():
    photos = [photo for data in real_photos() if isinstance(photo := convert_photo(data, KEEP), Converted)]
    for photo in photos[:15]:
        array = cv2.imdecode(np.frombuffer(photo.jpeg, np.uint8), cv2.IMREAD_COLOR)
        half = cv2.resize(array, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        for copy in (cv2.imencode(".jpg", half)[1].tobytes(), cv2.imencode(".png", array)[1].tobytes()):
            assert distance(photo, converted(copy)) <= 8
        assert distance(photo, converted(bytes(photo.jpeg), REENCODE)) <= 8
    distances = [distance(one, other) for index, one in enumerate(photos) for other in photos[:index]]
    assert sum(bits <= 8 for bits in distances) <= 8  # the sample has a few scenes twice, on purpose
    assert not any(8 < bits < 14 for bits in distances)


def test_the_hash_is_of_the_photo_the_right_way_up():
    upright = blocks()
    turned = with_segment(jpeg(np.ascontiguousarray(np.rot90(upright, 1))), 0xE1, exif(6))
    assert distance(converted(turned), converted(jpeg(upright))) <= 2
    assert distance(converted(turned), converted(jpeg(np.ascontiguousarray(np.rot90(upright, 1))))) > 16


def test_the_hash_is_the_same_on_every_machine():
    assert converted(jpeg(blocks()[:, :, 0], quality=100)).phash == BLOCKS_HASH


def test_a_photo_without_structure_hashes_to_zero():
    for level in (0, 128, 255):
        assert converted(jpeg(np.full((64, 64, 3), level, np.uint8))).phash == 0
    assert converted(jpeg(np.zeros((1, 1, 3), np.uint8))).phash == 0


# manners


def test_photos_converted_together_come_out_as_alone_and_one_at_a_time_takes_room():
    files = [
        jpeg(),
        b"",
        encoded(Image.fromarray(picture()), "PNG"),
        jpeg()[:-40],
        jpeg(exif=exif(6)),
        b"text",
        jpeg(picture()[:, :, 0]),
    ]
    asked: list[list[int]] = []
    reserved = 0

    @contextmanager
    def reserve() -> Iterator[Callable[[int], None]]:
        nonlocal reserved
        reserved += 1
        assert reserved == 1
        asked.append([])
        yield asked[-1].append
        reserved -= 1

    for pixels in (KEEP, REENCODE):
        asked.clear()
        assert convert_photos(files, pixels, reserve=reserve) == [convert_photo(data, pixels) for data in files]
        height, width, *_ = picture().shape
        assert asked == [[height * width]] * 5  # the empty file and the text need no decoder


def test_many_threads_get_what_one_gets():
    files = [path.read_bytes() for path in sorted(NASTY.rglob("*.*g*")) if path.suffix in {".jpg", ".png", ".avif"}]
    files += [
        jpeg(icc_profile=rgb_profile(DISPLAY_P3)),
        encoded(Image.fromarray(picture()), "TIFF", compression="jpeg"),
    ]
    alone = [convert_photo(data, REENCODE) for data in files]
    barrier = threading.Barrier(4)

    def all_at_once(_: int) -> list[Converted | Rejected]:
        barrier.wait()
        return [convert_photo(data, REENCODE) for data in files]

    with ThreadPoolExecutor(4) as pool:
        assert all(result == alone for result in pool.map(all_at_once, range(4)))


def test_a_clean_jpeg_needs_no_import_of_opencv_pillow_tensorflow_or_the_decoders():
    program = """
import sys
from aesthetics_ops.pixels.photo import convert_photo
from aesthetics_ops.settings import PixelSettings
data = sys.stdin.buffer.read()
assert convert_photo(data, PixelSettings("keep", 95, None, 1_000_000)).jpeg == data
others = {"cv2", "PIL", "pillow_heif", "tensorflow", "airflow", "aesthetics_ops.pixels.decoders"}
print(sorted(others & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], input=jpeg(), capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_other_peoples_pillow_still_warns():
    converted(encoded(Image.fromarray(picture()), "TIFF"))
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(encoded(Image.new("1", (9_500, 9_500)), "PNG")))


def test_libtiffs_words_go_into_the_detail_and_not_to_stderr(capfd: pytest.CaptureFixture[str]):
    data = bytearray(encoded(Image.fromarray(picture()), "TIFF", compression="tiff_lzw"))
    data[40:300] = bytes(range(256)) + bytes(4)
    assert "decoder error" in rejected(bytes(data)).detail
    assert len(rejected(bytes(data)).detail) > len("tiff: decoder error -2")
    assert capfd.readouterr() == ("", "")
