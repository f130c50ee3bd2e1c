"""Tell from its first bytes what a file is, and refuse what is not decoded here.

By content alone: names and suffixes are never looked at.  Pure; reads at most the first few kilobytes.
"""

import re
import struct
from typing import Final

from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["JPEG", "recognise"]

JPEG: Final = "jpeg"
"""The name of the format that nearly all photos have; the one of its decoder."""

_UNSUPPORTED: Final = (  # offset, what stands there, name
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"\x8aMNG\r\n\x1a\n", "MNG"),
    (0, b"\x8bJNG\r\n\x1a\n", "JNG"),
    (0, b"8BPS", "Photoshop"),
    (0, b"gimp xcf", "GIMP"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "PostScript"),
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
    (4, b"ftypcrx ", "RAW (Canon CR3)"),
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

_LOOK_BYTES: Final = 2048  # how far a text may keep its <svg waiting
_NETPBM: Final = re.compile(rb"P[1-6][ \t\r\n]+[#0-9]|P7\n|P7 332|P[Ff][ \t\r\n]+[0-9]")
_TARGA_END: Final = b"TRUEVISION-XFILE.\0"
_TARGA_HEADER_BYTES: Final = 18
_TARGA_KINDS: Final = {
    1: (1,),
    9: (1,),
    2: (0, 1),
    10: (0, 1),
    3: (0, 1),
    11: (0, 1),
}  # by image type: colour map types
_TARGA_BITS: Final = {1: (8, 16), 9: (8, 16), 2: (15, 16, 24, 32), 10: (15, 16, 24, 32), 3: (8, 16), 11: (8, 16)}


def recognise(source: bytes | memoryview) -> str:
    """Name the format of a file, as its decoder does.

    The decoders are asked in their order, and only then the list of what is known and not decoded.

    Raises:
        Refusal: `empty`, `unsupported_format` with the format's name, or `not_an_image` with the first bytes.
    """
    if not source:
        raise Refusal(RejectReason.EMPTY, "the object holds no bytes")
    if source[:2] == b"\xff\xd8":  # nearly always; no decoder needs to be imported to know that
        return JPEG
    from aesthetics_ops.pixels.decoders import decoders

    data = bytes(source)
    for decoder in decoders():
        if decoder.recognises(data):
            return decoder.name
    for offset, magic, name in _UNSUPPORTED:
        if data.startswith(magic, offset):
            raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"{name} files are not decoded")
    if known := _known_by_its_fields(data):
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"{known} files are not decoded")
    if data.startswith(b"ftyp", 4):
        name = f"video or sound (ISO media, brand {data[8:12]!r})"
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, f"{name} files are not decoded")
    head = data[:_LOOK_BYTES].lower()
    if b"<svg" in head and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise Refusal(RejectReason.UNSUPPORTED_FORMAT, "SVG files are not decoded")
    raise Refusal(RejectReason.NOT_AN_IMAGE, f"no image format starts with {data[:12]!r}")


def _known_by_its_fields(data: bytes) -> str | None:
    """Name a format that starts with numbers where others have letters; None where they fit none."""
    reserved, kind, count = struct.unpack_from("<HHH", data.ljust(6, b"\0"))
    if reserved == 0 and kind in (1, 2) and count:  # a Targa has zeros where these count their pictures
        return "icon" if kind == 1 else "cursor"
    if _NETPBM.match(data):
        return "Netpbm"
    return "Targa" if data.endswith(_TARGA_END) or _is_targa(data) else None


def _is_targa(data: bytes) -> bool:
    """Tell whether the first bytes make a Targa header without contradiction; the format has no magic number.

    Source:
        Truevision TGA File Format Specification 2.0, image header.
    """
    if len(data) <= _TARGA_HEADER_BYTES:
        return False
    _, map_type, kind, _, colours, colour_bits, _, _, width_px, height_px, bits, flags = struct.unpack_from(
        "<BBBHHBHHHHBB", data
    )
    has_map = colours > 0 and colour_bits in (15, 16, 24, 32)
    return (
        map_type in _TARGA_KINDS.get(kind, ())
        and (has_map if map_type else colours == colour_bits == 0)
        and bits in _TARGA_BITS[kind]
        and min(width_px, height_px) > 0
        and flags < 0x40
    )
