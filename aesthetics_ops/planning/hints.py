"""What would make names find photos, where none does: the nearest setting, in words for the message.

In: tables `listing` and `written_rows`.  Out: one line's end.  It looks at a few photos and the first names only.
"""

from typing import Final

import duckdb

__all__ = ["nearest_setting"]

_SAMPLES: Final = """
    CREATE OR REPLACE TEMP TABLE some_photos AS SELECT key, split_part(key, '/', -1) AS base FROM listing ORDER BY key LIMIT 200;
    CREATE OR REPLACE TEMP TABLE some_names AS
    SELECT DISTINCT name FROM (SELECT name FROM written_rows ORDER BY place LIMIT 20000) WHERE name <> '';
"""
# What stands around a name in the last part of a key; of a number also without the zeros before it.
_AROUND: Final = r"""
    SELECT before, after, digits, count(DISTINCT base) AS photos, any_value(name) FROM (
        SELECT base, name, left(base, strpos(base, name) - 1) AS before, substr(base, strpos(base, name) + length(name)) AS after,
            0 AS digits
        FROM some_photos JOIN some_names ON contains(base, name)
        UNION ALL
        SELECT base, name, regexp_extract(base, '^(.*?)[0-9]+[^0-9]*$', 1), regexp_extract(base, '([^0-9]*)$', 1), length(number)
        FROM (SELECT *, regexp_extract(base, '([0-9]+)[^0-9]*$', 1) AS number FROM some_photos)
        JOIN some_names ON name = ltrim(number, '0') AND name <> number)
    GROUP BY ALL ORDER BY photos DESC, digits, before, after LIMIT 1
"""
_ELSEWHERE: Final = r"""
    SELECT name, key FROM some_names JOIN some_photos ON base = split_part(replace(name, '\', '/'), '/', -1)
    WHERE contains(replace(name, '\', '/'), '/') ORDER BY name, key LIMIT 1
"""


def nearest_setting(db: duckdb.DuckDBPyConnection, id_column: str | None) -> str:
    """Return what to do, as the end of a message.

    Args:
        db: the plan's, in which no name has found a photo.
        id_column: that the names came from; None where columns have no names.
    """
    db.execute(_SAMPLES)
    (photos,) = db.sql("SELECT count(*) FROM some_photos").fetchall()[0]
    found = next(iter(db.sql(_AROUND).fetchall()), None)
    if found is not None and found[3] >= min(2, photos):
        before, after, digits, count, name = found
        said = (
            f"{count} of the first {photos} photos have {before!r} before and {after!r} after a name, such as {name!r}"
        )
        if id_column is None or "{" in id_column:
            return f"{said}: write the score file with the photos' names"
        literal = [text.replace("{", "{{").replace("}", "}}") for text in (before, after)]
        column = f"{{{id_column}:0{digits}d}}" if digits else f"{{{id_column}}}"
        return f'{said}: set key_template to "{literal[0]}{column}{literal[1]}"'
    elsewhere = next(iter(db.sql(_ELSEWHERE).fetchall()), None)
    if elsewhere is not None:
        return (
            f"label {elsewhere[0]!r} and photo {elsewhere[1]!r} differ in their folders: set photos to the prefix that the names "
            "begin at, or id_column or key_template to columns without the folders"
        )
    return "no rule of docs/labels.md finds one: set id_column to the column that names the photos, or key_template to join several"
