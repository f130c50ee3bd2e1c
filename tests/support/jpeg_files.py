"""A small JPEG writer for tests: any chroma sampling, number of components, and lossless coding, which Pillow does not write.

Every Huffman code has a fixed length, so files are large and the writer is short.
"""

import struct

import numpy as np
from numpy.typing import NDArray

_ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
)
_COSINES = np.array(
    [[(0.5 if u else 0.5**1.5) * np.cos((2 * x + 1) * u * np.pi / 16) for x in range(8)] for u in range(8)]
)


def baseline(components: list[NDArray[np.uint8]], factors: list[tuple[int, int]], adobe: int | None = None) -> bytes:
    """Write a sequential JPEG in one scan.

    Args:
        components: each (height, width), all of the same size: before its sampling.
        factors: across and down, of each component.
        adobe: colour transform to declare; None writes no such segment.
    """
    height, width = components[0].shape
    most_across, most_down = max(across for across, _ in factors), max(down for _, down in factors)
    blocks = []
    for levels, (across, down) in zip(components, factors, strict=True):
        step_x, step_y = most_across // across, most_down // down
        rows = -(-height // (8 * most_down)) * 8 * most_down
        columns = -(-width // (8 * most_across)) * 8 * most_across
        filled = np.pad(levels.astype(float), ((0, rows - height), (0, columns - width)), "edge")
        small = filled.reshape(rows // step_y, step_y, columns // step_x, step_x).mean(axis=(1, 3)) - 128
        grid = small.reshape(len(small) // 8, 8, -1, 8).transpose(0, 2, 1, 3)
        blocks.append(np.rint(_COSINES @ grid @ _COSINES.T).astype(int))
    units = (blocks[0].shape[0] // factors[0][1], blocks[0].shape[1] // factors[0][0])
    coded, before = [], [0] * len(components)
    for row, column in np.ndindex(*units):
        for index, (across, down) in enumerate(factors):
            for y, x in np.ndindex(down, across):
                block = blocks[index][row * down + y, column * across + x]
                values = [int(block[at]) for at in _ZIGZAG]
                coded.append(_block(values, before[index]))
                before[index] = values[0]
    numbers = range(1, len(components) + 1)
    frame = struct.pack(">BHHB", 8, height, width, len(components))
    frame += b"".join(bytes((n, a << 4 | d, 0)) for n, (a, d) in zip(numbers, factors, strict=True))
    scan = bytes((len(components),)) + b"".join(bytes((n, 0)) for n in numbers) + bytes((0, 63, 0))
    tables = (
        _segment(0xDB, b"\0" + b"\1" * 64) + _segment(0xC4, b"\0" + _codes(12)) + _segment(0xC4, b"\x10" + _codes(255))
    )
    return _file(_adobe(adobe) + tables + _segment(0xC0, frame) + _segment(0xDA, scan), coded)


def lossless(levels: NDArray[np.uint8], adobe: int | None = None) -> bytes:
    """Write a lossless JPEG, predicted from the left: (height, width, components)."""
    height, width, count = levels.shape
    samples = levels.astype(int)
    predicted = np.full_like(samples, 128)
    predicted[1:, 0] = samples[:-1, 0]
    predicted[:, 1:] = samples[:, :-1]
    coded = [f"{value.bit_length():08b}" + _bits(value) for value in (samples - predicted).ravel().tolist()]
    numbers = range(1, count + 1)
    frame = struct.pack(">BHHB", 8, height, width, count) + b"".join(bytes((n, 0x11, 0)) for n in numbers)
    scan = bytes((count,)) + b"".join(bytes((n, 0)) for n in numbers) + bytes((1, 0, 0))
    return _file(
        _adobe(adobe) + _segment(0xC3, frame) + _segment(0xC4, b"\0" + _codes(12)) + _segment(0xDA, scan), coded
    )


def _block(values: list[int], before: int) -> str:
    difference = values[0] - before
    coded = [f"{difference.bit_length():08b}" + _bits(difference)]
    last = max((at for at in range(1, 64) if values[at]), default=0)
    zeros = 0
    for value in values[1 : last + 1]:
        if value == 0:
            zeros += 1
            continue
        coded.append("11110000" * (zeros // 16))
        coded.append(f"{zeros % 16 << 4 | value.bit_length():08b}" + _bits(value))
        zeros = 0
    return "".join(coded) + ("00000000" if last < 63 else "")


def _bits(value: int) -> str:
    size = value.bit_length()
    return f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


def _codes(count: int) -> bytes:
    """Return a Huffman table whose codes have eight bits and say their symbol."""
    return bytes(7) + bytes((count,)) + bytes(8) + bytes(range(count))


def _adobe(transform: int | None) -> bytes:
    return b"" if transform is None else _segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _file(head: bytes, coded: list[str]) -> bytes:
    text = "".join(coded)
    text += "1" * (-len(text) % 8)
    return b"\xff\xd8" + head + int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0") + b"\xff\xd9"
