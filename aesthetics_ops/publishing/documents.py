"""The documents that a version carries for people and for other tools: report, data card, Croissant.

Each is made by itself from what the version holds.  Promised: one that cannot be made is left out and named in the log;
it never stops verified data from being published.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.report.card import render_card
from aesthetics_ops.report.croissant import render_croissant
from aesthetics_ops.report.page import render_report
from aesthetics_ops.store import Store

__all__ = ["DOCUMENTS", "Renderer", "Shown", "render_documents"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """What documents are made from.

    Attributes:
        manifest: of the version.
        parent: of the version before it; None where there is none.
        records: rows of RECORDS.schema, all of the version.
        records_sha256: of `records.parquet`, in hex.
        rejects: rows of REJECTS.schema, all of the version.
        dataset: where the shards, the version's tables and the parent's lie.
        photos: where the rejected photos lie.
    """

    manifest: Manifest
    parent: Manifest | None
    records: pa.Table
    records_sha256: str
    rejects: pa.Table
    dataset: Store
    photos: Store


Renderer = Callable[[Shown], str]
"""Makes one document."""


def _report(shown: Shown) -> str:
    return render_report(
        shown.manifest, shown.parent, shown.records, shown.rejects, dataset=shown.dataset, photos=shown.photos
    )


DOCUMENTS: Final[dict[VersionFile, Renderer]] = {
    VersionFile.REPORT: _report,
    VersionFile.CARD: lambda shown: render_card(shown.manifest),
    VersionFile.CROISSANT: lambda shown: render_croissant(
        shown.manifest, records_sha256=shown.records_sha256, schema=shown.records.schema
    ),
}


def render_documents(shown: Shown, renderers: Mapping[VersionFile, Renderer]) -> dict[VersionFile, bytes]:
    """Return the documents that could be made, UTF-8; the log has a warning for each of the others."""
    documents = {}
    for file, render in renderers.items():
        try:
            documents[file] = render(shown).encode()
        except Exception as error:  # whatever is wrong with a page, the data is verified
            _log.warning(
                "version %s goes without %s, which could not be made: %s: %s; its data is whole",
                shown.manifest.version, file, type(error).__name__, " ".join(str(error).split()),
            )  # fmt: skip
            _log.debug("where it happened:", exc_info=True)
    return documents
