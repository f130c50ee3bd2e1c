"""What the integration tests share."""

import uuid

import pytest

from tests.support.documents import make_reports_quick
from tests.support.nights import Source, scored_source


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """14 photos with scores, in memory.  The report, half a second of plotting each time, has tests of its own."""
    make_reports_quick(monkeypatch)
    return scored_source(f"memory://{uuid.uuid4().hex}/")
