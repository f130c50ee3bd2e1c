"""A score file as UTF-8 text, however it was written: compressed, in UTF-16, or in the Latin-1 of Windows."""

from typing import Final

import pyarrow as pa

from aesthetics_ops.errors import LabelError

__all__ = ["to_utf8", "unpack"]

_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MOST_BYTES: Final = 64 << 20  # that any file may have unpacked
_MOST_TIMES: Final = 100  # its size that a larger one may have; text of scores has 3 to 20 times


def unpack(data: bytes, source: str) -> bytes:
    """Return a file's content, unpacked if it is compressed with gzip or zstd.

    Raises:
        LabelError: it is broken, or is so much larger unpacked that it can be no file of scores.
    """
    kind = next((kind for magic, kind in _COMPRESSED.items() if data.startswith(magic)), None)
    if kind is None:
        return data
    most = max(_MOST_BYTES, _MOST_TIMES * len(data))
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), kind) as stream:
            content = bytes(stream.read(most + 1))
    except (OSError, pa.ArrowException) as error:
        raise LabelError(f"label file {source!r} is not readable as {kind}: {error}; write it again") from error
    if len(content) > most:
        raise LabelError(
            f"label file {source!r} has {len(data)} bytes, and more than {most} unpacked from {kind}; unpack it yourself, "
            "if it is what you mean"
        )
    return content


def to_utf8(data: bytes, source: str) -> tuple[bytes, str | None]:
    """Return a text file as UTF-8, and what has to be said about that; None where it is UTF-8 already.

    Raises:
        LabelError: it is no text.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16").encode(), "is UTF-16 text"
        except UnicodeError as error:
            raise LabelError(f"label file {source!r} is not readable as UTF-16: {error}; save it as UTF-8") from error
    if data.isascii():
        return data, None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is 0x{data[error.start]:02x}"
    else:
        return data, None
    if (zero := data.find(0)) >= 0:
        raise LabelError(
            f"label file {source!r} is no text: byte {zero} is 0x00; give a file of scores, or save it as CSV in UTF-8"
        )
    try:
        text, name = data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, name = data.decode("latin-1"), "Latin-1"
    return text.encode(), f"is not UTF-8 text ({where}); it was read as {name}: save it as UTF-8 if names look wrong"
