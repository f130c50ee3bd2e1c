"""What is uploaded from a file is the file, whole."""

import os
import threading
from pathlib import Path

import pytest

from aesthetics_ops.errors import ScratchSpaceError
from aesthetics_ops.store import open_store
from aesthetics_ops.testing.faults import SeenRequest
from aesthetics_ops.testing.odd_s3 import OddS3, running_s3
from tests.support.s3 import point_to


def test_a_file_that_is_cut_meanwhile_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shard"
    path.write_bytes(bytes(20 << 20))
    with running_s3(OddS3()) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        server.answer = lambda request, number: os.truncate(path, 17 << 20) if request.method == "POST" else None
        with pytest.raises(ScratchSpaceError, match=f"{str(path)!r} was cut while it was uploaded"):
            open_store("s3://bucket/p/").upload("k", path)
        assert "bucket/p/k" not in server.objects
        assert server.seen[-1].method == "DELETE"  # of the upload


def test_the_parts_of_a_file_are_uploaded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "shard"
    path.write_bytes(os.urandom(1 << 20) * 40)
    together = threading.Barrier(3)

    def meet(request: SeenRequest, number: int) -> None:
        if request.method == "PUT":
            together.wait(60)

    with running_s3(OddS3()) as server:
        point_to(monkeypatch, server.url, "testing", "testing")
        server.answer = meet
        open_store("s3://bucket/p/").upload("k", path)
        assert server.objects["bucket/p/k"] == path.read_bytes()
    assert not together.broken
