"""A small TIFF writer for tests: any byte order, depth, layout and compression, from whole-number samples.

It shares no code with the product: what a file must look like is computed from the samples that went into it.
"""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

Samples = NDArray[np.uint16]
NONE, FAX3, FAX4, LZW, DEFLATE, PACKBITS = 1, 3, 4, 5, 8, 32773
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 7: "B", 16: "Q"}


@dataclass(frozen=True, slots=True)
class Form:
    """How samples are stored.

    Attributes:
        order: `<` or `>`.
        bits: of one sample.
        photometric, compression: values of the tags.
        is_planar: each sample in a plane of its own.
        rows_per_strip: 0 for one strip.
        tile: width and height; None for strips.
        is_big: BigTIFF.
        predictor: 1, or 2 for differences.
        reversed_bits: the lowest bit of a byte first.
        tags: others, by number: type and values.
    """

    order: str = "<"
    bits: int = 8
    photometric: int = BLACK_IS_ZERO
    compression: int = NONE
    is_planar: bool = False
    rows_per_strip: int = 0
    tile: tuple[int, int] | None = None
    is_big: bool = False
    predictor: int = 1
    reversed_bits: bool = False
    tags: Mapping[int, tuple[int, Sequence[int]]] = field(default_factory=dict)


def tiff(samples: Samples, form: Form, before: Sequence[tuple[Samples, Form]] = ()) -> bytes:
    """Write a file: images that stand in front, then this one.

    Args:
        samples: (height, width, samples of a pixel).
        form: of the image.
        before: images that come first, of the same byte order and kind.
    """
    images = [*before, (samples, form)]
    body = bytearray((b"II" if form.order == "<" else b"MM") + struct.pack(f"{form.order}H", 43 if form.is_big else 42))
    body += struct.pack(f"{form.order}HHQ", 8, 0, 0) if form.is_big else bytes(4)
    link = 8 if form.is_big else 4
    field_format = form.order + ("Q" if form.is_big else "I")
    for image_samples, image_form in images:
        tags = _tags(image_samples, image_form, body)
        at, following = _write_directory(tags, image_form, body)
        struct.pack_into(field_format, body, link, at)
        link = following
    return bytes(body)


def _tags(samples: Samples, form: Form, body: bytearray) -> dict[int, tuple[int, Sequence[int]]]:
    height, width, count = samples.shape
    planes = [samples[:, :, index : index + 1] for index in range(count)] if form.is_planar else [samples]
    starts, lengths = [], []
    for plane in planes:
        for part in _parts(plane, form):
            coded = _coded(part, form)
            if form.reversed_bits:
                coded = bytes(int(f"{byte:08b}"[::-1], 2) for byte in coded)
            starts.append(len(body))
            lengths.append(len(coded))
            body += coded + bytes(len(coded) % 2)
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [form.bits] * count), 259: (3, [form.compression]),
        262: (3, [form.photometric]), 277: (3, [count]), 284: (3, [2 if form.is_planar else 1]),
    }  # fmt: skip
    if form.tile:
        tags |= {322: (3, [form.tile[0]]), 323: (3, [form.tile[1]]), 324: (4, starts), 325: (4, lengths)}
    else:
        tags |= {273: (4, starts), 278: (4, [form.rows_per_strip or height]), 279: (4, lengths)}
    if form.predictor != 1:
        tags[317] = (3, [form.predictor])
    if form.reversed_bits:
        tags[266] = (3, [2])
    return {**tags, **form.tags}


def _parts(plane: Samples, form: Form) -> list[Samples]:
    height, width, _ = plane.shape
    if not form.tile:
        step = form.rows_per_strip or height
        return [plane[at : at + step] for at in range(0, height, step)]
    tile_width, tile_height = form.tile
    filled = np.pad(plane, ((0, -height % tile_height), (0, -width % tile_width), (0, 0)), "edge")
    return [
        filled[top : top + tile_height, left : left + tile_width]
        for top in range(0, height, tile_height)
        for left in range(0, width, tile_width)
    ]


def _coded(part: Samples, form: Form) -> bytes:
    rows, _, _ = part.shape
    if form.compression in (FAX3, FAX4):
        return _fax(part[:, :, 0], form.compression)
    if form.predictor == 2:
        part = np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1])) & np.uint16((1 << form.bits) - 1)
    if form.bits == 8:
        plain = part.astype(np.uint8).tobytes()
    elif form.bits == 16:
        plain = part.astype(f"{form.order}u2").tobytes()
    else:
        flags = part.reshape(rows, -1)[:, :, None] >> np.arange(form.bits - 1, -1, -1) & 1
        plain = np.packbits(flags.reshape(rows, -1).astype(np.uint8), axis=1).tobytes()
    match form.compression:
        case 5:
            return lzw(plain)
        case 8:
            return zlib.compress(plain)
        case 32773:
            return _packbits(plain, len(plain) // rows)
        case _:
            return plain


def lzw(plain: bytes) -> bytes:
    """Compress as TIFF 6.0, section 13, says."""
    codes: list[tuple[int, int]] = [(256, 9)]
    table = {bytes((byte,)): byte for byte in range(256)}
    width, known = 9, b""
    for byte in plain:
        longer = known + bytes((byte,))
        if longer in table:
            known = longer
            continue
        codes.append((table[known], width))
        table[longer] = len(table) + 2
        width = (len(table) + 2).bit_length()
        if len(table) + 2 == 4095:
            codes.append((256, 12))
            table, width = {bytes((each,)): each for each in range(256)}, 9
        known = bytes((byte,))
    codes += [(table[known], width)] if known else []
    codes.append((257, (len(table) + 3).bit_length()))
    text = "".join(f"{code:0{size}b}" for code, size in codes)
    return int(text + "0" * (-len(text) % 8), 2).to_bytes((len(text) + 7) // 8, "big")


def _packbits(plain: bytes, row_bytes: int) -> bytes:
    out = bytearray()
    for row in range(0, len(plain), row_bytes):
        at, end = row, row + row_bytes
        while at < end:
            run = 1
            while run < 128 and at + run < end and plain[at + run] == plain[at]:
                run += 1
            if run > 1:
                out += bytes((257 - run, plain[at]))
                at += run
            else:
                stop = at + 1
                while stop < min(end, at + 128) and not (stop + 1 < end and plain[stop] == plain[stop + 1]):
                    stop += 1
                out += bytes((stop - at - 1,)) + plain[at:stop]
                at = stop
    return bytes(out)


def _fax(flags: NDArray[np.uint16], compression: int) -> bytes:
    """Let libtiff compress one strip: a sample of 1 is a run that fax machines call black."""
    file = io.BytesIO()
    image = Image.fromarray(flags != 0)
    image.save(file, "TIFF", compression={FAX3: "group3", FAX4: "group4"}[compression], strip_size=1 << 30)
    written = TiffImagePlugin.TiffImageFile(io.BytesIO(file.getvalue())).tag_v2
    (start,), (length,) = written[273], written[279]
    coded = file.getvalue()[start : start + length]
    assert written[262] == BLACK_IS_ZERO, "so that bits are as they were given"
    return coded


def _write_directory(tags: dict[int, tuple[int, Sequence[int]]], form: Form, body: bytearray) -> tuple[int, int]:
    """Append a directory; return where it starts and where its link to the next one stands."""
    field_format = form.order + ("Q" if form.is_big else "I")
    entries = bytearray()
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{form.order}{len(values)}{_TYPES[kind]}", *values)
        entries += struct.pack(f"{form.order}HH", tag, kind) + struct.pack(field_format, len(values))
        if len(packed) > struct.calcsize(field_format):
            entries += struct.pack(field_format, len(body))
            body += packed + bytes(len(packed) % 2)
        else:
            entries += packed.ljust(struct.calcsize(field_format), b"\0")
    at = len(body)
    body += struct.pack(form.order + ("Q" if form.is_big else "H"), len(tags)) + entries
    link = len(body)
    body += bytes(struct.calcsize(field_format))
    return at, link
