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

from aesthetics_ops.dataset.columns import lists_of, numbers_of, singles_of, texts_of
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
    texts = [texts_of(photos[name]) for name in ("key", "etag", "id")]
    sizes = numbers_of(photos["size"]).astype("<i8")
    labels = numbers_of(photos["label"]).astype("<f4")
    lengths, shares = lists_of(photos["distribution"], pa.float32())
    shares = _little(shares)
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


def _more(photos: pa.Table, name: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return a column's name, and its lists as `lists_of` does; a number is a list of one."""
    column = photos[name]
    if pa.types.is_list(column.type):
        offsets, values = lists_of(column, column.type.value_type)
        return name.encode(), offsets, _little(values)
    offsets, values = singles_of(column)
    return name.encode(), offsets, values.astype("<f4")


def _little(values: np.ndarray) -> np.ndarray:
    return values.astype(values.dtype.newbyteorder("<"))
