"""What the integration tests share."""

import uuid

import pytest

from tests.support.documents import make_reports_quick
from tests.support.nights import PHOTOS, Source, photo


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """14 photos with scores, in memory.  The report, half a second of plotting each time, has tests of its own."""
    make_reports_quick(monkeypatch)
    source = Source(f"memory://{uuid.uuid4().hex}/", {})
    for name in PHOTOS:
        source.add(name, photo(name))
    source.score({name: number / 2 + 1 for number, name in enumerate(PHOTOS)})
    return source
