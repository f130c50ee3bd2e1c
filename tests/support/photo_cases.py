"""What the tests of photos share: settings, the awkward files, a reference decoder, colour profiles made to measure."""

import csv
import io
import random
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pillow_heif
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.pixels.transforms import Transform
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.settings import PixelSettings
from tests.support.paths import ROOT

NASTY = ROOT / "tests" / "data" / "nasty"
KEEP = PixelSettings("keep", quality=95, max_side_px=None, max_pixels=100_000_000)
REENCODE = PixelSettings("reencode", quality=95, max_side_px=None, max_pixels=100_000_000)

# chromaticities of red, green, blue, as x, y; all with the D65 white point but ProPhoto's D50
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
D65 = (0.3127, 0.3290)
D50 = (0.3457, 0.3585)


@dataclass(frozen=True, slots=True)
class NastyFile:
    """One row of the manifest; `verdict` is `good`, `must-reject` or `ambiguous`."""

    path: str
    verdict: str
    properties: str

    @property
    def data(self) -> bytes:
        return (NASTY / self.path).read_bytes()


def nasty_files() -> tuple[NastyFile, ...]:
    with (NASTY / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return tuple(NastyFile(row["path"], row["class"], row["properties"]) for row in csv.DictReader(file))


def real_photos(most_bytes: int = 200_000) -> tuple[bytes, ...]:
    """Return the bundled sample's JPEGs, up to a size, in name order."""
    photos = sorted((ROOT / "samples" / "photos").rglob("*.jp*g"))
    return tuple(path.read_bytes() for path in photos if path.stat().st_size <= most_bytes)


def picture(height: int = 96, width: int = 144) -> NDArray[np.uint8]:
    """Return a smooth RGB picture without any symmetry: (height, width, 3), uint8."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    channels = (x, y, 0.5 + 0.5 * np.sin(6 * x + 4 * y * y))
    return np.rint(40 + 170 * np.stack(channels, axis=2)).astype(np.uint8)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    """Return an image as a file of Pillow's format `name`."""
    if name == "HEIF":
        pillow_heif.register_heif_opener()
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def reference(data: bytes) -> NDArray[np.uint8]:
    """Decode as a person would see it, with Pillow: turned, in sRGB, over white; (height, width, 3), uint8."""
    pillow_heif.register_heif_opener()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as opened:
            opened.seek(0)
            opened.load()
            image = ImageOps.exif_transpose(opened)
            icc = opened.info.get("icc_profile")
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in {"P", "PA", "LA"} or "transparency" in image.info:
            image = image.convert("RGBA")
        colours = image.convert("RGB") if image.mode in {"RGBA", "1"} else image
        profile = _usable(icc, colours.mode)
        if profile is not None:
            colours = ImageCms.profileToProfile(colours, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    levels = np.asarray(colours.convert("RGB"))
    if image.mode != "RGBA":
        return levels
    share = np.asarray(image.getchannel("A")).astype(float)[:, :, None] / 255
    return np.rint(levels * share + 255 * (1 - share)).astype(np.uint8)


def _usable(icc: bytes | None, mode: str) -> ImageCms.ImageCmsProfile | None:
    space = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}.get(icc[16:20]) if icc else None
    return ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc and space == mode else None


def rgb_profile(
    primaries: tuple[tuple[float, float], ...], white: tuple[float, float] = D65, gamma: float = 2.2
) -> bytes:
    """Make a matrix profile (ICC v2) with the given chromaticities and a pure power curve."""
    matrix = _adapted(primaries, white)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": _xyz(_white(D50)), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    tags |= {name: _xyz(matrix[:, column]) for column, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(b"RGB ", tags)


def gray_profile(gamma: float) -> bytes:
    """Make a gray profile (ICC v2) with a pure power curve."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    return _profile(b"GRAY", {b"wtpt": _xyz(_white(D50)), b"kTRC": curve})


def to_srgb_by_hand(
    levels: NDArray[np.uint8], primaries: tuple[tuple[float, float], ...], white: tuple[float, float], gamma: float
) -> NDArray[np.float64]:
    """Convert by the textbook: power curve, matrix to XYZ (D50), matrix to linear sRGB, sRGB curve; clipped."""
    linear = (levels / 255.0) ** gamma
    back = np.linalg.inv(_adapted(SRGB, D65)) @ _adapted(primaries, white)
    srgb = np.clip(linear @ back.T, 0, 1)
    curved = np.where(srgb <= 0.0031308, 12.92 * srgb, 1.055 * srgb ** (1 / 2.4) - 0.055)
    return 255 * np.asarray(curved)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += padded
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + _xyz(_white(D50))[8:]
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _white(point: tuple[float, float]) -> NDArray[np.float64]:
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _adapted(primaries: tuple[tuple[float, float], ...], white: tuple[float, float]) -> NDArray[np.float64]:
    """Return the matrix from linear RGB to XYZ under D50, Bradford adapted; shape (3, 3)."""
    columns = np.stack([_white(point) for point in primaries], axis=1)
    matrix = columns * np.linalg.solve(columns, _white(white))
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gain = np.diag((bradford @ _white(D50)) / (bradford @ _white(white)))
    return np.linalg.inv(bradford) @ gain @ bradford @ matrix


def fuzz_corpus() -> tuple[bytes, ...]:
    """Return small real files of every format to mutate, in a fixed order."""
    photos = [Image.open(io.BytesIO(data)) for data in real_photos()[:12]]
    small = [ImageOps.fit(photo.convert("RGB"), (96, 64)) for photo in photos]
    files = [encoded(image, "JPEG", quality=85, progressive=index % 2 == 1) for index, image in enumerate(small)]
    files += [encoded(image, "JPEG", icc_profile=rgb_profile(DISPLAY_P3), quality=90) for image in small[:2]]
    for image in small[:3]:
        clear = image.copy()
        clear.putalpha(image.getchannel("R"))
        files += [encoded(clear, name) for name in ("PNG", "WEBP", "TIFF")]
        files += [encoded(image, name) for name in ("PNG", "WEBP", "BMP", "GIF", "AVIF", "HEIF")]
        files += [encoded(image, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
        files += [encoded(image, "PNG", icc_profile=rgb_profile(ADOBE_RGB)), encoded(image.convert("P"), "PNG")]
        files += [encoded(image, "WEBP", lossless=True), encoded(image.convert("CMYK"), "JPEG")]
        files += [encoded(image, name, save_all=True, append_images=small[3:5]) for name in ("PNG", "GIF", "WEBP")]
    files += [file.data for file in nasty_files() if len(file.data) <= 20_000]
    return tuple(files)


def mutated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damage a file in one to three ways, as disks, networks and attackers do."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not result:
            return bytes(result)
        at = rng.randrange(
            min(len(result), rng.choice((64, 1024, len(result))))
        )  # headers deserve more than their share
        match rng.randrange(9):
            case 0:
                result[at] ^= 1 << rng.randrange(8)
            case 1:
                result[at] = rng.randrange(256)
            case 2:
                result[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\0\0")
                )
            case 3:
                size = rng.choice((16, 512, 4096))
                result[at : at + size] = bytes(min(size, len(result) - at))
            case 4:
                del result[at : at + rng.choice((1, 16, 512))]
            case 5:
                del result[at:]
            case 6:
                result[at:at] = result[at : at + rng.choice((1, 16, 512))]
            case 7:
                start = rng.randrange(len(other))
                result[at:] = other[start:]
            case _:
                result[at : at + 2] = bytes((0xFF, rng.randrange(0xC0, 0x100)))
    return bytes(result)


def converted(data: bytes, pixels: PixelSettings = KEEP) -> Converted:
    photo = convert_photo(data, pixels)
    assert isinstance(photo, Converted), photo
    assert photo.transforms == tuple(sorted(set(photo.transforms)))
    assert {Transform(name).value for name in photo.transforms} == set(photo.transforms)
    height, width, colour, _ = simplejpeg.decode_jpeg_header(photo.jpeg)
    assert (height, width) == (photo.height_px, photo.width_px)
    assert colour in {"Gray", "YCbCr"}
    return photo


def rejected(data: bytes, pixels: PixelSettings = KEEP) -> Rejected:
    photo = convert_photo(data, pixels)
    assert isinstance(photo, Rejected), photo.transforms
    assert photo.detail
    return photo


def seen(photo: Converted) -> NDArray[np.uint8]:
    """Return the stored pixels: (height, width, 3) RGB, uint8."""
    return np.asarray(simplejpeg.decode_jpeg(photo.jpeg, "RGB", strict=True))


def levels_off(photo: Converted, wanted: NDArray[Any]) -> float:
    stored = seen(photo)
    assert stored.shape == wanted.shape
    return float(np.abs(stored.astype(float) - wanted).mean())


def jpeg(image: NDArray[np.uint8] | None = None, **options: object) -> bytes:
    return encoded(Image.fromarray(picture() if image is None else image), "JPEG", **{"quality": 95, **options})


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    """Put a marker segment behind a JPEG's JFIF segment."""
    end = 4 + int.from_bytes(data[4:6], "big")
    return data[:end] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[end:]


def exif(orientation: int, order: str = "<") -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + head + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def blocks() -> NDArray[np.uint8]:
    """Return a picture of large random blocks: (256, 384, 3), uint8."""
    levels = np.random.default_rng(7).integers(0, 256, (8, 12, 1), dtype=np.uint8)
    return levels.repeat(32, axis=0).repeat(32, axis=1).repeat(3, axis=2)


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
