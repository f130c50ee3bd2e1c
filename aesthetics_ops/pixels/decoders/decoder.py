"""What an image decoder is: how to recognise a format, and how to open its first image."""

from collections.abc import Callable
from dataclasses import dataclass

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.gate import SizeGate

__all__ = ["Decoder", "starts_with"]


@dataclass(frozen=True, slots=True)
class Decoder:
    """The decoder of one format.

    Attributes:
        name: of the format, lower case; details of rejects start with it.
        recognises: whether a whole file is of this format; looks at its first kilobytes only, and never at its name.
        read: opens the first image, strictly.  It passes the declared height and width through the gate before it
            takes memory for pixels.  It may raise anything: a `Refusal` says what it is, `decode_image` makes one of
            every other exception.
    """

    name: str
    recognises: Callable[[bytes], bool]
    read: Callable[[bytes, SizeGate], Decoded]


def starts_with(*magics: bytes) -> Callable[[bytes], bool]:
    """Return a test for a file that starts with one of these."""
    return lambda data: data.startswith(magics)
