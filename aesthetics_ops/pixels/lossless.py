"""Write a JPEG anew as baseline in one scan, without loss: the coefficients stay what they are, so the pixels do.

In: a whole JPEG.  Out: the same picture, coded with the standard's Huffman tables; so every release of the library writes
the same bytes.  libjpeg-turbo does it, by the functions of the TurboJPEG API that its releases since 1.2 (2012) have.  It
is a library of the system, not of Python; docs/pixels.md says which packages bring it, and why no wheel does.
Thread-safe; the interpreter's lock is released meanwhile.
"""

import ctypes
import ctypes.util
import sys
from functools import cache
from typing import Final

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.pixels.jpeg_header import JpegHeader, read_jpeg_header

__all__ = ["made_baseline"]

_SONAME: Final = "libturbojpeg.so.0"  # the same since 1.2
# turbojpeg.h of every release
_TJXOPT_COPYNONE: Final = 64
_TJFLAG_STOPONWARNING: Final = 8192


class _Transform(ctypes.Structure):
    """`tjtransform` of turbojpeg.h; all zero means: the whole picture, neither turned nor cropped."""

    _fields_ = (
        ("x", ctypes.c_int), ("y", ctypes.c_int), ("w", ctypes.c_int), ("h", ctypes.c_int), ("op", ctypes.c_int),
        ("options", ctypes.c_int), ("data", ctypes.c_void_p), ("filter", ctypes.c_void_p),
    )  # fmt: skip


def made_baseline(jpeg: bytes | memoryview, header: JpegHeader) -> bytes | None:
    """Return a JPEG of the same coefficients that is baseline in one scan.

    Args:
        jpeg: a whole 8-bit Huffman-coded JPEG without metadata, in which a strict decode found no fault.
        header: of it.

    Returns:
        The other JPEG; None where baseline coding cannot hold it, such as with 16-bit quantisation tables, and where its
        pixels would be others: of a progressive JPEG that lacks its last scans, which decoders smooth.

    Raises:
        SettingsError: this machine has no libturbojpeg.
    """
    library = _library()
    if header.is_sketch:
        return None
    source = bytes(jpeg)
    transform = _Transform(options=_TJXOPT_COPYNONE)
    written, size = ctypes.c_void_p(), ctypes.c_ulong()
    handle = ctypes.c_void_p(library.tjInitTransform())
    if not handle:
        raise MemoryError("libturbojpeg has no memory for a transform")
    try:
        failed = library.tjTransform(
            handle, source, ctypes.c_ulong(len(source)), 1, ctypes.byref(written), ctypes.byref(size),
            ctypes.byref(transform), _TJFLAG_STOPONWARNING,
        )  # fmt: skip
        found = None if failed or not written else ctypes.string_at(written, size.value)
    finally:
        library.tjFree(written)
        library.tjDestroy(handle)
    return found if found is not None and _is_baseline_of(found, header) else None


def _is_baseline_of(jpeg: bytes, source: JpegHeader) -> bool:
    made = read_jpeg_header(jpeg)
    return made.problem is None and not made.progressive and made.frame[1:] == source.frame[1:]


@cache
def _library() -> ctypes.CDLL:
    """Return libturbojpeg.

    Raises:
        SettingsError: there is none on this machine.
    """
    name = _SONAME if sys.platform == "linux" else ctypes.util.find_library("turbojpeg")
    try:
        library = ctypes.CDLL(name or _SONAME)
        init, transform, free, destroy = (
            library.tjInitTransform, library.tjTransform, library.tjFree, library.tjDestroy,
        )  # fmt: skip
    except (OSError, AttributeError) as error:
        raise SettingsError(
            f"progressive is 'baseline', which needs libturbojpeg on every machine that plans or converts ({error}); install "
            "it (Debian and Ubuntu: apt-get install libturbojpeg0 or libturbojpeg, macOS: brew install jpeg-turbo), or set "
            "progressive to 'keep'"
        ) from error
    init.restype = ctypes.c_void_p
    transform.argtypes = (
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p),
        ctypes.POINTER(ctypes.c_ulong), ctypes.POINTER(_Transform), ctypes.c_int,
    )  # fmt: skip
    free.argtypes = destroy.argtypes = (ctypes.c_void_p,)
    free.restype = None
    return library
