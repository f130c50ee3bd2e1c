"""Bring a published version to local disk, every shard checked."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aesthetics_ops.dataset.layout import PULLED_MANIFEST, pulled_shard_name, split_of_pulled_shard
from aesthetics_ops.dataset.manifest import Manifest, Shard
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store

__all__ = ["Pulled", "pull"]


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version on local disk.

    Attributes:
        manifest: of the version.
        files: per split, its shards in reading order.
        downloaded_bytes: fetched by this call; what was there already is not fetched again.
    """

    manifest: Manifest
    files: dict[str, list[Path]]
    downloaded_bytes: int


def pull(
    dataset: Store,
    manifest: Manifest,
    directory: Path,
    *,
    splits: Sequence[str],
    progress: Callable[[int], None],
) -> Pulled:
    """Bring a version's shards to local disk, each checked by its sha256, and its manifest last.

    A directory that holds another version becomes this one: equal shards are kept, the others deleted.  Other splits of
    the same version stay.

    Args:
        dataset: where it is published.
        manifest: of the version.
        directory: made if it does not exist.
        splits: to bring; the version has them.
        progress: called with the number of bytes just finished.

    Raises:
        IntegrityError: a shard is not what the manifest says.
    """
    directory.mkdir(parents=True, exist_ok=True)
    version_there = _version_in(directory)
    (directory / PULLED_MANIFEST).unlink(missing_ok=True)
    wanted = {
        path: shard for split in splits for path, shard in _named(directory, split, manifest.splits[split].shards)
    }
    there = {_sha256(path): path for path in directory.iterdir() if split_of_pulled_shard(path.name)}
    downloaded = 0
    for path, shard in wanted.items():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        if shard.sha256 in there:
            os.link(there[shard.sha256], part)
        else:
            dataset.download(shard.path, part)
            downloaded += shard.bytes
            if _sha256(part) != shard.sha256:
                part.unlink()
                raise IntegrityError(
                    f"{dataset.url_of(shard.path)} has not the sha256 that its manifest states; pull again, or run verify"
                )
        progress(shard.bytes)
    for path in list(directory.iterdir()):
        named = split_of_pulled_shard(path.name)
        if named and (named in splits or version_there != manifest.version):
            path.unlink()
    for path in wanted:
        path.with_suffix(".part").rename(path)
    (directory / PULLED_MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    files = {split: [path for path, _ in _named(directory, split, manifest.splits[split].shards)] for split in splits}
    return Pulled(manifest, files, downloaded)


def _named(directory: Path, split: str, shards: Sequence[Shard]) -> Iterator[tuple[Path, Shard]]:
    for number, shard in enumerate(shards):
        yield directory / pulled_shard_name(split, number, len(shards)), shard


def _version_in(directory: Path) -> str | None:
    """Return the version that a directory holds whole, None where an earlier pull was cut off or never was."""
    try:
        return str(json.loads((directory / PULLED_MANIFEST).read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
