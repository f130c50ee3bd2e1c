"""What the codec libraries put out, as one short text that enters every shard's recipe.

In: the bundled probe photos.  Out: their conversions' fingerprint.  Another release of a library that decodes, scales or
encodes one of them otherwise gives another fingerprint, so other shards; a release that changes nothing here costs
nothing.  docs/pixels.md says why, and what the probes do not see.
Pure but for reading files of this package; equal libraries give equal text, in any thread.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata, resources
from typing import Final

from aesthetics_ops.dataset.recipe import CONVERTER_VERSION, Converter
from aesthetics_ops.errors import PermanentError
from aesthetics_ops.pixels.decoders import decoders
from aesthetics_ops.pixels.photo import Converted, convert_photo
from aesthetics_ops.rejects import Rejected
from aesthetics_ops.settings import PixelSettings

__all__ = ["codec_fingerprint", "codec_releases", "converter", "require_converter"]

_LIBRARIES: Final = ("opencv-python-headless", "pillow", "pillow-heif", "simplejpeg")
_DIGITS: Final = 16
_MOST_PIXELS: Final = 1_000_000
_KEEP: Final = PixelSettings("keep", 95, None, _MOST_PIXELS)
_BASELINE: Final = PixelSettings("keep", 95, None, _MOST_PIXELS, "baseline")
# The probes' longer side is 240 px, or less where it does not matter.
_SMALLER: Final = PixelSettings("keep", 90, 108, _MOST_PIXELS)  # averaged
_JPEG_ONLY: Final = (
    PixelSettings("reencode", 95, None, _MOST_PIXELS),
    PixelSettings("reencode", 70, None, _MOST_PIXELS),
    PixelSettings("keep", 90, 192, _MOST_PIXELS),  # interpolated
    PixelSettings("keep", 90, 60, _MOST_PIXELS),  # decoded at 1/2
    PixelSettings("keep", 90, 30, _MOST_PIXELS),  # at 1/4
    PixelSettings("keep", 90, 15, _MOST_PIXELS),  # at 1/8
)


def converter(pixels: PixelSettings) -> Converter:
    """Return what makes records from photos in this process.

    Args:
        pixels: what is asked for; the library that codes without loss counts only where it is.

    Raises:
        SettingsError: `pixels` asks for a library that this machine does not have.
    """
    codecs = codec_fingerprint()
    if pixels.makes_baseline:
        codecs = hashlib.sha256(f"{codecs} {_lossless_fingerprint()}".encode()).hexdigest()[:_DIGITS]
    return Converter(CONVERTER_VERSION, codecs)


def codec_fingerprint() -> str:
    """Return a digest of what becomes of the probe photos here, 16 hex digits; found once per process.

    Photos are told apart by their bytes, sizes, transforms and hash, rejects by their reason.  The decoders' names count
    too: where one is added, other files become photos.
    """
    return _fingerprint(tuple(decoder.name for decoder in decoders()))


def codec_releases(pixels: PixelSettings) -> dict[str, str]:
    """Return what the fingerprint depends on, as far as it is known without a conversion: takes no time.

    That is the libraries' releases, the kind of processor and the decoders' names.  The library that codes without loss
    does not say its release, so what it writes stands for that, where `pixels` asks for it.

    Raises:
        SettingsError: as `converter`.
    """
    names = " ".join(decoder.name for decoder in decoders())
    releases = {name: _release(name) for name in _LIBRARIES} | {"processor": platform.machine(), "decoders": names}
    return releases | ({"libturbojpeg": _lossless_fingerprint()} if pixels.makes_baseline else {})


def require_converter(planned: Converter, releases: Mapping[str, str], pixels: PixelSettings) -> None:
    """Make sure that this process makes the records that a plan's digests stand for.

    Only where the releases differ from the plan's are the probe photos converted.

    Args:
        planned: that the plan was made for.
        releases: `codec_releases` where it was made.
        pixels: what the plan asks for.

    Raises:
        PermanentError: this process would make others, or lacks a library.
    """
    here = codec_releases(pixels)
    if planned.version == CONVERTER_VERSION and here == releases:
        return
    found = converter(pixels)
    if found != planned:
        differing = {name: (releases.get(name, "nothing"), here.get(name, "nothing")) for name in {**releases, **here}}
        words = ", ".join(f"{name} {then}, here {now}" for name, (then, now) in differing.items() if then != now)
        raise PermanentError(
            f"the plan is for converter {planned.version} with codecs {planned.codecs!r}, this worker has converter "
            f"{found.version} with codecs {found.codecs!r} and would make other bytes ({words or 'same libraries'}); "
            "install the same releases on all workers, or run plan again"
        )


@cache
def _fingerprint(decoder_names: tuple[str, ...]) -> str:
    digest = hashlib.sha256(" ".join(decoder_names).encode())
    for name, data in _probes():
        for pixels in (_KEEP, _SMALLER, *(_JPEG_ONLY if name.endswith(".jpg") else ())):
            photo = convert_photo(data, pixels)
            if isinstance(photo, Rejected):
                digest.update(json.dumps([name, photo.reason]).encode())
                continue
            entry = [name, len(photo.jpeg), photo.height_px, photo.width_px, photo.transforms, photo.phash]
            digest.update(json.dumps(entry).encode())
            digest.update(photo.jpeg)
    return digest.hexdigest()[:_DIGITS]


@cache
def _lossless_fingerprint() -> str:
    digest = hashlib.sha256()
    for name, data in _probes():
        if name.endswith(".jpg"):
            photo = convert_photo(data, _BASELINE)
            if isinstance(photo, Converted):
                digest.update(photo.jpeg)
    return digest.hexdigest()[:_DIGITS]


def _probes() -> Iterator[tuple[str, bytes]]:
    folder = resources.files("aesthetics_ops.pixels") / "probe"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        yield file.name, file.read_bytes()


@cache
def _release(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # another build of the library, of another name
        return "unknown"
