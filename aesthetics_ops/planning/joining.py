"""Join photos and labels: every listed object gets the label row that names it, or the reason why it cannot be used."""

from typing import Final

import duckdb
import pyarrow as pa

from aesthetics_ops.errors import PlanError
from aesthetics_ops.rejects import RejectReason
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels

__all__ = ["UNMATCHED", "find_label_range", "join_labels", "reject_duplicates", "require_usable"]

# Suffixes that no image format has.  A photo tool leaves such files beside its photos; anything else is tried by content.
_NOT_PHOTO_SUFFIXES = """
    aac aae avi bak bat bin bz2 cfg conf csv css db dll doc docx exe gz htm html ini ipynb jar js json jsonl lock log lrcat
    m4a m4v md md5 mkv mov mp3 mp4 mpg npy npz ods odt on1 parquet pdf pickle pkl pp3 ppt pptx ps1 py rar rtf sh sha1 sha256
    sqlite sqlite3 srt tar tfrecord tgz thm tmp toml torrent tsv txt url wav webm xls xlsx xml xmp xz yaml yml zip zst
""".split()  # noqa: SIM905


# Grouping numbers is much cheaper than grouping texts, and few come twice.
_REPEATED: Final = """
    CREATE TABLE repeated AS
    SELECT name, by_key FROM label_rows
    WHERE hash(name, by_key) IN (SELECT hash(name, by_key) FROM label_rows GROUP BY ALL HAVING count(*) > 1)
    GROUP BY ALL HAVING count(*) > 1
"""
_NAMED: Final = """
    CREATE TEMP VIEW named AS
    SELECT name, by_key, place, score, split, excluded, problem FROM label_rows ANTI JOIN repeated USING (name, by_key)
    UNION ALL
    SELECT name, by_key, min(place), arg_min(score, row), arg_min(split, row), min(excluded),
        CASE WHEN count(DISTINCT (score, distribution::VARCHAR, split)) > 1
            THEN count(*) || ' label rows disagree: ' || string_agg('row ' || row || ' has '
                || coalesce(score::VARCHAR, 'none') || coalesce(' ' || split, ''), ', ' ORDER BY row)
            ELSE arg_min(problem, row) END
    FROM label_rows SEMI JOIN repeated USING (name, by_key) GROUP BY name, by_key
"""
_LISTED: Final = """
    CREATE TEMP VIEW listed AS
    SELECT key, size, etag, regexp_replace(base, '(.)\\.[^.]*$', '\\1') AS stem,
        base = '.DS_Store' OR lower(regexp_extract(base, '.\\.([^.]*)$', 1)) IN (SELECT suffix FROM suffix_of_no_photo)
            AS is_no_photo
    FROM (SELECT key, size, etag, split_part(key, '/', -1) AS base FROM listing)
"""
_PHOTO: Final = """
    CREATE TABLE photo AS
    SELECT p.key, p.size, p.etag, CASE WHEN k.place IS NOT NULL THEN p.key ELSE p.stem END AS id,
        md5_number_lower($seed || ':' || id) AS rank, k.place AS key_place, s.place AS stem_place,
        label.score, label.split AS named_split,
        CASE WHEN p.is_no_photo THEN $not_a_photo
            WHEN label.place IS NULL THEN $unlabelled
            WHEN label.excluded IS NOT NULL THEN $excluded
            WHEN label.problem IS NOT NULL THEN $label_invalid
            WHEN p.size > $max_photo_bytes THEN $too_large END AS reason,
        CASE reason WHEN $not_a_photo THEN 'no image format has this suffix'
            WHEN $unlabelled THEN 'no label row names it'
            WHEN $excluded THEN label.excluded
            WHEN $label_invalid THEN label.problem
            WHEN $too_large THEN size || ' bytes, over max_photo_bytes ' || $max_photo_bytes END AS detail
    FROM listed p
    LEFT JOIN named k ON k.by_key AND k.name = CASE WHEN NOT p.is_no_photo THEN p.key END
    LEFT JOIN named s ON NOT s.by_key AND s.name = CASE WHEN NOT p.is_no_photo THEN p.stem END
    CROSS JOIN LATERAL (SELECT CASE WHEN k.place IS NOT NULL THEN k ELSE s END AS label)
"""
_REASONS: Final = (
    RejectReason.NOT_A_PHOTO, RejectReason.UNLABELLED, RejectReason.EXCLUDED, RejectReason.LABEL_INVALID,
    RejectReason.TOO_LARGE,
)  # fmt: skip


def join_labels(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Make table `photo`, one row per listed object; `key_place` and `stem_place` say which label rows name it.

    A label that stands in several rows is known by the first of them.
    """
    db.execute(_REPEATED)
    db.execute(_NAMED)
    db.register("suffix_of_no_photo", pa.table({"suffix": _NOT_PHOTO_SUFFIXES}))
    db.execute(_LISTED)
    reasons = {reason.name.lower(): reason.value for reason in _REASONS}
    db.execute(_PHOTO, reasons | {"seed": str(settings.seed), "max_photo_bytes": settings.max_photo_bytes})


_SAME_ID: Final = """
    SELECT key, 'id ' || id || ' belongs to ' || first_key AS why
    FROM (SELECT key, id, first_value(key) OVER (PARTITION BY id ORDER BY key) AS first_key FROM photo
        WHERE reason IS NULL AND hash(id) IN
            (SELECT hash(id) FROM photo WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1))
    WHERE key <> first_key
"""
_SAME_CONTENT: Final = """
    SELECT key, 'same ETag and size as ' || first_key AS why
    FROM (SELECT key, first_value(key) OVER (PARTITION BY etag, size ORDER BY id, key) AS first_key FROM photo
        WHERE reason IS NULL AND hash(etag, size) IN
            (SELECT hash(etag, size) FROM photo WHERE reason IS NULL GROUP BY ALL HAVING count(*) > 1))
    WHERE key <> first_key
"""


def reject_duplicates(db: duckdb.DuckDBPyConnection) -> None:
    """Keep the first photo of each id in key order, then the first of each content in id order."""
    for reason, copies in ((RejectReason.DUPLICATE_ID, _SAME_ID), (RejectReason.DUPLICATE_PHOTO, _SAME_CONTENT)):
        db.execute("CREATE OR REPLACE TABLE copies AS " + copies)
        db.execute("UPDATE photo SET reason = ?, detail = why FROM copies WHERE photo.key = copies.key", [str(reason)])


def require_usable(db: duckdb.DuckDBPyConnection, settings: BuildSettings) -> None:
    """Refuse a plan in which no photo has a usable score, and say what was found instead."""
    counts = dict(
        db.sql("SELECT coalesce(reason, 'usable'), count(*) FROM photo GROUP BY ALL ORDER BY 2 DESC").fetchall()
    )
    if counts.get("usable"):
        return
    found = ", ".join(f"{count} {reason}" for reason, count in counts.items())
    photo, name = db.sql("SELECT (SELECT min(key) FROM photo), (SELECT min(name) FROM label_rows)").fetchall()[0]
    raise PlanError(
        f"no photo under {settings.photos!r} has a usable score in {settings.labels!r}: {found}; "
        f"the first photo is {photo!r}, the first label {name!r}: check that labels name photos by key or by stem"
    )


def find_label_range(
    db: duckdb.DuckDBPyConnection, labels: Labels, settings: BuildSettings
) -> tuple[float, float] | None:
    """Return the range that is mapped to 0..1; None where scores stay as they are."""
    if settings.label_scale == "none":
        return None
    if settings.label_scale == "minmax":
        low, high = db.sql("SELECT min(score), max(score) FROM photo WHERE reason IS NULL").fetchall()[0]
    else:
        low, high = labels.score_range
        if low is None or high is None:
            raise PlanError("label_scale 'unit' maps a declared range; set label_min and label_max")
    if low == high:
        raise PlanError(
            f"label_scale {settings.label_scale!r} needs two different scores, but every score is {low}; use 'none'"
        )
    return low, high


UNMATCHED: Final = """
    WITH matched AS (SELECT key_place AS place FROM photo UNION ALL SELECT stem_place FROM photo),
    known AS (
        SELECT name, by_key, min(place) AS first FROM label_rows SEMI JOIN repeated USING (name, by_key) GROUP BY ALL)
    SELECT row, name
    FROM (SELECT row, name, coalesce(known.first, label_rows.place) AS place FROM label_rows LEFT JOIN known USING (name, by_key))
    ANTI JOIN matched USING (place) ORDER BY row
"""
