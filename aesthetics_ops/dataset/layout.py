"""Where everything lies in a dataset: every key of the store is made and parsed here."""

import re
from typing import Final

from aesthetics_ops.errors import SettingsError

__all__ = ["LATEST_KEY", "PLAN_KEY", "build_id_from", "shard_key", "version_key"]

LATEST_KEY: Final = "LATEST.json"
PLAN_KEY: Final = "plan.json"


def shard_key(digest: str, suffix: str) -> str:
    """Return the key of a shard's file: `.tfrecord`, `.json` (its result) or `.validated.json` (the verdict).

    The digest's first two hex digits spread shards over 256 prefixes, since S3 limits requests per prefix.
    """
    return f"shards/{digest[:2]}/{digest}{suffix}"


def version_key(version: str, name: str) -> str:
    """Return the key of a file that belongs to one version."""
    return f"versions/{version}/{name}"


def build_id_from(text: str) -> str:
    """Return a build id made from a date or a run's name: only characters that are safe in a key.

    Raises:
        SettingsError: nothing is left of it.
    """
    build_id = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
    if not build_id:
        raise SettingsError(f"{text!r} cannot name a build; use letters, digits, '-', '_' or '.'")
    return build_id
