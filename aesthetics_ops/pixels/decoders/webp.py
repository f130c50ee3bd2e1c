"""WebP, lossy and lossless; the first frame of an animation."""

import struct
from io import BytesIO

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.decoders.decoder import Decoder
from aesthetics_ops.pixels.decoders.info import with_info
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.rejects import Refusal, RejectReason

__all__ = ["WEBP"]


def _read(data: bytes, gate: SizeGate) -> Decoded:
    """Open the first image of a WebP."""
    from PIL import WebPImagePlugin

    declared_bytes = int.from_bytes(data[4:8], "little") + 8
    if declared_bytes > len(data):
        raise Refusal(RejectReason.CORRUPT, f"webp: declares {declared_bytes} bytes and has {len(data)}")
    gate.admit(*_webp_size(data))  # the decoder takes the canvas's memory when it is made
    image = WebPImagePlugin.WebPImageFile(BytesIO(data[:declared_bytes]))
    return with_info(image)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return height and width in px from the first chunk; (0, 0) when it is none that starts a WebP."""
    head = data[12:30].ljust(18, b"\0")
    match head[:4]:
        case b"VP8 ":
            width_px, height_px = struct.unpack_from("<HH", head, 14)
            return height_px & 0x3FFF, width_px & 0x3FFF
        case b"VP8L":
            sides = int.from_bytes(head[9:13], "little")
            return (sides >> 14 & 0x3FFF) + 1, (sides & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[15:18], "little") + 1, int.from_bytes(head[12:15], "little") + 1
        case _:
            return 0, 0


WEBP = Decoder("webp", lambda data: data.startswith(b"RIFF") and data.startswith(b"WEBP", 8), _read)
