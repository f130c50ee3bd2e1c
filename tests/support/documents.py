"""Documents of a version that cost nothing: plotting the real report takes half a second and has tests of its own."""

import pytest

from aesthetics_ops.dataset.layout import VersionFile
from aesthetics_ops.publishing.documents import DOCUMENTS

QUICK_DOCUMENTS = DOCUMENTS | {VersionFile.REPORT: lambda shown: f"<title>report of {shown.manifest.version}</title>"}


def make_reports_quick(patch: pytest.MonkeyPatch) -> None:
    """For tests that cannot hand documents to `publish_build` themselves."""
    patch.setitem(DOCUMENTS, VersionFile.REPORT, QUICK_DOCUMENTS[VersionFile.REPORT])
