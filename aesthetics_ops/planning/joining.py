"""Join photos and labels: every listed object gets the label row that names it, or the reason why it cannot be used."""

from typing import Final

import duckdb

from aesthetics_ops.errors import PlanError
from aesthetics_ops.planning.hints import nearest_setting
from aesthetics_ops.planning.loose import EXACT_RULES, RULES, match_names
from aesthetics_ops.planning.naming import rewrite_names, unify_names
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels

__all__ = ["count_matches", "find_label_range", "join_labels", "reject_duplicates", "require_usable"]

# Grouping numbers is much cheaper than grouping texts, and few come twice.
_REPEATED: Final = """
    CREATE OR REPLACE TABLE repeated AS
    SELECT name FROM label_rows
    WHERE hash(name) IN (SELECT hash(name) FROM label_rows GROUP BY ALL HAVING count(*) > 1)
    GROUP BY ALL HAVING count(*) > 1
"""
_NAMED: Final = """
    CREATE OR REPLACE TEMP VIEW named AS
    SELECT name, by_key, is_stem, place, score, split, excluded, problem, contains(name, '.') OR contains(name, '/') AS is_marked
    FROM label_rows ANTI JOIN repeated USING (name)
    UNION ALL
    SELECT name, bool_and(by_key), bool_and(is_stem), min(place), arg_min(score, row), arg_min(split, row), min(excluded),
        CASE WHEN count(ambiguity) > 0 THEN min(ambiguity)
            WHEN count(DISTINCT (score, votes_packed, extra_scores::VARCHAR, split)) > 1
            THEN count(*) || ' label rows disagree: ' || string_agg('row ' || row || CASE WHEN rule IS NOT NULL
                    THEN ' (' || written || ')' ELSE '' END || ' has '
                || coalesce(score::VARCHAR, 'none') || coalesce(' ' || extra_scores::VARCHAR, '')
                || coalesce(' ' || split, ''), ', ' ORDER BY row)
                || CASE WHEN bool_or(votes_packed IS NOT NULL OR rule IS NOT NULL) THEN '' ELSE '; set one_row_per_vote if each row is one vote' END
            ELSE arg_min(problem, row) END,
        contains(name, '.') OR contains(name, '/')
    FROM label_rows SEMI JOIN repeated USING (name) GROUP BY name
"""
_PHOTO: Final = """
    CREATE OR REPLACE TABLE photo AS
    SELECT p.key, p.size, p.etag,
        coalesce(k.place, CASE WHEN p.stem = p.key THEN s.place END) AS key_place,
        CASE WHEN key_place IS NOT NULL AND NOT coalesce(k.is_stem, false) THEN p.key ELSE p.stem END AS id,
        md5_number_lower($seed || ':' || id) AS rank,
        CASE WHEN p.stem <> p.key THEN s.place END AS stem_place,
        label.score, label.split AS named_split,
        CASE WHEN p.is_no_photo THEN $not_a_photo
            WHEN label.place IS NULL AND (p.is_in_hidden OR p.is_dotted) THEN $not_a_photo
            WHEN label.place IS NULL THEN $unlabelled
            WHEN label.excluded IS NOT NULL THEN $excluded
            WHEN label.problem IS NOT NULL THEN $label_invalid
            WHEN p.size > $max_photo_bytes THEN $too_large END AS reason,
        CASE WHEN p.is_no_photo THEN 'no image format has this suffix'
            WHEN reason = $not_a_photo THEN 'it is hidden or lies in a hidden or preview folder, and no label row names its key'
            WHEN reason = $unlabelled THEN 'no label row names it'
            WHEN reason = $excluded THEN label.excluded
            WHEN reason = $label_invalid THEN label.problem
            WHEN reason = $too_large THEN size || ' bytes, over max_photo_bytes ' || $max_photo_bytes END AS detail
    FROM (SELECT *, NOT is_no_photo AND (contains(key, '.') OR contains(key, '/')) AS is_marked FROM listed) p
    LEFT JOIN named k ON (k.by_key OR k.is_marked) AND k.name = CASE WHEN NOT p.is_no_photo THEN p.key END
    LEFT JOIN named s ON NOT s.by_key
        AND s.name = CASE WHEN NOT p.is_no_photo AND NOT p.is_in_hidden AND (p.stem <> p.key OR NOT p.is_marked) THEN p.stem END
    CROSS JOIN LATERAL (SELECT CASE WHEN k.place IS NOT NULL THEN k ELSE s END AS label)
"""
# A row that is written exactly as one photo's key is that photo's alone.
_CLAIMED: Final = """
    UPDATE photo SET stem_place = NULL,
        score = CASE WHEN key_place IS NOT NULL THEN score END, named_split = CASE WHEN key_place IS NOT NULL THEN named_split END,
        reason = CASE WHEN key_place IS NOT NULL THEN reason ELSE $unlabelled END,
        detail = CASE WHEN key_place IS NOT NULL THEN detail ELSE 'the label row ' || id || ' names the photo with just this key' END
    WHERE stem_place IN (SELECT key_place FROM photo)
"""
_CONTRARY: Final = """
    UPDATE photo SET reason = $label_invalid, detail = why
    FROM (SELECT p.key, '2 label rows disagree: ' || string_agg('row ' || r.row || ' (' || r.name || ') has '
            || coalesce(r.score::VARCHAR, 'none') || coalesce(' ' || r.extra_scores::VARCHAR, '')
            || coalesce(' ' || r.split, ''), ', ' ORDER BY r.row) AS why
        FROM (SELECT key, unnest([key_place, stem_place]) AS place FROM photo
            WHERE key_place IS NOT NULL AND stem_place IS NOT NULL AND coalesce(reason, '') NOT IN ($excluded, $label_invalid)) p
        JOIN label_rows r USING (place)
        GROUP BY p.key
        HAVING count(DISTINCT (r.score, r.votes_packed, r.extra_scores::VARCHAR, r.split)) > 1) AS contrary
    WHERE photo.key = contrary.key
"""
_UNMATCHED: Final = """
    CREATE OR REPLACE TEMP VIEW unmatched AS
    WITH matched AS (SELECT key_place AS place FROM photo UNION ALL SELECT stem_place FROM photo),
    known AS (
        SELECT name, min(place) AS first FROM label_rows SEMI JOIN repeated USING (name) GROUP BY ALL)
    SELECT row, name, by_key, place
    FROM (SELECT row, name, by_key, place, coalesce(known.first, label_rows.place) AS known_place
        FROM label_rows LEFT JOIN known USING (name))
    ANTI JOIN (SELECT place AS known_place FROM matched) USING (known_place)
"""
_REASONS: Final = (
    RejectReason.NOT_A_PHOTO, RejectReason.UNLABELLED, RejectReason.EXCLUDED, RejectReason.LABEL_INVALID,
    RejectReason.TOO_LARGE,
)  # fmt: skip


def join_labels(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `photo`, one row per listed object; `key_place` and `stem_place` say which label rows name it.

    A label that stands in several rows is known by the first of them.  View `label_rows` then has the names as the listing
    writes them, and view `unmatched` the rows that name no photo.
    """
    unify_names(db)
    _join(db, settings)
    if _match_loosely(db, settings.photos):
        _join(db, settings)


def _join(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Join by the names as they are in `label_rows`."""
    db.execute(_REPEATED)
    db.execute(_NAMED)
    reasons = {reason.name.lower(): reason.value for reason in _REASONS}
    db.execute(_PHOTO, reasons | {"seed": str(settings.seed), "max_photo_bytes": settings.max_photo_bytes})
    db.execute(_CLAIMED, {"unlabelled": reasons["unlabelled"]})
    if db.sql("SELECT 1 FROM photo WHERE key_place IS NOT NULL AND stem_place IS NOT NULL LIMIT 1").fetchall():
        db.execute(_CONTRARY, {name: reasons[name] for name in ("label_invalid", "excluded")})
    db.execute(_UNMATCHED)


# What no name has taken, and what no photo answers to.
_SPARE_PHOTOS: Final = (
    "CREATE OR REPLACE TEMP TABLE spare_photos AS SELECT key AS as_listed FROM photo WHERE reason = ?"
)
_SPARE_NAMES: Final = """
    CREATE OR REPLACE TEMP TABLE spare_names AS
    SELECT name, bool_and(by_key) AS by_key FROM unmatched WHERE name <> '' GROUP BY name
"""


def _match_loosely(db: duckdb.DuckDBPyConnection, photos: str) -> bool:
    """Find photos for the names that have none; say whether any was found."""
    db.execute(_SPARE_PHOTOS, [RejectReason.UNLABELLED.value])
    if not db.sql("SELECT 1 FROM spare_photos LIMIT 1").fetchall():
        return False
    db.execute(_SPARE_NAMES)
    if not db.sql("SELECT 1 FROM spare_names LIMIT 1").fetchall():
        return False
    match_names(db, photos)
    if not db.sql("SELECT 1 FROM loose LIMIT 1").fetchall():
        return False
    db.execute("""
        INSERT INTO aliases
        SELECT place, key, rule, true, is_stem, ambiguity FROM unmatched JOIN loose USING (name)""")
    rewrite_names(db)
    return True


_MATCHED_BY: Final = """
    SELECT coalesce(rule, how), count(DISTINCT row)
    FROM (SELECT label_rows.*, coalesce(known.first, label_rows.place) AS known_place
        FROM label_rows LEFT JOIN (SELECT name, min(place) AS first FROM label_rows SEMI JOIN repeated USING (name) GROUP BY ALL) known
            USING (name))
    JOIN (SELECT DISTINCT key_place AS known_place, 'key' AS how FROM photo WHERE key_place IS NOT NULL
        UNION ALL SELECT DISTINCT stem_place, 'stem' FROM photo WHERE stem_place IS NOT NULL) USING (known_place)
    GROUP BY ALL
"""
# Where no row is repeated or written otherwise, places stand for rows.
_MATCHED_PLAINLY: Final = """
    SELECT 'key', count(DISTINCT key_place) AS rows FROM photo HAVING rows > 0
    UNION ALL SELECT 'stem', count(DISTINCT stem_place) AS rows FROM photo HAVING rows > 0
"""


def count_matches(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return how many label rows each rule has matched, in the order of the rules; those that matched none are left out."""
    is_plain = not db.sql(
        "SELECT 1 FROM (SELECT name FROM repeated UNION ALL SELECT form FROM aliases) LIMIT 1"
    ).fetchall()
    found = dict(db.sql(_MATCHED_PLAINLY if is_plain else _MATCHED_BY).fetchall())
    return {rule: found[rule] for rule in (*EXACT_RULES, *RULES) if rule in found}


_SAME_ID: Final = """
    SELECT key, 'id ' || id || ' belongs to ' || first_key AS why
    FROM (SELECT key, id, first_value(key) OVER (PARTITION BY id ORDER BY key) AS first_key FROM photo
        WHERE reason IS NULL AND hash(id) IN
            (SELECT hash(id) FROM photo WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1))
    WHERE key <> first_key
"""
_SAME_CONTENT: Final = """
    SELECT key, 'same ETag and size as ' || first_key
        || CASE WHEN is_contrary THEN ', but score ' || score || ' here and ' || first_score || ' there' ELSE '' END AS why, is_contrary
    FROM (SELECT key, score, first_value(key) OVER same AS first_key, first_value(score) OVER same AS first_score,
            score <> first_score AS is_contrary FROM photo
        WHERE reason IS NULL AND hash(etag, size) IN
            (SELECT hash(etag, size) FROM photo WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1)
        WINDOW same AS (PARTITION BY etag, size ORDER BY id, key))
    WHERE key <> first_key
"""


def reject_duplicates(db: duckdb.DuckDBPyConnection) -> int:
    """Keep the first photo of each id in key order, then the first of each content in id order.

    Returns:
        How many of the copies that are left out have another score than the photo that stays.
    """
    for reason, copies in ((RejectReason.DUPLICATE_ID, _SAME_ID), (RejectReason.DUPLICATE_PHOTO, _SAME_CONTENT)):
        db.execute("CREATE OR REPLACE TABLE copies AS " + copies)
        db.execute("UPDATE photo SET reason = ?, detail = why FROM copies WHERE photo.key = copies.key", [str(reason)])
    return int(db.sql("SELECT count(*) FROM copies WHERE is_contrary").fetchall()[0][0])


# Why a photo that a row names is left out, and what to do where all of them are.
_WHAT_HELPS: Final = {
    str(
        RejectReason.LABEL_INVALID
    ): "correct the scores, or set score_column, label_min and label_max to what they are",
    str(RejectReason.EXCLUDED): "change the setting that leaves them out",
    str(RejectReason.TOO_LARGE): "raise max_photo_bytes",
}
_LEFT_OUT: Final = """
    SELECT row, name, detail FROM photo JOIN written_rows ON place = coalesce(key_place, stem_place)
    WHERE reason = ? ORDER BY row, key LIMIT 3
"""


def require_usable(db: duckdb.DuckDBPyConnection, settings: BuildSettings, id_column: str | None) -> None:
    """Refuse a plan in which no photo has a usable score, and say what was found instead, and what would help.

    Args:
        db: after `reject_duplicates`.
        settings: of the build.
        id_column: that the names came from; None where columns have no names.
    """
    counts = dict(
        db.sql("SELECT coalesce(reason, 'usable'), count(*) FROM photo GROUP BY ALL ORDER BY 2 DESC").fetchall()
    )
    if counts.get("usable"):
        return
    found = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    named = [reason for reason in counts if reason in _WHAT_HELPS]
    if named:
        left_out = db.execute(_LEFT_OUT, [named[0]]).fetchall()
        examples = "; ".join(f"row {row} ({name!r}): {detail}" for row, name, detail in left_out)
        raise PlanError(
            f"no photo under {settings.photos!r} has a usable score in {settings.labels!r}: {found}; for example {examples}: "
            f"{_WHAT_HELPS[named[0]]}"
        )
    photo, name = db.sql("SELECT (SELECT min(key) FROM photo), (SELECT min(name) FROM label_rows)").fetchall()[0]
    raise PlanError(
        f"no photo under {settings.photos!r} has a usable score in {settings.labels!r}: {found}; "
        f"the first photo is {photo!r}, the first label {name!r}; {nearest_setting(db, id_column)}"
    )


def find_label_range(
    db: duckdb.DuckDBPyConnection, labels: Labels, settings: BuildSettings
) -> tuple[float, float] | None:
    """Return the range that is mapped to 0..1; None where scores stay as they are.

    With `minmax` that is the range over the usable photos but for those in table `unscaled`, whose labels may lie outside.
    """
    if settings.label_scale == "none":
        return None
    if settings.label_scale == "minmax":
        counted = "SELECT min(score), max(score) FROM photo ANTI JOIN unscaled USING (key, etag) WHERE reason IS NULL"
        low, high = db.sql(counted).fetchall()[0]
    else:
        low, high = labels.score_range
        if low is None or high is None:
            raise PlanError("label_scale 'unit' maps a declared range; set label_min and label_max")
    if low == high:
        raise PlanError(
            f"label_scale {settings.label_scale!r} needs two different scores, but every score is {low}; use 'none'"
        )
    return low, high
