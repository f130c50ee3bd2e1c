"""Another release of a codec library: every shard is made anew, and no worker makes it under the old name."""

from importlib import metadata
from typing import Any

import cv2
import pytest

from aesthetics_ops.dataset.layout import SHARDS
from aesthetics_ops.errors import PermanentError
from aesthetics_ops.pipeline import convert_build
from aesthetics_ops.pixels import codecs
from tests.support.nights import Source, build_once, shard_hashes, start


def forget() -> None:
    """Let this process find its releases, and what they make, anew."""
    codecs._release.cache_clear()
    codecs._fingerprint.cache_clear()


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call to put in another OpenCV: its encoder puts out other bytes, and its release says so."""

    def upgrade() -> None:
        encode, release = cv2.imencode, metadata.version
        monkeypatch.setattr(
            cv2, "imencode", lambda suffix, array, options: encode(suffix, array, (options[0], options[1] - 1))
        )
        monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name.startswith("opencv") else release(name))
        forget()

    yield upgrade
    forget()


def test_an_upgrade_gives_every_shard_another_name(source: Source, upgraded: Any) -> None:
    settings = source.settings(encoding="reencode")
    before = build_once(settings)
    upgraded()
    after = build_once(settings)
    old, new = shard_hashes(before.manifest), shard_hashes(after.manifest)
    assert {path for _, path, _ in old}.isdisjoint(path for _, path, _ in new)
    assert {sha256 for _, _, sha256 in old}.isdisjoint(sha256 for _, _, sha256 in new)


def test_a_worker_with_another_release_refuses_the_plan_and_writes_no_shard(source: Source, upgraded: Any) -> None:
    build, plan = start(source.settings(encoding="reencode"))
    assert plan.codecs == codecs.codec_fingerprint()
    upgraded()
    with pytest.raises(PermanentError, match=r"opencv-python-headless .*, here 99\.0.*run plan again"):
        convert_build(build, plan)
    assert build.dataset.list(SHARDS).num_rows == 0
