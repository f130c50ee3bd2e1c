"""Find the columns that may name the photos: by their names, and where these are no names of photos, by what is in them.

In: names of columns, and their first values.  Out: positions of columns; planning chooses by what the photos are called.
A column of row numbers called `id` beside one of file names gives wrong labels where photos are called by numbers, so the other
columns have to be looked at.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.key_template import key_parts
from aesthetics_ops.sources.labels.file import LabelFile
from aesthetics_ops.sources.labels.fitting import Sample
from aesthetics_ops.sources.labels.named import find_column, like, named

__all__ = ["ID_NAMES", "PHOTO_SUFFIXES", "find_ids", "without_url"]

_FIRST_NAMES: Final = ("key", "path", "filename", "id", "image_id")
_MORE_NAMES: Final = (
    "image_name", "file_name", "image_path", "file_path", "image_num", "image", "img", "file", "photo", "name", "url",
    "image_url",
)  # fmt: skip
ID_NAMES: Final = (*_FIRST_NAMES, *_MORE_NAMES)
"""What columns that name photos are called, in the order in which they are preferred."""

PHOTO_SUFFIXES: Final = (
    "jpg", "jpeg", "jpe", "jfif", "pjpeg", "png", "webp", "heic", "heif", "avif", "tif", "tiff", "bmp", "gif",
)  # fmt: skip
"""Suffixes of the formats that are decoded here; one stands for another."""

_PHOTO: Final = re.compile(rf"[^\s].*\.({'|'.join(PHOTO_SUFFIXES)})\s*([?#]\S*)?", re.IGNORECASE | re.DOTALL)
_LONGEST: Final = 4096  # characters of a name
_URL: Final = "url"


def find_ids(file: LabelFile, columns: Sequence[str], sample: Sample) -> tuple[int, ...]:
    """Return the positions of the columns that may name the photos, in the order in which they are preferred; at least one.

    They are those with the first of the usual names.  If none of them has file names of photos, all other columns count that have
    a usual name, or file names.

    Raises:
        LabelError: there is none, or the settings name one that is not there.
    """
    if file.settings.key_template is not None:
        return _of_template(file, columns, file.settings.key_template)
    if (wanted := file.settings.id_column) is not None:
        return (find_column(file, columns, "id_column", (wanted,)),)
    found = list(_in_order(file, columns))
    if found and _any_names(sample, found):
        return tuple(found)
    more = [place for name in _MORE_NAMES if len(places := like(columns, name)) == 1 for place in places]
    taken = {*found, *more}
    others = [place for place in range(len(columns)) if place not in taken]
    found += [*more, *_with_names(sample, others)] if not _any_names(sample, more) else more
    if not found:
        find_column(file, columns, "id_column", ID_NAMES, like)
    return tuple(dict.fromkeys(found))


def _of_template(file: LabelFile, columns: Sequence[str], template: str) -> tuple[int, ...]:
    wanted = dict.fromkeys(part.column for part in key_parts(template) if part.column is not None)
    found = [find_column(file, columns, "key_template", (name,)) for name in wanted]
    if len(set(found)) < len(found):
        raise file.error(f"has one column that key_template {template!r} calls by two names; write it one way")
    return tuple(found)


def _in_order(file: LabelFile, columns: Sequence[str]) -> Iterable[int]:
    """Return the positions of the first names; one that comes twice is refused where it comes first, and else left out."""
    found = [places for name in _FIRST_NAMES if (places := named(columns, name))]
    if not found:
        return ()
    first = find_column(file, columns, "id_column", _FIRST_NAMES)
    return dict.fromkeys((first, *(places[0] for places in found if len(places) == 1)))


def _any_names(sample: Sample, places: Sequence[int]) -> bool:
    return bool(places) and next(iter(_with_names(sample, places)), None) is not None


def _with_names(sample: Sample, places: Sequence[int]) -> list[int]:
    """Return the columns of which at least half of the values that are there are file names of photos."""
    if not places:
        return []
    return [place for place, values in zip(places, sample(places), strict=True) if _are_names(values)]


def _are_names(values: Sequence[Any]) -> bool:
    filled = [value for value in values if value is not None and value != ""]
    names = sum(
        isinstance(value, str) and len(value) <= _LONGEST and _PHOTO.fullmatch(value) is not None for value in filled
    )
    return names > 0 and len(filled) <= 2 * names


def without_url(column: str, names: Any) -> Any:
    """Return the last parts of the paths of URLs, decoded, where a column holds URLs."""
    if not re.sub(r"[\s_-]+", "", column.casefold()).endswith(_URL):
        return names
    parts = pc.replace_substring_regex(names, r"^https?://[^?#]*/([^/?#]+)([?#].*)?$", r"\1")
    if pc.any(pc.match_substring(parts, "%")).as_py():
        parts = pa.array(_decoded(parts.to_pylist()), pa.string())
    return parts


def _decoded(names: Sequence[str | None]) -> Iterator[str | None]:
    return (None if name is None else unquote(name) for name in names)
