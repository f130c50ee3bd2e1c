"""Make the probe photos of the codec fingerprint, from drawn pictures.

    .venv/bin/python -m tests.golden.make_probe FOLDER

`aesthetics_ops/pixels/probe/` holds what it wrote once.  Other releases of the encoders write other files, and other
files give another fingerprint, so another digest for every shard: replace them only to reach a codec path that none of
them reaches.
"""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.photo_cases import ADOBE_RGB, DISPLAY_P3, encoded, exif, gray_profile, png, rgb_profile


def drawing(height: int = 171, width: int = 240) -> NDArray[np.uint8]:
    """Return rings that grow finer, over colours, with hard edges: (height, width, 3), uint8."""
    y, x = np.mgrid[0:height, 0:width] / width
    rings = 0.5 + 0.5 * np.cos(40 * ((x - 0.3) ** 2 + (y - 0.2) ** 2))
    channels = np.stack((0.7 * x + 0.3 * rings, rings * (1 - y), 0.4 + 0.5 * np.sin(5 * x + 7 * y * y)), axis=2)
    channels[height // 2 : height // 2 + 20, width // 8 : width // 2] = (0.9, 0.1, 0.2)
    return np.rint(255 * np.clip(channels, 0, 1)).astype(np.uint8)


def probes() -> dict[str, bytes]:
    """Return the files by name: one at least for each decoder, and for each way through the JPEG codecs."""
    levels = drawing()
    image = Image.fromarray(levels)
    gray = image.convert("L")
    clear = image.copy()
    clear.putalpha(image.getchannel("G"))
    palette = image.quantize(32)
    palette.info["transparency"] = bytes(range(0, 256, 8))
    plain = encoded(image, "JPEG", quality=60, progressive=True, subsampling="4:4:4")
    p3 = rgb_profile(DISPLAY_P3)
    return {
        "420-p3-turned.jpg": encoded(image, "JPEG", quality=60, subsampling="4:2:0", icc_profile=p3, exif=exif(6)),
        "444-progressive.jpg": plain,
        "422-without-its-last-rows.jpg": without_end(encoded(image, "JPEG", quality=60, subsampling="4:2:2")),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG", quality=60),
        "gray-profile.jpg": encoded(gray, "JPEG", quality=60, icc_profile=gray_profile(1.8)),
        "311-three-scans.jpg": odd_sampling(levels),
        "palette-alpha.png": encoded(palette, "PNG", transparency=palette.info["transparency"]),
        "adobe-16-bit.png": deep_png(levels[60:100, 20:80]),
        "alpha.webp": encoded(clear, "WEBP", quality=60),
        "photo.avif": encoded(image, "AVIF", quality=60),
        "photo.heic": encoded(image, "HEIF", quality=40),
        "jpeg-inside.tif": encoded(image, "TIFF", compression="jpeg", quality=60),
        "photo.gif": encoded(image.crop((0, 0, 120, 90)).quantize(16), "GIF"),
        "photo.bmp": encoded(palette.crop((0, 0, 90, 60)), "BMP"),
    }


def without_end(data: bytes) -> bytes:
    """Drop coded data and keep the end marker: only a strict decoder refuses that."""
    return data[:-500] + data[-2:]


def odd_sampling(levels: NDArray[np.uint8]) -> bytes:
    """Make a JPEG whose colours have a third of its width, which only Pillow decodes: one scan for each component."""
    planes = Image.fromarray(levels).convert("YCbCr").split()
    third = (-(-levels.shape[1] // 3), levels.shape[0])
    files = [encoded(plane, "JPEG", quality=60) for plane in (planes[0], *(p.resize(third) for p in planes[1:]))]
    frame, scan = files[0].index(b"\xff\xc0"), files[0].index(b"\xff\xda")
    size = files[0][frame + 4 : frame + 9]
    components = b"\x01\x31\0" + b"\x02\x11\0" + b"\x03\x11\0"
    colours = b"\xff\xc0" + struct.pack(">H", 17) + size + b"\x03" + components
    tables = files[0][:frame] + colours + files[0][frame + 13 : scan]  # behind a frame of one component: Huffman tables
    scans = (data[data.index(b"\xff\xda") + 10 : -2] for data in files)
    heads = (b"\xff\xda\0\x08\x01" + bytes((number, 0)) + b"\0\x3f\0" for number in (1, 2, 3))
    return tables + b"".join(head + data for head, data in zip(heads, scans, strict=True)) + b"\xff\xd9"


def deep_png(levels: NDArray[np.uint8]) -> bytes:
    """Make a PNG with 16 bits per sample and a profile."""
    height, width, _ = levels.shape
    samples = (levels.astype(">u2") * 257).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    profile = b"Adobe RGB\0\0" + zlib.compress(rgb_profile(ADOBE_RGB))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return png([(b"IHDR", head), (b"iCCP", profile), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")])


if __name__ == "__main__":
    for name, data in probes().items():
        (Path(sys.argv[1]) / name).write_bytes(data)
