"""Tell from its first bytes what a file is, and refuse what is not decoded here.

By content alone: names and suffixes are never looked at.  Pure; reads at most the first few kilobytes.
"""

from enum import StrEnum
from typing import Final

from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["Format", "recognise"]


class Format(StrEnum):
    """The formats that are decoded."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    TIFF = "tiff"
    BMP = "bmp"
    GIF = "gif"
    HEIF = "heif"
    AVIF = "avif"


_KNOWN: Final = (
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0", Format.TIFF),  # BigTIFF
    (b"MM\0+", Format.TIFF),
)

_UNSUPPORTED: Final = (
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
    (0, b"\0\0\1\0", "icon"),
    (0, b"\0\0\2\0", "cursor"),
    (0, b"icns", "icon"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"DDS ", "DirectDraw surface"),
    (0, b"qoif", "QOI"),
    (0, b"FLIF", "FLIF"),
    (0, b"BPG\xfb", "BPG"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"AT&TFORM", "DjVu"),
    (0, b"IIU\0", "RAW (Panasonic)"),
    (0, b"IIRO", "RAW (Olympus)"),
    (0, b"IIRS", "RAW (Olympus)"),
    (0, b"MMOR", "RAW (Olympus)"),
    (0, b"FUJIFILMCCD-RAW", "RAW (Fujifilm)"),
    (0, b"II\x1a\0\0\0HEAPCCDR", "RAW (Canon CRW)"),
    (0, b"\0MRM", "RAW (Minolta)"),
    (0, b"FOVb", "RAW (Sigma)"),
    (8, b"CR\x02", "RAW (Canon CR2)"),
    (128, b"DICM", "DICOM"),
    (0, b"\x1a\x45\xdf\xa3", "video (Matroska or WebM)"),
    (0, b"\0\0\1\xba", "video (MPEG)"),
    (0, b"\0\0\1\xb3", "video (MPEG)"),
    (0, b"FLV\1", "video (Flash)"),
    (0, b"OggS", "video or sound (Ogg)"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video (Windows Media)"),
    (8, b"AVI ", "video (AVI)"),
    (4, b"moov", "video (QuickTime)"),
    (4, b"mdat", "video (QuickTime)"),
    (4, b"wide", "video (QuickTime)"),
)

_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
)

_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_LOOK_BYTES: Final = 2048  # how far a text may keep its <svg waiting


def recognise(source: bytes | memoryview) -> Format:
    """Name the format of a file.

    Raises:
        Refusal: `empty`, `unsupported_format` with the format's name, or `not_an_image` with the first bytes.
    """
    if not source:
        raise Refusal(RejectReason.EMPTY, "the object holds no bytes")
    if source[:2] == b"\xff\xd8":  # nearly always
        return Format.JPEG
    data = bytes(source)
    for offset, magic, name in _UNSUPPORTED:  # first: Canon's CR2 also starts like a TIFF
        if data.startswith(magic, offset):
            raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"{name} files are not decoded")
    for magic, known in _KNOWN:
        if data.startswith(magic):
            return known
    if data.startswith(b"RIFF") and data.startswith(b"WEBP", 8):
        return Format.WEBP
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return Format.BMP
    if data.startswith(b"ftyp", 4):
        return _iso_media(data)
    head = data[:_LOOK_BYTES].lower()
    if b"<svg" in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "SVG files are not decoded")
    raise Refusal(RejectReason.NOT_AN_IMAGE, f"no image format starts with {data[:12]!r}")


def _iso_media(data: bytes) -> Format:
    """Tell still images from films inside an ISO base media file, by the brands of its first box."""
    length = min(max(int.from_bytes(data[:4], "big"), 12), _LOOK_BYTES)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data)) - 3, 4))}
    if data[8:12] == b"crx ":
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "RAW (Canon CR3) files are not decoded")
    if brands & _AVIF_BRANDS:
        return Format.AVIF
    if brands & _HEIF_BRANDS:
        return Format.HEIF
    raise Refusal(
        RejectReason.UNSUPPORTED_FORMAT, f"video or sound (ISO media, brand {data[8:12]!r}) files are not decoded"
    )
