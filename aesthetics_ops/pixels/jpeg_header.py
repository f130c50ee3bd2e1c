"""Read a JPEG's structure without decoding it: what it declares, what it carries beside its pixels, where it ends.

In: bytes that start with FFD8.  Out: a `JpegHeader`.  Pure, and total: bytes that are not a JPEG after all give a
header whose `problem` says so.  Nothing is allocated that the bytes declare, so this is the gate before any decoder.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

__all__ = ["JpegHeader", "JpegScan", "exif_orientation", "read_jpeg_codings", "read_jpeg_header"]

_SOI: Final = 0xD8
_EOI: Final = 0xD9
_SOS: Final = 0xDA
_DHT: Final = 0xC4
_DQT: Final = 0xDB
_DRI: Final = 0xDD
_JPG: Final = 0xC8
_DAC: Final = 0xCC
_COM: Final = 0xFE
_APP0: Final = 0xE0
_APP1: Final = 0xE1
_APP2: Final = 0xE2
_APP14: Final = 0xEE
_APP15: Final = 0xEF
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {_DHT, _JPG, _DAC} | {0xF7}  # F7: JPEG-LS
_ALONE: Final = frozenset(range(0xD0, 0xD8)) | {0x01}  # markers without a length
_WITH_METADATA: Final = frozenset(range(_APP0, _APP15 + 1)) | {_COM}
_TABLES: Final = frozenset(0xFF00 | marker for marker in (_DHT, _DQT, _DRI))
_PLAIN: Final = frozenset(0xFF00 | marker for marker in _FRAMES | _WITH_METADATA)  # kept, and no more than a length
_MARKER_AND_LENGTH: Final = struct.Struct(">HH")
_ICC: Final = b"ICC_PROFILE\0"
_EXIF: Final = b"Exif\0\0"
_JFIF: Final = b"JFIF\0"
_JFIF_BYTES: Final = 16  # an APP0 of this length holds no thumbnail
_SEQUENTIAL_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC9})
_WHOLE_SCAN: Final = bytes((0, 63, 0))  # the only parameters that a scan of a sequential JPEG can have
_JFIF_VERSION: Final = bytes((1, 2))
_ADOBE_TRANSFORMS: Final = {3: (1, (0, 1)), 4: (2, (0, 2))}  # by components: what libjpeg takes others for, the known
_ADOBE_BYTES: Final = 12  # up to the transform
_MOST_SEGMENTS: Final = 10_000  # a profile has at most 255, a progressive photo a few dozen
_ORIENTATION_TAG: Final = 0x0112
_BASELINE: Final = 0xC0
_PROGRESSIVE: Final = 0xC2
_SAMPLINGS: Final = {  # by how many luma samples, across and down, share a chroma sample
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0",
}  # fmt: skip
_TIFF_SIZES: Final = {1: "B", 3: "H", 4: "I"}  # the integer types an orientation is found in


class JpegScan(NamedTuple):
    """The frame header of a JPEG, as it declares itself.

    Attributes:
        marker: second byte of the SOF marker, 0xC0 to 0xCF or 0xF7; 0 when there is none.
        precision_bits: bits per sample.
        height_px: as declared; 0 is possible.
        width_px: as declared; 0 is possible.
        components: number of colour components, 0 to 255.
        factors: a byte for each component, its sampling factor across in the upper four bits, down in the lower.
    """

    marker: int
    precision_bits: int
    height_px: int
    width_px: int
    components: int
    factors: bytes

    @property
    def sampling(self) -> str:
        """How chroma is sampled: `4:2:0` or another common name, `gray`, or the factors, such as `2x1,1x2,1x1`."""
        return _sampling(self.components, self.factors)


@lru_cache(maxsize=64)
def _sampling(components: int, factors: bytes) -> str:
    if components == 1:
        return "gray"
    sides = [(factor >> 4, factor & 15) for factor in factors]
    if len(sides) == 3 and sides[1] == sides[2] and 0 not in sides[1]:
        (across, rest), (down, more) = map(divmod, sides[0], sides[1])
        if not rest and not more and (across, down) in _SAMPLINGS:
            return _SAMPLINGS[across, down]
    return ",".join(f"{across}x{down}" for across, down in sides)


_NO_FRAME: Final = JpegScan(0, 0, 0, 0, 0, b"")


class JpegHeader(NamedTuple):
    """What the segments of a JPEG say.

    Attributes:
        frame: the first frame header.
        scans: number of scans; 1 in a plain baseline file.
        is_sketch: whether it is progressive and some coefficient is not sent to its last bit: decoders smooth what they
            find in such a file.
        orientation: from EXIF, 1 to 8; 1 when there is none that can be read.
        icc: the colour profile; None when there is none, empty when its parts do not fit together.
        canonical: the same coded data without metadata and without what follows the end marker, with the fields put
            right that decoders ignore; the source itself, or a view of it, when there is nothing to drop or put right.
        is_repaired: whether a field was put right.
        metadata_bytes: bytes of segments that `canonical` leaves out.
        trailing: what follows the end marker.
        problem: the first break of the format in words; None when there is none.
    """

    frame: JpegScan
    scans: int
    is_sketch: bool
    orientation: int
    icc: bytes | None
    canonical: bytes | memoryview
    is_repaired: bool
    metadata_bytes: int
    trailing: memoryview
    problem: str | None

    @property
    def progressive(self) -> bool:
        """Whether it is anything but baseline in one scan: progressive, or rarely extended or in a scan per colour."""
        return _is_progressive(self.frame, self.scans)


class _Segment(NamedTuple):
    """One marker segment: `data[start:end]`, of which `data[body:end]` is the content, or a scan's coded data."""

    marker: int
    start: int
    body: int
    end: int


def read_jpeg_header(data: bytes | memoryview) -> JpegHeader:
    """Walk the marker segments of a JPEG.

    Args:
        data: whole file; starts with FFD8.
    """
    segments, end, problem = _segments(data)
    frames: list[JpegScan] = []
    before_scan: list[_Segment] = []  # what can hold a profile or an orientation
    scans: list[_Segment] = []
    for segment in segments:
        if segment.marker == _SOS:
            scans.append(segment)
        elif segment.marker in _FRAMES:
            frames.append(_frame(data, segment))
        elif not scans and segment.marker in _WITH_METADATA:
            before_scan.append(segment)
    if problem is None and len(frames) != 1:
        problem = f"{len(frames)} frame headers, where a photo has one"
    if problem is None and not scans:
        problem = "no scan"
    sound = _repaired(data, segments, frames[0]) if frames else data
    canonical, metadata_bytes = _without_metadata(sound, segments, end)
    return JpegHeader(
        frame=frames[0] if frames else _NO_FRAME,
        scans=len(scans),
        is_sketch=bool(frames) and frames[0].marker == _PROGRESSIVE and _is_sketch(data, scans, frames[0].components),
        orientation=_orientation(data, before_scan),
        icc=_icc(data, before_scan),
        canonical=canonical,
        is_repaired=sound is not data,
        metadata_bytes=metadata_bytes,
        trailing=memoryview(data)[end:],
        problem=problem,
    )


def read_jpeg_codings(data: bytes | memoryview, places: Iterable[slice]) -> Iterator[tuple[bool, str]]:
    """Yield the `progressive` of each JPEG's header and the `sampling` of its frame, at a third of the cost of all of it.

    Args:
        data: whole files, in one buffer.
        places: where each lies in it.
    """
    view, markers = memoryview(data), _Markers(data)
    for place in places:
        jpeg = view[place]
        segments, _, _ = _segments(jpeg, markers, place.start)
        scans = 0
        frame = None
        for segment in segments:
            if segment.marker == _SOS:
                scans += 1
            elif frame is None and segment.marker in _FRAMES:
                frame = _frame(jpeg, segment)
        frame = frame or _NO_FRAME
        yield _is_progressive(frame, scans), frame.sampling


def _is_progressive(frame: JpegScan, scans: int) -> bool:
    return frame.marker != _BASELINE or scans != 1


def exif_orientation(exif: bytes | memoryview) -> int:
    """Find the orientation in an EXIF block.

    Args:
        exif: a TIFF structure, with or without the `Exif` prefix that JPEG puts before it.

    Returns:
        1 to 8; 1 when there is no such tag, its value is out of range, or the block cannot be read.

    Source:
        EXIF 2.32 (CIPA DC-008), section 4.6.4, tag 274.
    """
    block = bytes(exif).removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for entry in range(entries):
            at = directory + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(f"{order}HHI", block, at)
            if tag == _ORIENTATION_TAG and count == 1 and kind in _TIFF_SIZES:
                (value,) = struct.unpack_from(order + _TIFF_SIZES[kind], block, at + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _segments(
    data: bytes | memoryview, markers: "_Markers | None" = None, before: int = 0
) -> tuple[list[_Segment], int, str | None]:
    """Walk up to and with the end marker, or to the first break.

    Args:
        data: whole file.
        markers: of the buffer that it lies in, where they are known.
        before: bytes of that buffer before it.

    Returns:
        Every segment on the way but tables, which say nothing that is wanted here; the end of the last one; the break in
        words, or None.
    """
    segments: list[_Segment] = []
    last = len(data) - 1
    at = 0
    for _ in range(_MOST_SEGMENTS + 1):
        if at + 2 < last:
            word, length = _MARKER_AND_LENGTH.unpack_from(data, at)
            if 2 <= length <= last - at - 1:
                if word in _TABLES:  # most of a header
                    at += 2 + length
                    continue
                if word in _PLAIN:
                    segments.append(_Segment(word & 0xFF, at, at + 4, at + 2 + length))
                    at += 2 + length
                    continue
        if at >= last:
            return segments, at or len(data), "the file ends before its end marker"
        if data[at] != 0xFF:
            return segments, at or len(data), f"byte {at} is no marker"
        code = at + 1
        while (marker := data[code]) == 0xFF and code < last:  # fill bytes
            code += 1
        if marker == _SOI or marker in _ALONE:
            if marker == _SOI and at:
                return segments, at, f"a second start marker at byte {at}"
            at = code + 1
            continue
        if marker == _EOI:
            return segments, code + 1, None
        end = code + 1 + int.from_bytes(data[code + 1 : code + 3], "big")
        if end < code + 3 or end > len(data):
            return segments, at or len(data), f"the segment at byte {at} is longer than the file"
        if marker == _SOS:
            markers = markers or _Markers(data)
            end = markers.first_from(before + end, before + len(data)) - before
        segments.append(_Segment(marker, at, code + 3, end))
        at = end
    return segments, at, f"more than {_MOST_SEGMENTS} segments"


class _Markers:
    """Where coded data can end: every FF that is followed by neither a stuffed zero nor a restart marker.

    Found for a whole file, or for several that lie in one buffer, at once: a byte-by-byte search would cost as much as decoding.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        codes = np.frombuffer(data, np.uint8)
        is_ff = (codes[:-1] == 0xFF).view(np.uint8)
        self._marks = np.minimum(is_ff, codes[1:]).tobytes()  # 1 at each place; 0 also before a stuffed zero
        self._is_exact = False

    def first_from(self, start: int, end: int) -> int:
        """Return the first such place at or after `start`, or `end`, where the file ends."""
        place = self._next(start, end)
        if place < end and not self._is_exact and self._goes_on(place):
            # restart markers or fill bytes: few photos need these passes
            marks, after = np.frombuffer(self._marks, np.bool_), np.frombuffer(self._data, np.uint8)[1:]
            self._marks = (marks & (after & 0xF8 != 0xD0) & (after != 0xFF)).tobytes()
            self._is_exact = True
            place = self._next(start, end)
        return place

    def _next(self, start: int, end: int) -> int:
        place = self._marks.find(1, start, end - 1)
        return end if place < 0 else place

    def _goes_on(self, place: int) -> bool:
        code = self._data[place + 1]
        return code == 0xFF or code & 0xF8 == 0xD0


def _starts(data: bytes | memoryview, segment: _Segment, name: bytes) -> bool:
    return data[segment.body : segment.body + len(name)] == name


def _frame(data: bytes | memoryview, segment: _Segment) -> JpegScan:
    content = data[segment.body : segment.end]
    if len(content) < 6:
        return JpegScan(segment.marker, 0, 0, 0, 0, b"")
    precision_bits, height_px, width_px, components = struct.unpack_from(">BHHB", content)
    factors = bytes(content[7 : 6 + 3 * components : 3])
    return JpegScan(segment.marker, precision_bits, height_px, width_px, components, factors)


def _is_sketch(data: bytes | memoryview, scans: list[_Segment], components: int) -> bool:
    """Say whether the scans of a progressive JPEG leave a coefficient without its last bit."""
    missing: dict[int, list[int]] = {}  # by component: for each coefficient the bits that are still to come
    for scan in scans:
        count = data[scan.body] if scan.body < scan.end else 0
        after = scan.body + 1 + 2 * count
        if after + 3 > scan.end:
            return True
        first, last, bits = data[after], data[after + 1], data[after + 2] & 15
        for component in data[scan.body + 1 : after : 2]:
            sent = missing.setdefault(component, [16] * 64)
            sent[first : last + 1] = [bits] * len(sent[first : last + 1])
    return len(missing) < components or any(map(any, missing.values()))


def _orientation(data: bytes | memoryview, segments: list[_Segment]) -> int:
    for segment in segments:
        if segment.marker == _APP1 and _starts(data, segment, _EXIF):
            return exif_orientation(data[segment.body : segment.end])
    return 1


def _icc(data: bytes | memoryview, segments: list[_Segment]) -> bytes | None:
    """Join the parts of the colour profile; empty when one is missing, doubled or misnumbered."""
    parts = [
        bytes(data[segment.body + len(_ICC) : segment.end])
        for segment in segments
        if segment.marker == _APP2 and _starts(data, segment, _ICC)
    ]
    if not parts:
        return None
    parts.sort(key=lambda part: part[:1])
    fits = [part[:2] for part in parts] == [bytes((number, len(parts) & 0xFF)) for number in range(1, len(parts) + 1)]
    return b"".join(part[2:] for part in parts) if fits else b""


def _repaired(data: bytes | memoryview, segments: list[_Segment], frame: JpegScan) -> bytes | memoryview:
    """Write the standard's value into each field that libjpeg warns of and then ignores; the source if there is none.

    The list is closed, and each of its fields has a test that pixels do not depend on it: the parameters of a
    sequential scan, the version of JFIF, an unknown colour transform of Adobe's.
    """
    right = None
    for segment in segments:
        if (patch := _patch(data, segment, frame)) is not None:
            right = right or bytearray(data)
            at, value = patch
            right[at : at + len(value)] = value
    return data if right is None else bytes(right)


def _patch(data: bytes | memoryview, segment: _Segment, frame: JpegScan) -> tuple[int, bytes] | None:
    """Return where one segment's ignored field lies and what belongs there; None where nothing is wrong."""
    body = segment.body
    if segment.marker == _SOS:
        at = body + 1 + 2 * data[body] if body < segment.end else segment.end
        whole = frame.marker not in _SEQUENTIAL_FRAMES or data[at : at + 3] == _WHOLE_SCAN
        return None if whole or at + 3 > segment.end else (at, _WHOLE_SCAN)
    if segment.marker == _APP0 and _starts(data, segment, _JFIF) and segment.end - body >= _JFIF_BYTES - 2:
        at = body + len(_JFIF)
        return None if data[at] == _JFIF_VERSION[0] else (at, _JFIF_VERSION)
    if segment.marker == _APP14 and _starts(data, segment, b"Adobe") and segment.end - body >= _ADOBE_BYTES:
        at = body + _ADOBE_BYTES - 1
        taken_for, known = _ADOBE_TRANSFORMS.get(frame.components, (0, (data[at],)))
        return None if data[at] in known else (at, bytes((taken_for,)))
    return None


def _without_metadata(data: bytes | memoryview, segments: list[_Segment], end: int) -> tuple[bytes | memoryview, int]:
    """Copy the file up to its end marker without what decoders do not need; the coded data stays as it is."""
    kept: list[bytes] = []
    dropped_bytes = 0
    copied_to = 0
    for segment in segments:
        if segment.marker in _WITH_METADATA and (keep_to := _keep_to(data, segment)) < segment.end:
            kept.append(bytes(data[copied_to:keep_to]))
            if keep_to > segment.start:  # a thumbnail inside JFIF: keep the fields, say there is none
                kept[-1] = (
                    kept[-1][:-_JFIF_BYTES] + struct.pack(">H", _JFIF_BYTES) + kept[-1][2 - _JFIF_BYTES : -2] + b"\0\0"
                )
            dropped_bytes += segment.end - keep_to
            copied_to = segment.end
    if not dropped_bytes:
        return data[:end], 0
    return b"".join((*kept, data[copied_to:end])), dropped_bytes


def _keep_to(data: bytes | memoryview, segment: _Segment) -> int:
    """Return where the part of an application segment or comment ends that decoders need: its start if nothing of it."""
    if segment.marker == _APP0 and _starts(data, segment, _JFIF) and segment.end - segment.body >= _JFIF_BYTES - 2:
        return segment.body - 2 + _JFIF_BYTES
    if segment.marker == _APP14 and _starts(data, segment, b"Adobe"):
        return segment.end
    return segment.start
