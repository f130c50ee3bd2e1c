"""Where everything lies in a dataset: every key of the store is made and parsed here, and nowhere else.

    LATEST.json                        the pointer to the version that readers take
    expiry.json                        while an expiry is at work
    versions/<version>/<file>          one version, published or refused (`VersionFile`)
    published/<version>.json           says that LATEST named the version, now or once
    candidates/<version>.json          says that the version is whole, and that a gate refuses it
    pointers/<name>.json               a pointer beside LATEST, such as `prod`
    pins/<name>.json                   keeps a version from expiry
    log/<time>-<pointer>-<tag>.json    one move of LATEST or of a pointer
    shards/<d0d1>/<digest><suffix>     shards, shared by versions (`ShardFile`)
    builds/<build>/<file>              state of one build (`BuildFile`), its partitions and their results

Keys are relative to the dataset's prefix.  Pure.
"""

import re
import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from aesthetics_ops.errors import SettingsError

__all__ = [
    "BUILDS",
    "CANDIDATES",
    "DOCUMENTS",
    "EXPIRY_KEY",
    "LATEST_KEY",
    "LATEST_NAME",
    "LOG",
    "PINS",
    "POINTERS",
    "PUBLISHED",
    "PULLED_MANIFEST",
    "PULLED_RECORDS",
    "SHARDS",
    "SPLITS",
    "VERSIONS",
    "BuildFile",
    "ShardFile",
    "VersionFile",
    "build_id_from",
    "build_key",
    "build_of",
    "build_prefix",
    "candidate_in",
    "candidate_key",
    "digest_of",
    "is_label_name",
    "is_name",
    "is_partition_result",
    "is_probe",
    "log_key",
    "partition_result_key",
    "partition_rows_key",
    "pin_in",
    "pin_key",
    "pointer_in",
    "pointer_key",
    "probe_key",
    "published_in",
    "published_key",
    "pulled_shard_name",
    "shard_key",
    "split_of_pulled_shard",
    "validation_result_key",
    "version_key",
    "version_name",
    "version_of",
    "version_prefix",
    "version_stamp",
    "version_time",
]

SPLITS: Final = ("train", "validation", "test")

LATEST_KEY: Final = "LATEST.json"
LATEST_NAME: Final = "LATEST"  # what the log calls it
EXPIRY_KEY: Final = "expiry.json"  # while an expiry is at work
VERSIONS: Final = "versions/"
PUBLISHED: Final = "published/"
CANDIDATES: Final = "candidates/"
POINTERS: Final = "pointers/"
PINS: Final = "pins/"
LOG: Final = "log/"
SHARDS: Final = "shards/"
BUILDS: Final = "builds/"
PULLED_MANIFEST: Final = "manifest.json"  # in a pulled directory
PULLED_RECORDS: Final = "records.parquet"

_PROBE: Final = "probe-"
_CONVERTED: Final = "converted/"
_DIGEST: Final = re.compile(r"shards/([0-9a-f]{2})/(\1[0-9a-f]{62})\.(?:tfrecord|json|validated\.json)")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_PULLED: Final = re.compile(rf"({'|'.join(SPLITS)})-\d{{5,}}-of-\d{{5,}}\.tfrecord")


class ShardFile(StrEnum):
    """The files of one shard, by their suffix."""

    RECORDS = ".tfrecord"
    RESULT = ".json"  # counts, hashes, index, rejects; written after the records, so it is their done-marker
    VERDICT = ".validated.json"  # of reading the records back


class VersionFile(StrEnum):
    """The files of one version."""

    MANIFEST = "manifest.json"
    RECORDS = "records.parquet"
    REJECTS = "rejects.parquet"
    NEAR_DUPLICATES = "near_duplicates.parquet"
    PLAN = "plan.parquet"
    REPORT = "report.html"
    CARD = "README.md"
    CROISSANT = "croissant.json"


DOCUMENTS: Final = (VersionFile.REPORT, VersionFile.CARD, VersionFile.CROISSANT)
"""What a version says to people and to other tools: its data is whole without them."""


class BuildFile(StrEnum):
    """The files of one build, but for those of its partitions."""

    STARTED = "started.json"  # written first: from then on expiry leaves the build alone for a while
    PLAN = "plan.json"  # written last, so it is the plan's done-marker
    ROWS = "plan.parquet"
    UNMATCHED = "unmatched.parquet"
    KEPT = "kept.parquet"  # key and columns of keep_columns, where some are
    REGROUPED = "regrouped.parquet"  # the rows of plan.parquet, each group of near-duplicates in one split


def shard_key(digest: str, file: ShardFile) -> str:
    """Return the key of one of a shard's files.

    The digest's first two hex digits spread shards over 256 prefixes, since S3 limits requests per prefix.
    """
    return f"{SHARDS}{digest[:2]}/{digest}{file}"


def digest_of(key: str) -> str | None:
    """Return the digest of the shard that a key belongs to; None for any other key."""
    found = _DIGEST.fullmatch(key)
    return found[2] if found else None


def version_prefix(version: str) -> str:
    """Return what the keys of a version's files begin with."""
    return f"{VERSIONS}{version}/"


def version_key(version: str, file: VersionFile) -> str:
    """Return the key of a file that belongs to one version."""
    return version_prefix(version) + file


def version_of(key: str) -> str | None:
    """Return the version that a key belongs to; None for any other key."""
    return _owner(key, VERSIONS)


def version_stamp(planned_at: datetime) -> str:
    """Return what the name of a version begins with: the time of its plan, UTC, to the second."""
    return f"{planned_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-"


def version_name(planned_at: datetime, fingerprint: str, tag: str) -> str:
    """Return the name of the version that a build makes.

    Args:
        planned_at: when it was planned, with a zone; so names sort by time.
        fingerprint: of its content, hex digits.
        tag: of its plan, which no other plan has: two builds that start in the same second make two versions.
    """
    return f"{version_stamp(planned_at)}{fingerprint[:8]}-{tag}"


def version_time(version: str) -> datetime | None:
    """Return when the build of a version was planned, by its name; None where the name does not say."""
    try:
        return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def published_key(version: str) -> str:
    """Return the key of the mark that says that a version was published."""
    return f"{PUBLISHED}{version}.json"


def published_in(key: str) -> str | None:
    """Return the version that a mark is of; None for any other key."""
    return _named_by(key, PUBLISHED)


def candidate_key(version: str) -> str:
    """Return the key of the mark that says that a version is a candidate."""
    return f"{CANDIDATES}{version}.json"


def candidate_in(key: str) -> str | None:
    """Return the version that a candidate's mark is of; None for any other key."""
    return _named_by(key, CANDIDATES)


def pointer_key(name: str) -> str:
    """Return the key of a pointer beside LATEST."""
    return f"{POINTERS}{name}.json"


def pointer_in(key: str) -> str | None:
    """Return the name of the pointer that a key is of; None for any other key."""
    name = _named_by(key, POINTERS)
    return name if name is not None and is_label_name(name) else None


def pin_key(name: str) -> str:
    """Return the key of a pin."""
    return f"{PINS}{name}.json"


def pin_in(key: str) -> str | None:
    """Return the name of the pin that a key is of; None for any other key."""
    return _named_by(key, PINS)


def log_key(pointer: str, at: datetime, tag: str) -> str:
    """Return the key of what the log says of one move.

    Args:
        pointer: that moved: LATEST_NAME, or the name of another.
        at: when, with a zone; so keys sort by time.
        tag: of the move, hex digits, which no other has.
    """
    return f"{LOG}{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{pointer}-{tag}.json"


def build_id_from(text: str) -> str:
    """Return a build id made from a date or a run's name: only characters that are safe in a key.

    Raises:
        SettingsError: nothing is left of it.
    """
    build_id = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
    if not build_id:
        raise SettingsError(f"{text!r} cannot name a build; use letters, digits, '-', '_' or '.'")
    return build_id


def build_prefix(build: str) -> str:
    """Return what the keys of a build's files begin with."""
    return f"{BUILDS}{build}/"


def build_key(build: str, file: BuildFile) -> str:
    """Return the key of a file that belongs to one build."""
    return build_prefix(build) + file


def build_of(key: str) -> str | None:
    """Return the build that a key belongs to; None for any other key."""
    return _owner(key, BUILDS)


def partition_rows_key(build: str, partition: int) -> str:
    """Return the key of the plan's rows for one partition."""
    return f"{build_prefix(build)}partitions/{partition}.parquet"


def partition_result_key(build: str, partition: int) -> str:
    """Return the key of what became of one partition; its done-marker."""
    return f"{build_prefix(build)}{_CONVERTED}{partition}.json"


def validation_result_key(build: str, partition: int) -> str:
    """Return the key of how one partition was read back."""
    return f"{build_prefix(build)}validated/{partition}.json"


def is_partition_result(key: str) -> bool:
    """Say whether a key is one that `partition_result_key` makes."""
    return key.startswith(BUILDS) and key.split("/", 2)[2:] != [] and key.split("/", 2)[2].startswith(_CONVERTED)


def probe_key() -> str:
    """Return a key that nobody else has, for asking the store what it does with conditions."""
    return f"{_PROBE}{uuid.uuid4().hex}"


def is_probe(key: str) -> bool:
    """Say whether a key is one that `probe_key` makes; where one is found, whoever asked with it died."""
    return re.fullmatch(rf"{_PROBE}[0-9a-f]{{32}}", key) is not None


def is_name(text: str) -> bool:
    """Say whether a text can name a dataset, a version or a build: one harmless segment of a key."""
    return _NAME.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    """Say whether a text can name a pointer or a pin of a person: lower case, so that it is no version's name, and not `latest`."""
    return _LABEL_NAME.fullmatch(text) is not None and text != LATEST_NAME.lower()


def pulled_shard_name(split: str, number: int, count: int) -> str:
    """Return the name of a shard's file in a pulled directory.

    Args:
        split: one of SPLITS.
        number: of the shard in its split, from 0.
        count: shards of the split.
    """
    return f"{split}-{number:05d}-of-{count:05d}.tfrecord"


def split_of_pulled_shard(name: str) -> str | None:
    """Return the split of a file that `pulled_shard_name` names; None for any other file."""
    found = _PULLED.fullmatch(name)
    return found[1] if found else None


def _named_by(key: str, prefix: str) -> str | None:
    name = key.removeprefix(prefix).removesuffix(".json")
    return name if key == f"{prefix}{name}.json" and is_name(name) else None


def _owner(key: str, prefix: str) -> str | None:
    owner, slash, _ = key.removeprefix(prefix).partition("/")
    return owner if key.startswith(prefix) and slash and owner else None
