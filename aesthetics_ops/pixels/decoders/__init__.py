"""Decode, with Pillow and libheif, what the strict JPEG decoder does not: into 8-bit gray or RGB in sRGB.

First image only, as strictly as the decoders can be.
In: bytes whose format is known.  Out: `Decoded`, or a `Refusal` with the decoder's own words.  Nothing is allocated
for an image whose header declares more pixels than allowed.  The decoders' warnings go into the refusal's detail and
nowhere else.

A decoder is one file of this folder and one entry of `_DECODERS`; code outside this package adds one with
`register_decoder`.
"""

from typing import Final

from aesthetics_ops.pixels.decoded import Decoded, finish_colours
from aesthetics_ops.pixels.decoders.avif import AVIF
from aesthetics_ops.pixels.decoders.bmp import BMP
from aesthetics_ops.pixels.decoders.decoder import Decoder, starts_with
from aesthetics_ops.pixels.decoders.gif import GIF
from aesthetics_ops.pixels.decoders.heif import HEIF
from aesthetics_ops.pixels.decoders.jpeg import JPEG
from aesthetics_ops.pixels.decoders.png import PNG
from aesthetics_ops.pixels.decoders.tiff import TIFF
from aesthetics_ops.pixels.decoders.webp import WEBP
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.messages import captured_messages
from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["Decoder", "decode_image", "decoders", "register_decoder", "starts_with"]

_UNSUPPORTED_WORDS: Final = ("unsupported", "not supported", "unknown pixel mode", "unknown data organization")
# in order of recognition: an AVIF may name a brand of HEIF's too
_DECODERS: dict[str, Decoder] = {decoder.name: decoder for decoder in (JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIF)}


def decoders() -> tuple[Decoder, ...]:
    """Return every decoder, in the order in which they are asked whether they recognise a file."""
    return tuple(_DECODERS.values())


def register_decoder(decoder: Decoder) -> None:
    """Add a decoder from outside, for this process; it is asked after the others.

    Its name becomes part of the codec fingerprint, so of every recipe: a worker that lacks it refuses the plan.

    Raises:
        ValueError: there is one of this name.
    """
    if decoder.name in _DECODERS:
        raise ValueError(f"there is a decoder {decoder.name!r} already; give this one another name")
    _DECODERS[decoder.name] = decoder


def decode_image(data: bytes, kind: str, gate: SizeGate) -> Decoded:
    """Decode the first image of a file.

    Args:
        data: whole file.
        kind: name of its decoder, as `recognise` gives it.
        gate: what its declared size must pass.

    Returns:
        `L` or `RGB`, 8 bit, sRGB, over white; not yet turned by `orientation`.

    Raises:
        Refusal: `too_large`, `unsupported_format`, or `corrupt` with the decoder's words.
    """
    with captured_messages() as messages:
        try:
            decoded = _DECODERS[kind].read(data, gate)
            decoded.image.load()
            return finish_colours(decoded)
        except (Refusal, MemoryError):
            raise
        except Exception as error:  # a process boundary: decoders fed with hostile bytes raise whatever they like
            said = "; ".join((*messages, str(error) or type(error).__name__))
            raise Refusal(_reason(error, said), f"{kind}: {said}") from error


def _reason(error: Exception, said: str) -> RejectReason:
    from PIL.Image import DecompressionBombError

    if isinstance(error, DecompressionBombError):  # Pillow's own limit, where it cannot be passed by
        return RejectReason.TOO_LARGE
    unsupported = any(word in said.lower() for word in _UNSUPPORTED_WORDS)
    return RejectReason.UNSUPPORTED_FORMAT if unsupported else RejectReason.CORRUPT
