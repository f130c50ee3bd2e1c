"""A score file as UTF-8 text, however it was written: compressed, in UTF-16, or in Windows-1252; other encodings are refused."""

import codecs
import re
from contextlib import suppress
from typing import Final

import pyarrow as pa

from aesthetics_ops.errors import LabelError
from aesthetics_ops.sources.labels.file import BYTE_ORDER_MARK

__all__ = ["kind_of_other", "to_utf8", "unpack"]

_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MOST_BYTES: Final = 64 << 20  # that any file may have unpacked
_MOST_TIMES: Final = 100  # its size that a larger one may have; text of scores has 3 to 20 times


_OTHERS: Final = {
    b"%pdf-": "a PDF", b"<!doctype html": "a web page", b"<html": "a web page", b"<?xml": "XML", b"\xff\xd8\xff": "a JPEG",
    b"\x89png\r\n": "a PNG", b"gif89a": "a GIF", b"\xfd7zxz\x00": "packed with xz", b"7z\xbc\xaf": "a 7z archive", b"rar!\x1a": "a RAR archive",
    b"sqlite format 3\x00": "an SQLite database", b"\x89hdf\r\n": "an HDF5 file", b"\x93numpy": "a NumPy array", b"arrow1\x00": "an Arrow file",
}  # fmt: skip
_COMMENTED_JSON: Final = re.compile(rb"\s*(//[^\n]*\n\s*|/\*[^*]*\*/\s*)+[\[{]")
_MOST_COMMENTS: Final = 4096  # bytes of them
_BZIP2_BLOCK: Final = b"1AY&SY"
_LOOKED_AT: Final = 1 << 20  # bytes of a text, to tell its encoding
_RUNS: Final = re.compile(rb"[\x80-\xff]+")
_LONG_RUN: Final = 4  # bytes
_ODD_SIGNS: Final = re.compile(  # bytes that stand for nothing in Windows-1252, and signs that do not stand before a letter
    rb"[\x81\x8d\x8f\x90\x9d]|[\x82\x83\x86-\x89\x8b\x98\x9b\xa2-\xa8\xac\xaf\xb1-\xb3\xb5\xb6\xb8\xb9\xbc-\xbe][A-Za-z@[\]^_`{|}~\x80-\xff]"
)
_FEW_SIGNS: Final = 2
_OTHER_ENCODINGS: Final = {
    "Shift-JIS": "cp932", "EUC-JP": "euc_jp", "GBK": "gbk", "Big5": "big5", "EUC-KR": "euc_kr", "Windows-1251": "cp1251", "KOI8-R": "koi8_r",
}  # fmt: skip


def kind_of_other(data: bytes) -> str | None:
    """Return what a file is that is known by its first bytes, and is none of scores; None where it may be one."""
    if data.startswith(b"BZh") and data[4:10] == _BZIP2_BLOCK:
        return "packed with bzip2"
    if data[257:262] == b"ustar":
        return "a tar archive"
    if _COMMENTED_JSON.match(data[:_MOST_COMMENTS].removeprefix(BYTE_ORDER_MARK)):
        return "JSON with comments"
    first = data[:64].removeprefix(BYTE_ORDER_MARK).lstrip().lower()
    return next((what for magic, what in _OTHERS.items() if first.startswith(magic)), None)


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
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise LabelError(f"label file {source!r} is UTF-32 text; save it as CSV in UTF-8")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16").encode(), "is UTF-16 text"
        except UnicodeError as error:
            raise LabelError(f"label file {source!r} is not readable as UTF-16: {error}; save it as UTF-8") from error
    if (zero := data.find(0)) >= 0:
        what = "looks like UTF-16 without its mark" if 0 in data[:2] else f"is no text: byte {zero} is 0x00"
        raise LabelError(f"label file {source!r} {what}; give a file of scores, or save it as CSV in UTF-8")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # as old Macs and some programs end lines
    if data.isascii():
        return data, None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        first = error.start
    else:
        return _without_marks(data)
    where = f"byte {first} is 0x{data[first]:02x}"
    other = _RUNS.search(data)
    begin = other.start() if other else first
    some = data[begin : begin + _LOOKED_AT]
    if not _is_western(some):
        raise LabelError(
            f"label file {source!r} is not UTF-8 text ({where}), and not Windows-1252 either{_may_be(some)}; save it as UTF-8, "
            "or convert it: iconv -f ENCODING -t UTF-8 FILE"
        )
    try:
        text, name = data.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:
        text, name = data.decode("latin-1"), "Latin-1"
    return text.encode(), f"is not UTF-8 text ({where}); it was read as {name}: save it as UTF-8 if names look wrong"


def _is_western(text: bytes) -> bool:
    """Say whether text that is not UTF-8 may be Windows-1252, the encoding of western European languages.

    There most letters are ASCII, so others stand alone or in twos, and signs such as ƒ or ‡ do not begin words.  Other scripts have runs
    of bytes above 0x7f, or such signs where a byte below it is the second of two.
    """
    others = sum(map(len, _RUNS.findall(text)))
    in_runs = sum(len(run) for run in _RUNS.findall(text) if len(run) >= _LONG_RUN)
    odd = len(_ODD_SIGNS.findall(text))
    return 2 * in_runs < others and (odd < _FEW_SIGNS or 4 * odd < others)


def _may_be(text: bytes) -> str:
    """Return in words which encodings a text may be in; empty where none is known."""
    found = []
    for name, codec in _OTHER_ENCODINGS.items():
        with suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(codec)().decode(text)  # its end may be half a character
            found.append(name)
    return f": it may be {', '.join(found)}" if found else ""


def _without_marks(data: bytes) -> tuple[bytes, str | None]:
    """Return a text without the byte order marks that lines begin with where files were put together."""
    found = data.count(b"\n" + BYTE_ORDER_MARK)
    if not found:
        return data, None
    said = f"has {found} byte order marks in the middle, as where files were put together; they were left out"
    return data.replace(b"\n" + BYTE_ORDER_MARK, b"\n"), said
