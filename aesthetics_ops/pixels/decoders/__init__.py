"""Decode, with Pillow and libheif, what the strict JPEG decoder does not: into 8-bit gray or RGB in sRGB.

First image only, as strictly as the decoders can be.
In: bytes whose format is known.  Out: `Decoded`, or a `Refusal` with the decoder's own words.  Nothing is allocated
for an image whose header declares more pixels than allowed.  The decoders' warnings go into the refusal's detail and
nowhere else.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aesthetics_ops.pixels.decoded import Decoded, finish_colours
from aesthetics_ops.pixels.decoders.avif import read_avif
from aesthetics_ops.pixels.decoders.bmp import read_bmp
from aesthetics_ops.pixels.decoders.gif import read_gif
from aesthetics_ops.pixels.decoders.heif import read_heif
from aesthetics_ops.pixels.decoders.jpeg import read_jpeg
from aesthetics_ops.pixels.decoders.png import read_png
from aesthetics_ops.pixels.decoders.tiff import read_tiff
from aesthetics_ops.pixels.decoders.webp import read_webp
from aesthetics_ops.pixels.formats import Format
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.messages import captured_messages
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    pass

__all__ = ["decode_image"]

_UNSUPPORTED_WORDS: Final = ("unsupported", "not supported", "unknown pixel mode", "unknown data organization")
_READERS: Final[dict[Format, Callable[[bytes, SizeGate], Decoded]]] = {
    Format.JPEG: read_jpeg,
    Format.PNG: read_png,
    Format.WEBP: read_webp,
    Format.GIF: read_gif,
    Format.BMP: read_bmp,
    Format.TIFF: read_tiff,
    Format.AVIF: read_avif,
    Format.HEIF: read_heif,
}


def decode_image(data: bytes, kind: Format, gate: SizeGate) -> Decoded:
    """Decode the first image of a file.

    Args:
        data: whole file.
        kind: its format.
        gate: what its declared size must pass.

    Returns:
        `L` or `RGB`, 8 bit, sRGB, over white; not yet turned by `orientation`.

    Raises:
        Refusal: `too_large`, `unsupported_format`, or `corrupt` with the decoder's words.
    """
    with captured_messages() as words:
        try:
            decoded = _READERS[kind](data, gate)
            decoded.image.load()
            return finish_colours(decoded)
        except (Refusal, MemoryError):
            raise
        except Exception as error:  # a process boundary: decoders fed with hostile bytes raise whatever they like
            said = "; ".join((*words, str(error) or type(error).__name__))
            raise Refusal(_reason(error, said), f"{kind}: {said}") from error


def _reason(error: Exception, said: str) -> RejectReason:
    from PIL.Image import DecompressionBombError

    if isinstance(error, DecompressionBombError):  # Pillow's own limit, where it cannot be passed by
        return RejectReason.TOO_LARGE
    unsupported = any(word in said.lower() for word in _UNSUPPORTED_WORDS)
    return RejectReason.UNSUPPORTED_FORMAT if unsupported else RejectReason.CORRUPT
