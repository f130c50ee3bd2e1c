"""From a TIFF's strips or tiles to 8-bit levels: byte order, depth, predictor, planes.

In: a directory and the file.  Out: `Decoded`.  Everything that the format leaves open is decided here and in
docs/pixels.md; what has no agreed meaning is `unsupported_format`.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aesthetics_ops.pixels.decoded import Decoded
from aesthetics_ops.pixels.gate import SizeGate
from aesthetics_ops.pixels.tiff.colours import with_colours
from aesthetics_ops.pixels.tiff.directory import Directory, Tag
from aesthetics_ops.pixels.tiff.form import PALETTE, YCBCR, Form, read_form, unsupported
from aesthetics_ops.pixels.tiff.segments import JPEG, Layout, read_rows
from aesthetics_ops.rejects import Refusal, RejectReason

if TYPE_CHECKING:
    from aesthetics_ops.pixels.opencv import Pixels

__all__ = ["decode_directory"]

_NONE: Final = 1  # compression
_BAND_BYTES: Final = 4 << 20
_TWELVE_BITS: Final = 1 << 12
_WHOLE_FILE: Final = (1 << 32) - 1  # rows per strip: all
_JPEG_COLOURS: Final = {1: "GRAY", 3: "RGB", 4: "CMYK"}  # by components


def decode_directory(data: bytes, directory: Directory, gate: SizeGate) -> Decoded:
    """Decode one image; not yet turned, its profile not yet applied.

    Raises:
        Refusal: `corrupt`, `too_large` or `unsupported_format`.
    """
    form = read_form(directory)
    gate.admit(form.height_px, form.width_px)
    planes = form.samples if form.is_planar else 1
    layout = _layout(directory, form, gate)
    segments = _segments(data, directory, form, planes * layout.down * layout.across)
    per_plane = layout.down * layout.across
    rows = []
    for plane in range(planes):
        if plane < form.colours or plane == form.alpha:
            stack = read_rows(data, segments[plane * per_plane : (plane + 1) * per_plane], layout)
            rows.append(_assembled(stack, layout, form))
    levels = _levels(rows, directory, form)
    return with_colours(levels, directory, form)


def _layout(directory: Directory, form: Form, gate: SizeGate) -> Layout:
    """Read how rows are cut into strips or tiles."""
    width, height = directory.number(Tag.TILE_WIDTH, form.width_px), directory.number(Tag.TILE_HEIGHT)
    is_tiled = Tag.TILE_WIDTH in directory.values and height > 0
    if not is_tiled:
        width, height = form.width_px, min(directory.number(Tag.ROWS_PER_STRIP, _WHOLE_FILE), form.height_px)
    if width < 1 or height < 1:
        raise Refusal(RejectReason.CORRUPT, f"tiff: strips or tiles of {width} x {height} px")
    across, down = -(-form.width_px // width), -(-form.height_px // height)
    gate.admit(down * height if is_tiled else form.height_px, across * width)  # a tile may be larger than the image
    block_width, block_height = form.blocks
    whole = width % block_width == 0 or across == 1, height % block_height == 0 or down == 1
    bits = width * form.together * form.bits
    if not all(whole) or (across > 1 and bits % 8) or (form.blocks != (1, 1) and form.has_predictor):
        raise unsupported(f"strips or tiles of {width} x {height} px of this kind are not decoded")
    row_bytes = -(-bits // 8)
    if form.blocks != (1, 1):
        row_bytes = -(-width // block_width) * (block_width * block_height + 2)
    last = height if is_tiled else form.height_px - (down - 1) * height
    if form.compression == JPEG and form.together not in _JPEG_COLOURS:
        raise unsupported(f"JPEG with {form.together} samples is not decoded")
    return Layout(
        compression=form.compression,
        columns=width,
        row_bytes=row_bytes,
        segment_rows=-(-height // block_height),
        down=down,
        across=across,
        last_rows=-(-last // block_height),
        reversed_bits=directory.number(Tag.FILL_ORDER, 1) == 2,
        fax_options=directory.number(Tag.FAX3_OPTIONS if form.compression == 3 else Tag.FAX4_OPTIONS),
        jpeg_tables=directory.raw(Tag.JPEG_TABLES) or b"",
        jpeg_colours=_JPEG_COLOURS.get(form.together, ""),
        jpeg_transform=1 if form.photometric == YCBCR and not form.is_planar else 0,
    )


def _segments(data: bytes, directory: Directory, form: Form, needed: int) -> list[tuple[int, int | None]]:
    """Return start and length of each strip or tile; a length that is not told ends where the next one starts."""
    starts = directory.numbers(Tag.TILE_OFFSETS) or directory.numbers(Tag.STRIP_OFFSETS)
    lengths = directory.numbers(Tag.TILE_BYTES) or directory.numbers(Tag.STRIP_BYTES)
    if len(starts) < needed:
        raise Refusal(RejectReason.CORRUPT, f"tiff: {len(starts)} strips or tiles, {needed} are needed")
    if form.compression == _NONE:  # the size is known, and some writers state another
        return [(start, None) for start in starts[:needed]]
    places = sorted(set(starts))
    found: list[tuple[int, int | None]] = []
    for index, start in enumerate(starts[:needed]):
        length = lengths[index] if index < len(lengths) else 0
        after = bisect_right(places, start)
        end = start + length if length else places[after] if after < len(places) else len(data)
        found.append((start, min(end, len(data)) - start))
    return found


def _assembled(stack: "Pixels", layout: Layout, form: Form) -> "Pixels":
    """Undo the predictor, and lay tiles side by side: (rows, bytes), uint8."""
    if form.has_predictor:
        stack = _summed(stack, layout.columns, form)
    if layout.across == 1:
        return stack
    tiles = stack.reshape(layout.down, layout.across, layout.segment_rows, layout.row_bytes)
    return tiles.transpose(0, 2, 1, 3).reshape(layout.down * layout.segment_rows, layout.across * layout.row_bytes)


def _summed(stack: "Pixels", columns: int, form: Form) -> "Pixels":
    """Add to each sample its left neighbour's."""
    kind = np.dtype(np.uint8 if form.bits == 8 else f"{form.order}u2")
    samples = stack.view(kind).reshape(len(stack), columns, form.together).astype(kind.newbyteorder("="))
    np.add.accumulate(samples, axis=1, out=samples)
    return samples.astype(kind, copy=False).reshape(len(stack), -1).view(np.uint8)


def _levels(rows: "list[Pixels]", directory: Directory, form: Form) -> "Pixels":
    """Return the image's samples with 8 bits each: (height, width, samples that are wanted), uint8.

    Of a palette they are indices.
    """
    if form.photometric == YCBCR and form.compression != JPEG and not form.is_planar and form.blocks != (1, 1):
        return _from_blocks(rows[0], form)
    depths = _depths(rows, directory, form)
    wanted = form.colours + (form.alpha is not None)
    levels = np.empty((form.height_px, form.width_px, wanted), np.uint8)
    indices = [*range(form.colours)] + ([form.alpha] if form.alpha is not None else [])
    for plane, plane_rows in enumerate(rows):
        for at, band in _bands(plane_rows, form):
            for place, index in [(plane, 0)] if form.is_planar else list(enumerate(indices)):
                to_8bit = _to_8bit(band[:, :, index], depths[place], form.photometric == PALETTE and place == 0)
                levels[at : at + len(band), :, place] = to_8bit
    return levels


def _bands(rows: "Pixels", form: Form) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield, some rows at a time, the first row's number and the samples as numbers: (rows, width, samples together)."""
    step = max(1, _BAND_BYTES // rows.shape[1])
    bits, together = form.bits, form.together
    for at in range(0, form.height_px, step):
        band = rows[at : min(at + step, form.height_px)]
        if bits == 8:
            samples: NDArray[Any] = band
        elif bits == 16:
            samples = np.ascontiguousarray(band).view(f"{form.order}u2")
        else:
            flags = np.unpackbits(band, axis=1)
            flags = flags[:, : flags.shape[1] // bits * bits].reshape(len(band), -1, bits)
            samples = np.zeros(flags.shape[:2], np.uint16)
            for bit in range(bits):
                samples = samples << 1 | flags[:, :, bit]
        yield at, samples[:, : form.width_px * together].reshape(len(band), form.width_px, together)


def _depths(rows: "list[Pixels]", directory: Directory, form: Form) -> list[int]:
    """Return how many bits count in each wanted sample: colours agree, alpha may differ.

    Cameras and scanners store 12 bits in 16-bit files.  Such a file says so, or shows it: no sample reaches 4,096.
    """
    count = form.colours + (form.alpha is not None)
    if form.bits != 16:
        return [form.bits] * count
    tops = [
        int(max(band[:, :, index].max() for _, band in _bands(plane, form))) for plane, index in _places(rows, form)
    ]
    told = max(directory.numbers(Tag.MAX_SAMPLE), default=0)
    parts = [tops[: form.colours], tops[form.colours :]]
    return [_depth(max(part), told) for part in parts for _ in part]


def _places(rows: "list[Pixels]", form: Form) -> "list[tuple[Pixels, int]]":
    """Return in which rows and at which place each wanted sample lies."""
    if form.is_planar:
        return [(plane, 0) for plane in rows]
    return [(rows[0], index) for index in (*range(form.colours), *([] if form.alpha is None else [form.alpha]))]


def _depth(top: int, told: int) -> int:
    if told and top <= told:
        return max(8, int(told).bit_length())
    return 12 if 0 < top < _TWELVE_BITS else 16


def _to_8bit(samples: NDArray[Any], bits: int, is_index: bool) -> NDArray[Any]:
    if bits > 8:
        return samples >> (bits - 8)
    if is_index or bits == 8:
        return samples
    most = (1 << bits) - 1
    return (samples * np.uint16(255) + most // 2) // most


def _from_blocks(rows: "Pixels", form: Form) -> "Pixels":
    """Spread blocks of YCbCr, some brightnesses and one pair of chroma samples each: (height, width, 3), uint8."""
    width, height = form.blocks
    blocks = rows.reshape(len(rows), -1, width * height + 2)
    levels = np.empty((form.height_px, form.width_px, 3), np.uint8)
    bright = blocks[:, :, :-2].reshape(*blocks.shape[:2], height, width).transpose(0, 2, 1, 3)
    levels[:, :, 0] = bright.reshape(len(rows) * height, -1)[: form.height_px, : form.width_px]
    for place in (1, 2):
        chroma = blocks[:, :, width * height + place - 1].repeat(height, axis=0).repeat(width, axis=1)
        levels[:, :, place] = chroma[: form.height_px, : form.width_px]
    return levels
