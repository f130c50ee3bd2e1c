"""What the integration tests share."""

import uuid

import pytest

from tests.support.nights import PHOTOS, Source, photo


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """14 photos with scores, in memory.  The report, half a second of plotting each time, has tests of its own."""
    monkeypatch.setattr("aesthetics_ops.publishing.publish.render_report", lambda *_, **__: "<title>report</title>")
    source = Source(f"memory://{uuid.uuid4().hex}/", {})
    for name in PHOTOS:
        source.add(name, photo(name))
    source.score({name: number / 2 + 1 for number, name in enumerate(PHOTOS)})
    return source
