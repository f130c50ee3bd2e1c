"""Find the photos of names that nothing names exactly: written in other folders, case, suffixes or digits.

In: the names that no photo answers to, and the photos that no name has taken.  Out: which name means which photo, by which
rule.  The rules are tried in the order of `RULES`; each sees only what none before it has matched, so an exact match always
wins.  A name that fits several photos by one rule means all of them: planning rejects them and shows which.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import duckdb
import pyarrow as pa

from aesthetics_ops.sources.labels import PHOTO_SUFFIXES

__all__ = ["EXACT_RULES", "RULES", "match_names"]

EXACT_RULES: Final = ("key", "stem", "form")
"""The rules before those of this module, as the manifest calls them."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """How names and photos are compared: by tokens that must be equal.

    Attributes:
        name: what the manifest calls it.
        written: SQL of a name's token.
        listed: SQL of a photo's tokens.
        where: SQL, of names that it is for.
        where_listed: SQL, of photos that it is for.
    """

    name: str
    written: str
    listed: tuple[str, ...]
    where: str = "true"
    where_listed: str = "true"


# A token begins with p where it is a path from the photos prefix, and with b where it may lie in any folder.
_RULES: Final = (
    _Rule("path", "'p' || path", ("'p' || key",), "is_path"),
    _Rule("folder", "'b' || base", ("'b' || base",), "NOT is_path"),
    _Rule(
        "case", "CASE WHEN is_path THEN 'p' || lower(path) ELSE 'b' || lower(base) END",
        ("'p' || lower(key)", "'b' || lower(base)", "'b' || lower(stem)"),
    ),
    _Rule(
        "suffix", "CASE WHEN is_path THEN 'p' || lower(folder || stem) ELSE 'b' || lower(stem) END",
        ("'p' || lower(folder || stem)", "'b' || lower(stem)"), where_listed="has_photo_suffix",
    ),
    _Rule(
        "number", "CASE WHEN is_path THEN 'p' || lower(folder) || whole ELSE 'b' || whole END",
        ("'p' || lower(folder || stem)", "'b' || lower(stem)"), "whole <> stem", "has_photo_suffix",
    ),
    _Rule(
        "zeros", "CASE WHEN is_path THEN 'p' || lower(folder) || digits ELSE 'b' || digits END",
        ("'p' || lower(folder) || digits", "'b' || digits"), "digits <> ''", "has_photo_suffix AND digits <> ''",
    ),
)  # fmt: skip
RULES: Final = tuple(rule.name for rule in _RULES)
"""The rules of this module in the order in which they are tried, as the manifest calls them."""

_WRITTEN: Final = r"""
    CREATE OR REPLACE TEMP TABLE written AS
    SELECT *, CASE WHEN regexp_matches(whole, '^[0-9]+$') THEN regexp_replace(whole, '^0+([0-9])', '\1') ELSE '' END AS digits
    FROM (SELECT *, regexp_replace(stem, '^([0-9]+)\.0+$', '\1') AS whole
        FROM (SELECT *, left(path, length(path) - length(base)) AS folder,
                CASE WHEN has_suffix THEN regexp_replace(base, '\.[^.]*$', '') ELSE base END AS stem
            FROM (SELECT *, split_part(path, '/', -1) AS base,
                    lower(regexp_extract(base, '.\.([^.]*)$', 1)) IN (SELECT suffix FROM photo_suffix) AS has_suffix
                FROM (
                    SELECT DISTINCT name, is_path, unnest([path, after_first, after_last]) AS path
                    FROM (SELECT *, CASE WHEN is_path THEN regexp_extract('/' || path, $first, 1) ELSE '' END AS after_first,
                            CASE WHEN is_path THEN regexp_extract('/' || path, $last, 1) ELSE '' END AS after_last
                        FROM (SELECT name, by_key OR contains(name, '/') OR contains(name, '\') AS is_path,
                                CASE WHEN is_path THEN regexp_replace(replace(nfc_normalize(name), '\', '/'),
                                    '^([A-Za-z]:)?(\.?/)*', '') ELSE nfc_normalize(name) END AS path
                            FROM spare_names))
                    UNION ALL  -- of a URL, its last part may lie in any folder
                    SELECT name, false, nfc_normalize(coalesce(TRY(url_decode(last)), last))
                    FROM (SELECT name, regexp_extract(name, '(?i)^https?://[^?#]*/([^/?#]+)', 1) AS last FROM spare_names))
                WHERE path <> '')))
"""
_SPARE: Final = r"""
    CREATE OR REPLACE TEMP TABLE spare AS
    SELECT *, CASE WHEN regexp_matches(stem, '^[0-9]+$') THEN regexp_replace(stem, '^0+([0-9])', '\1') ELSE '' END AS digits
    FROM (SELECT *, left(key, length(key) - length(base)) AS folder,
            base = stem OR lower(regexp_extract(base, '.\.([^.]*)$', 1)) IN (SELECT suffix FROM photo_suffix) AS has_photo_suffix
        FROM (SELECT as_listed, nfc_normalize(as_listed) AS key, split_part(key, '/', -1) AS base,
                regexp_replace(base, '(.)\.[^.]*$', '\1') AS stem FROM spare_photos))
"""
_TOKENS: Final = "SELECT as_listed, {token} AS token, {is_of_stem} AS is_of_stem FROM spare WHERE {where}"
_OF_STEM: Final = (
    "true",
    "base = stem",
)  # whether a token is of the photo's stem: of another, and of one from its base
_PAIRS: Final = """
    CREATE OR REPLACE TEMP TABLE pairs AS
    SELECT name, as_listed AS key, bool_and(NOT is_path AND NOT has_suffix AND is_of_stem) AS is_stem
    FROM (SELECT name, is_path, has_suffix, {written} AS token FROM written WHERE {where})
    JOIN (SELECT as_listed, is_of_stem, token FROM ({listed}) WHERE token IS NOT NULL) USING (token)
    GROUP BY ALL
"""


def match_names(db: duckdb.DuckDBPyConnection, photos_url: str) -> None:
    """Make table `loose`: name, key (as it is listed), rule, is_stem, and ambiguity, a text where the name fits several photos.

    `is_stem` says that the name is like the photo's stem, not like its key.

    Args:
        db: with tables `spare_names` (name, by_key; each name once) and `spare_photos` (as_listed, a key; each once).
        photos_url: of the photos prefix, whose last folder names may begin with.
    """
    db.register("photo_suffix", pa.table({"suffix": PHOTO_SUFFIXES}))
    folder = re.escape(_last_folder(photos_url))
    db.execute(_WRITTEN, {"first": f"(?i)^.*?/{folder}/(.+)$", "last": f"(?i)^.*/{folder}/(.+)$"})
    db.execute(_SPARE)
    db.execute(
        "CREATE OR REPLACE TEMP TABLE loose (name VARCHAR, key VARCHAR, rule VARCHAR, is_stem BOOLEAN, ambiguity VARCHAR)"
    )
    for rule in _RULES:
        listed = " UNION ALL ".join(
            _TOKENS.format(token=token, where=rule.where_listed, is_of_stem=_OF_STEM["base" in token])
            for token in rule.listed
        )
        db.execute(_PAIRS.format(written=rule.written, where=rule.where, listed=listed))
        db.execute(
            """
            INSERT INTO loose
            SELECT name, key, $rule, is_stem, CASE WHEN photos > 1 THEN 'the name ''' || name || ''' in the label row fits ' || photos
                || ' photos by rule ' || $rule || ': ''' || array_to_string(keys[:5], ''', ''') || '''' END
            FROM pairs JOIN (SELECT name, count(*) AS photos, list_sort(list(key)) AS keys FROM pairs GROUP BY name) USING (name)""",
            {"rule": rule.name},
        )
        db.execute("DELETE FROM written WHERE name IN (SELECT name FROM pairs)")
        db.execute("DELETE FROM spare WHERE as_listed IN (SELECT key FROM pairs)")


def _last_folder(photos_url: str) -> str:
    """Return the name of the folder that the photos lie in; of a bucket's root, the bucket's."""
    folder = photos_url.rstrip("/").rpartition("/")[2]
    return unquote(folder) if photos_url.startswith("file:") else folder
