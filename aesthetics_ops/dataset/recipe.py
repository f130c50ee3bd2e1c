"""The recipe of a shard: what its bytes depend on, and the digest that names it.

In: the photos of a shard in order, the settings that touch bytes, and what converts.  Out: the digest.  docs/format.md
says what is hashed.  Pure: equal recipes, equal digests.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from aesthetics_ops.settings import BuildSettings

__all__ = ["CONVERTER_VERSION", "Converter", "recipe_digest", "recipe_digests"]

CONVERTER_VERSION: Final = 6
"""Part of every shard's recipe; raise it when a change of our code can change any output byte."""


@dataclass(frozen=True, slots=True)
class Converter:
    """What makes records from photos, as far as their bytes depend on it.

    Attributes:
        version: of our code, CONVERTER_VERSION.
        codecs: fingerprint of what the codec libraries put out, 16 hex digits; pixels.codecs makes it.
    """

    version: int
    codecs: str


def recipe_digest(photos: pa.Table, settings: BuildSettings, *, converter: Converter) -> str:
    """Return the digest of the recipe of a shard that holds exactly these photos, in this order.

    Args:
        photos: key, etag, size, id, label, distribution, label_std, votes, extra_scores, as in PLAN.schema; at least one row.
            Plans of earlier releases have none of the last three.
        settings: of the build.
        converter: that makes records from photos.

    Returns:
        Sha256, 64 hex digits.  docs/format.md says what is hashed.
    """
    (digest,) = recipe_digests(photos, np.array([0]), np.array([photos.num_rows]), settings, converter)
    return digest


def recipe_digests(
    photos: pa.Table, starts: np.ndarray, ends: np.ndarray, settings: BuildSettings, converter: Converter
) -> Iterator[str]:
    """Yield the digest of each shard: of the photos from each of `starts` to before the same one of `ends`."""
    content = {"recipe": 2, "converter": converter.version, "codecs": converter.codecs, **settings.recipe}
    header = json.dumps(content, sort_keys=True).encode()
    texts = [_text_buffers(photos[name]) for name in ("key", "etag", "id")]
    sizes = photos["size"].to_numpy().astype("<i8")
    labels = photos["label"].to_numpy().astype("<f4")
    lengths, shares = _list_buffers(photos["distribution"], pa.float32())
    more = [_more(photos, name) for name in ("label_std", "votes", "extra_scores") if name in photos.column_names]
    for first, end in zip(starts, ends, strict=True):
        digest = hashlib.sha256(b"%d %s" % (end - first, header))
        for offsets, data in texts:
            digest.update(np.diff(offsets[first : end + 1]).astype("<i8").data)
            digest.update(data[offsets[first] : offsets[end]])
        digest.update(sizes[first:end].data)
        digest.update(labels[first:end].data)
        digest.update(np.diff(lengths[first : end + 1]).astype("<i8").data)
        digest.update(shares[lengths[first] : lengths[end]].data)
        for name, counts, values in more:
            if counts[first] < counts[end]:  # what no photo has is in no recipe
                digest.update(name)
                digest.update(np.diff(counts[first : end + 1]).astype("<i8").data)
                digest.update(values[counts[first] : counts[end]].data)
        yield digest.hexdigest()


def _text_buffers(column: pa.ChunkedArray) -> tuple[np.ndarray, memoryview]:
    """Return the column's offsets, int64, shape (rows + 1,), and its UTF-8 bytes."""
    array = pa.concat_arrays(column.cast(pa.large_string()).chunks or [pa.array([], pa.large_string())])
    _, offsets, data = array.buffers()
    if offsets is None:
        return np.zeros(1, np.int64), memoryview(b"")
    first = array.offset
    return np.frombuffer(offsets, np.int64)[first : first + len(array) + 1], memoryview(data or b"")


def _more(photos: pa.Table, name: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return a column's name, and its lists as `_list_buffers` does; a number is a list of one."""
    column = photos[name]
    if pa.types.is_list(column.type):
        return name.encode(), *_list_buffers(column, column.type.value_type)
    values = column.drop_null().to_numpy().astype("<f4")
    return name.encode(), np.r_[0, np.cumsum(column.is_valid().to_numpy())].astype(np.int64), values


def _list_buffers(column: pa.ChunkedArray, kind: pa.DataType) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets, int64, shape (rows + 1,), and values, of this kind; a null counts as an empty list."""
    array = pa.concat_arrays(column.cast(pa.large_list(kind)).chunks or [pa.array([], pa.large_list(kind))])
    values = array.flatten().to_numpy(zero_copy_only=False)
    values = values.astype(values.dtype.newbyteorder("<"))
    lengths = np.asarray(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    return np.r_[0, np.cumsum(lengths)], values
