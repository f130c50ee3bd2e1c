"""What becomes of a version that a gate refuses: it is kept as a candidate, once.

In: a version whose files are written.  Out: its mark under `candidates/`, and the words of the refusal.
Promised: LATEST stays.  A night that would make the same candidate again finds the one that stands.
"""

import hashlib
import json
import logging
import shlex
from collections.abc import Sequence

from aesthetics_ops.builds import BuildPlan
from aesthetics_ops.dataset.candidates import CandidateMark, RefusedGate, candidate_names
from aesthetics_ops.dataset.latest import peek_latest
from aesthetics_ops.dataset.layout import VersionFile, candidate_key, version_key, version_prefix
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.sidecars import put_proven, stored_file
from aesthetics_ops.errors import IntegrityError
from aesthetics_ops.store import Store

__all__ = ["explain_refusal", "keep_candidate", "standing_candidate"]

_log = logging.getLogger(__name__)

# What may differ between two nights that build the same from the same.
_NOT_CONTENT = {"dataset", "version", "created_at", "settings", "software", "files"}


def keep_candidate(
    dataset: Store, plan: BuildPlan, manifest: Manifest, data: bytes, refused: Sequence[RefusedGate]
) -> CandidateMark:
    """Mark a version as a candidate, whose files are all in the store; return the mark.

    Args:
        dataset: that it lies in.
        plan: of the build.
        manifest: of the version.
        data: the bytes of the manifest, as they are stored.
        refused: the gates that refuse it.
    """
    mark = CandidateMark(
        version=manifest.version,
        sha256=hashlib.sha256(data).hexdigest(),
        parent=plan.parent,
        latest_etag=plan.latest_etag,
        unreadable=plan.unreadable,
        content=_content(manifest),
        refused=tuple(refused),
    )
    put_proven(dataset, candidate_key(mark.version), mark.encoded())
    _log.info("version %s is kept as a candidate", mark.version)
    return mark


def standing_candidate(dataset: Store, manifest: Manifest) -> CandidateMark | None:
    """Return the candidate that an earlier build made of the same, and that is still whole; None where there is none."""
    digits = f"-{manifest.fingerprint[:8]}-"
    for name in candidate_names(dataset, peek_latest(dataset)[0]):
        if digits not in name:
            continue
        try:
            mark = CandidateMark.read(dataset, candidate_key(name))
        except IntegrityError as error:
            _log.warning("%s; it counts as not there", error)
            continue
        if mark is not None and mark.content == _content(manifest) and _is_whole(dataset, mark):
            return mark
    return None


def explain_refusal(
    dataset: Store, refused: Sequence[RefusedGate], mark: CandidateMark | None, *, stands: bool = False
) -> str:
    """Return the message of a refusal: each gate, the candidate's name, and the next steps.

    Args:
        dataset: that was built into.
        refused: the gates that refuse.
        mark: of the candidate; None where there is no record to keep.
        stands: an earlier build made the candidate.
    """
    gates = "; ".join(map(str, refused))
    mend = "mend the photos or scores, or change the gate's setting"
    if mark is None:
        return f"not published; {gates}; there is no record, so no candidate is kept; {mend}"
    url, version = shlex.quote(dataset.url), mark.version
    look = f"diff {url} {mark.parent} {version}" if mark.parent else f"show {url} --version {version}"
    kept = (
        f"candidate {version!r} of an earlier build stands, made of the same; it is not made again"
        if stands
        else f"version {version!r} is kept as a candidate"
    )
    return (
        f"not published; {gates}; {kept}; look at it: `aesthetics-ops {look}`; publish it all the same: `aesthetics-ops promote {url} "
        f"{version} --reason TEXT`; or {mend}"
    )


def _content(manifest: Manifest) -> str:
    """Return the digest of what a version was built from, what it holds, and what the gates say of it."""
    values = manifest.model_dump(mode="json", exclude=_NOT_CONTENT)
    values["source"].pop("inventory")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _is_whole(dataset: Store, mark: CandidateMark) -> bool:
    """Say whether a candidate's manifest is there as it was written, and its other files with their sizes."""
    stored = Manifest.stored(dataset, version_key(mark.version, VersionFile.MANIFEST))
    if stored is None or stored_file(stored.data).sha256 != mark.sha256:
        return False
    files = Manifest.parse(stored.data, name=stored.key).files or {}
    return all(
        (found := dataset.head(f"{version_prefix(mark.version)}{file}")) is not None and found[0] == stated.bytes
        for file, stated in files.items()
    )
