"""Candidates: versions that are whole, and that a gate refused to publish.

A candidate lies under `versions/<version>/` like any version, so whatever reads a version reads it by its name.  It is no published
one: LATEST has not named it, and it has no mark under `published/`.  `candidates/<version>.json` is its own mark, written after its
manifest.  A promoted candidate is published; what is left of its mark then counts for nothing.
"""

import logging
from collections.abc import Collection
from typing import Literal

from pydantic import Field

from aesthetics_ops.dataset.documents import Document
from aesthetics_ops.dataset.latest import LatestPointer, published_versions
from aesthetics_ops.dataset.layout import CANDIDATES, candidate_in, candidate_key
from aesthetics_ops.errors import IntegrityError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store

__all__ = ["CandidateMark", "RefusedGate", "candidate_names", "candidate_sha256", "drop_candidates", "refused_in_words"]

_log = logging.getLogger(__name__)


class RefusedGate(Document):
    """A gate that refuses a version."""

    name: str
    measured: float
    limit: float
    bound: Literal["most", "least"]
    found: str = Field(description="what was counted, in words, with examples")

    def __str__(self) -> str:
        """Return name, limit and value, and what was counted."""
        return f"{self.name} allows {self.limit:g}, measured {self.measured:.4g}: {self.found}"


class CandidateMark(Document):
    """candidates/<version>.json: the version is whole, and a gate refuses it."""

    kind = "mark of a candidate"

    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the manifest's bytes")
    parent: str | None = Field(description="version that LATEST named when its build was planned")
    latest_etag: str | None = Field(description="of LATEST then; null where there was none")
    unreadable: tuple[str, ...] = Field(
        (), description="published versions that it takes the place of: `BuildPlan.unreadable`"
    )
    content: str = Field(description="digest of what was built from what: equal builds on one parent have equal ones")
    refused: tuple[RefusedGate, ...] = Field(min_length=1, description="the gates that refuse it")


def candidate_names(dataset: Store, latest: LatestPointer | None) -> list[str]:
    """Return the names of all candidates, newest first: names begin with the time of their plan.

    Args:
        dataset: to look in.
        latest: what LATEST holds: the version that it names is no candidate, nor is any other that was published.
    """
    marked = {name for key in dataset.list(CANDIDATES)["key"].to_pylist() if (name := candidate_in(key)) is not None}
    return sorted(marked - published_versions(dataset, latest), reverse=True) if marked else []


def candidate_sha256(dataset: Store, version: str) -> str | None:
    """Return the sha256 of the manifest that a candidate was written with; None where no mark tells it."""
    try:
        mark = CandidateMark.read(dataset, candidate_key(version))
    except IntegrityError as error:
        _log.warning("%s", error)
        return None
    return None if mark is None else mark.sha256


def drop_candidates(dataset: Store, versions: Collection[str]) -> None:
    """Take the marks of versions that are published by now; where that fails, they count for nothing all the same."""
    try:
        dataset.delete([candidate_key(version) for version in versions])
    except (StoreRefusedError, StoreUnavailableError) as error:
        _log.warning(
            "versions %s are published; their marks as candidates could not be taken: %s", ", ".join(versions), error
        )


def refused_in_words(refused: Collection[RefusedGate]) -> str:
    """Return the names of the gates that refuse a candidate: `refused by max_shrink_fraction and min_records`."""
    return f"refused by {' and '.join(gate.name for gate in refused)}"
