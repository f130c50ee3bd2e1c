"""Which names in the score file are meant for which photos, before rows and photos are joined.

In: tables `listing` and `written_rows`.  Out: what a photo can be called by, in view `listed`; the rows, their names written as
the listing writes them, in view `label_rows`; and the column that holds the names, where several may.
"""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Final

import duckdb
import pyarrow as pa

from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning.loose import RULES, match_names
from aesthetics_ops.planning.scores import Scores

__all__ = ["choose_labels", "list_photos", "rewrite_names", "unify_names"]

# Suffixes that no image format has.  A photo tool leaves such files beside its photos; anything else is tried by content.
_NOT_PHOTO_SUFFIXES = """
    aac aae avi bak bat bin bz2 cfg conf csv css db dll doc docx exe gz htm html ini ipynb jar js json jsonl lock log lrcat
    m4a m4v md md5 mkv mov mp3 mp4 mpg npy npz ods odt on1 parquet pdf pickle pkl pp3 ppt pptx ps1 py rar rtf sh sha1 sha256
    sqlite sqlite3 srt tar tfrecord tgz thm tmp toml torrent tsv txt url wav webm xls xlsx xml xmp xz yaml yml zip zst
""".split()  # noqa: SIM905

# Folders that systems and tools keep previews, copies and deleted photos in, beside those that begin with a dot.
_PREVIEW_FOLDERS: Final = (
    "@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN", "lost+found",
    "System Volume Information",
)  # fmt: skip

_PREVIEW_SIGNS: Final = ("@", "#", "__MAC", "$REC", "lost+", "System V")  # each folder has one

# Most keys hold none of these signs, and looking for a sign is much cheaper than a pattern.  A stem is the last part of the
# key without its suffix.
_LISTED: Final = """
    CREATE TEMP VIEW listed AS
    SELECT key, size, etag, regexp_replace(base, '(.)\\.[^.]*$', '\\1') AS stem,
        base = '.DS_Store' OR lower(regexp_extract(base, '.\\.([^.]*)$', 1)) IN (SELECT suffix FROM suffix_of_no_photo)
            AS is_no_photo,
        starts_with(base, '.') AS is_dotted,
        (starts_with(key, '.') OR contains(key, '/.')) AND regexp_matches(key, '(^|/)\\.([^/.]|\\.[^/])[^/]*/')
            OR ({may_be_preview}) AND regexp_matches(key, '(^|/)({previews})/') AS is_in_hidden
    FROM (SELECT key, size, etag, split_part(key, '/', -1) AS base FROM listing)
"""


def list_photos(db: duckdb.DuckDBPyConnection) -> None:
    """Make view `listed`, the listing with what each object can be called by.

    `stem`; `is_no_photo`, by its suffix; `is_dotted`, its own name begins with a dot; `is_in_hidden`, it lies in a hidden
    or preview folder, so only its key names it.
    """
    db.register("suffix_of_no_photo", pa.table({"suffix": _NOT_PHOTO_SUFFIXES}))
    may_be_preview = " OR ".join(f"contains(key, '{sign}')" for sign in _PREVIEW_SIGNS)
    previews = "|".join(re.escape(folder) for folder in _PREVIEW_FOLDERS)
    db.execute(_LISTED.format(may_be_preview=may_be_preview, previews=previews))


# What a row's name finds: the photo with this key, else the first with this stem.
_FOUND_BY: Final = """
    CREATE OR REPLACE TEMP TABLE found_{number} AS
    SELECT r.place, r.name, coalesce(k.key, s.key) AS key, CASE WHEN k.key IS NULL THEN s.stem ELSE k.stem END AS stem
    FROM choice r
    LEFT JOIN (SELECT key, stem FROM listed WHERE NOT is_no_photo) k ON k.key = r.name
    LEFT JOIN (SELECT min(key) AS key, stem FROM listed WHERE NOT is_no_photo AND NOT is_in_hidden GROUP BY stem) s
        ON NOT r.by_key AND s.stem = r.name
"""
_AGREEMENT: Final = """
    SELECT count(*), count(*) FILTER (is_contrary), min_by(a_name, place) FILTER (is_contrary),
        min_by(b_name, place) FILTER (is_contrary), min(place) FILTER (is_contrary)
    FROM (SELECT place, a.name AS a_name, b.name AS b_name,
            b.name NOT IN (a.key, a.stem) AND a.name NOT IN (b.key, b.stem) AS is_contrary
        FROM found_{one} a JOIN found_{other} b USING (place) WHERE a.key IS NOT NULL AND b.key IS NOT NULL)
"""


def choose_labels(db: duckdb.DuckDBPyConnection, labels: Scores, source: str, photos: str) -> Scores:
    """Return the labels named by the column whose names are the photos', where several columns may hold them.

    That is the column that finds most photos, and of equal ones the first.  It must contradict no other: where two columns
    find photos, they find the same ones.  Looser rules count for a column that finds no photo by its key or stem: all of
    them where no column does, else those that compare whole names, if they find half as many photos as are found exactly.

    Args:
        db: with view `listed`.
        labels: the score file.
        source: its URL, for the message.
        photos: URL of the photos prefix.

    Raises:
        PlanError: two columns name different photos.
    """
    choices = (labels, *labels.alternatives)
    if len(choices) == 1:
        return labels
    counts = []
    for number, choice in enumerate(choices):
        _find(db, choice, _FOUND_BY.format(number=number))
        counts.append(db.sql(f"SELECT count(key) FROM found_{number}").fetchall()[0][0])  # noqa: S608
    if not any(counts):
        counts = [_count_loosely(db, number, choice, photos, RULES) for number, choice in enumerate(choices)]
    elif not all(counts):
        most = max(counts)
        for number in [number for number, count in enumerate(counts) if not count]:
            loosely = _count_loosely(db, number, choices[number], photos, _RULES_OF_NAMES)
            counts[number] = loosely if 2 * loosely >= most else 0
    for pair in combinations(range(len(choices)), 2):
        if all(counts[number] for number in pair):
            _require_agreement(db, choices, pair, counts, source)
    return choices[max(range(len(choices)), key=lambda number: (counts[number], -number))]


def _find(db: duckdb.DuckDBPyConnection, choice: Scores, *statements: str) -> None:
    """Execute statements that look for photos by the names of one column, in view `choice`."""
    choice.attach(db, "choice")
    for statement in statements:
        db.execute(statement)
    db.execute("DROP VIEW choice")


_SPARE_NAMES: Final = """
    CREATE OR REPLACE TEMP TABLE spare_names AS
    SELECT name, bool_and(by_key) AS by_key FROM choice WHERE name <> '' GROUP BY name
"""
_SPARE_PHOTOS: Final = """
    CREATE OR REPLACE TEMP TABLE spare_photos AS
    SELECT key AS as_listed FROM listed WHERE NOT is_no_photo AND NOT is_in_hidden AND NOT is_dotted
"""
_FOUND_LOOSELY: Final = """
    CREATE OR REPLACE TEMP TABLE found_{number} AS
    SELECT place, name, key, key AS stem FROM choice JOIN loose USING (name) WHERE ambiguity IS NULL AND rule IN ({rules})
"""
# A row number may be a photo's number by chance, so what compares numbers says nothing against a name that is found exactly.
_RULES_OF_NAMES: Final = ("path", "folder", "case", "suffix")


def _count_loosely(
    db: duckdb.DuckDBPyConnection, number: int, choice: Scores, photos: str, rules: Sequence[str]
) -> int:
    """Return how many rows find a photo by rules that come after the exact ones; they are in table `found_{number}`."""
    _find(db, choice, _SPARE_NAMES, _SPARE_PHOTOS)
    match_names(db, photos)
    _find(db, choice, _FOUND_LOOSELY.format(number=number, rules=", ".join(f"'{rule}'" for rule in rules)))
    # both columns' names are compared as the photos that they find
    db.execute(f"UPDATE found_{number} SET name = key")  # noqa: S608
    return int(db.sql(f"SELECT count(*) FROM found_{number}").fetchall()[0][0])  # noqa: S608


def _require_agreement(
    db: duckdb.DuckDBPyConnection, choices: Sequence[Scores], pair: tuple[int, int], counts: list[int], source: str
) -> None:
    """Refuse two columns that name different photos in one row, or have no row in common."""
    one, other = pair
    common, contrary, a_name, b_name, place = db.sql(_AGREEMENT.format(one=one, other=other)).fetchall()[0]
    if common and not contrary:
        return
    a, b = choices[one].labels.columns["id"], choices[other].labels.columns["id"]
    why = "and no row finds one by both"
    if contrary:
        choices[one].attach(db, "choice")
        row = db.execute("SELECT row FROM choice WHERE place = ?", [place]).fetchall()[0][0]
        why = f"and {contrary} rows name different ones: row {row} has {a_name!r} and {b_name!r}"
    raise PlanError(
        f"label file {source!r} names photos in two columns: {a!r} finds {counts[one]}, {b!r} finds {counts[other]}, {why}; "
        f"set id_column to the one that is meant"
    )


_FOLD: Final = r"nfc_normalize(regexp_replace({0}, '^([\s\p{{Z}}]|\.?/)+|[\s\p{{Z}}]+$', '', 'g'))"
# The forms of names that a label file cannot or need not write alike: not ASCII, or with a blank or slash at an end.
_FORMS: Final = f"""
    CREATE TEMP TABLE forms AS
    SELECT DISTINCT folded, form, is_key FROM (
        SELECT {_FOLD.format("key")} AS folded, key AS form, true AS is_key FROM odd
        UNION ALL
        SELECT {_FOLD.format("stem")}, stem, false FROM odd WHERE NOT is_in_hidden)
    WHERE strlen(form) <> length(form) OR form <> folded
"""  # noqa: S608
_ODD: Final = """
    CREATE TEMP TABLE odd AS
    SELECT key, stem, is_in_hidden FROM listed
    WHERE NOT is_no_photo AND (strlen(key) <> length(key) OR contains(key, ' ') OR contains(key, chr(9))
        OR starts_with(key, '/') OR starts_with(key, './'))
"""
# A row whose name is written exactly as a key or stem stays as it is.
_ALIASES: Final = """
    INSERT INTO aliases
    WITH meant AS (
        SELECT r.place, f.form FROM label_rows r JOIN forms f ON f.folded = nfc_normalize(r.name) AND (f.is_key OR NOT r.by_key)
        WHERE r.name NOT IN (SELECT key FROM listed WHERE NOT is_no_photo)
            AND (r.by_key OR r.name NOT IN (SELECT stem FROM listed WHERE NOT is_no_photo AND NOT is_in_hidden))
        GROUP BY r.place, f.form),
    counted AS (SELECT place, count(*) AS forms, min(form) AS first, max(form) AS last FROM meant GROUP BY place)
    SELECT place, form, 'form', contains(form, '/'), false,
        CASE WHEN forms > 1 THEN 'the name in the label row fits ' || forms || ' photos that are written alike: '''
            || first || ''' and ''' || last || '''' END
    FROM meant JOIN counted USING (place)
"""


def unify_names(db: duckdb.DuckDBPyConnection) -> None:
    """Make view `label_rows`: table `written_rows`, its names as the listing writes them where no photo is called exactly so.

    Unicode forms (NFC, NFD) are one name, and so are a key with and without blanks around it or a slash before it.  A name
    that fits several ways of writing names all of these photos, with a problem.

    Table `aliases` has the names that are written otherwise, by `place`: `form`, `rule`, `is_key`: the form can only be a key;
    `is_stem`: the photo is called by its stem all the same; `ambiguity`: a text where several photos fit.
    """
    db.execute(
        "CREATE TEMP TABLE aliases (place BIGINT, form VARCHAR, rule VARCHAR, is_key BOOLEAN, is_stem BOOLEAN, ambiguity VARCHAR)"
    )
    rewrite_names(db)
    db.execute(_ODD)
    if not db.sql("SELECT 1 FROM odd LIMIT 1").fetchall():
        return
    db.execute(_FORMS)
    if not db.sql("SELECT 1 FROM forms LIMIT 1").fetchall():
        return
    db.execute(_ALIASES)
    rewrite_names(db)


_PLAIN: Final = """
    CREATE OR REPLACE TEMP VIEW label_rows AS
    SELECT *, name AS written, NULL::VARCHAR AS rule, false AS is_stem, NULL::VARCHAR AS ambiguity FROM written_rows
"""
_REWRITTEN: Final = """
    CREATE OR REPLACE TEMP VIEW label_rows AS
    SELECT r.* REPLACE (coalesce(a.form, r.name) AS name, r.by_key OR coalesce(a.is_key, false) AS by_key,
            CASE WHEN a.ambiguity IS NULL THEN r.score END AS score, coalesce(a.ambiguity, r.problem) AS problem,
            CASE WHEN a.ambiguity IS NULL THEN r.excluded END AS excluded),
        r.name AS written, a.rule, coalesce(a.is_stem, false) AS is_stem, a.ambiguity
    FROM written_rows r LEFT JOIN aliases a USING (place)
"""


def rewrite_names(db: duckdb.DuckDBPyConnection) -> None:
    """Make view `label_rows` anew, by what table `aliases` holds now."""
    has_aliases = db.sql("SELECT 1 FROM aliases LIMIT 1").fetchall()
    db.execute(_REWRITTEN if has_aliases else _PLAIN)
