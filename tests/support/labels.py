"""Score files in memory: read as a build reads them, or refused in one line."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aesthetics_ops.errors import LabelError
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.sources.labels import Labels, read_labels

__all__ = ["PLACES", "URL", "parquet", "read", "refusal", "rows"]

URL = "s3://bucket/scores"
PLACES: dict[str, Any] = {"photos": "s3://bucket/photos/", "labels": URL, "dataset": "s3://bucket/dataset/"}


def read(data: bytes | str, *, beside: Any = None, **settings: Any) -> Labels:
    """Read a score file; `beside`: the files in its folder, bytes by name."""
    content = data.encode() if isinstance(data, str) else data
    return read_labels(content, source=URL, settings=BuildSettings(**PLACES, **settings), beside=(beside or {}).get)


def refusal(data: bytes | str, **settings: Any) -> str:
    """Return the one line with which a score file is refused."""
    with pytest.raises(LabelError) as caught:
        read(data, **settings)
    message = str(caught.value)
    assert message.startswith(f"label file '{URL}' ")
    assert "\n" not in message
    return message


def rows(labels: Labels, *names: str) -> list[tuple[Any, ...]]:
    """Return these columns of what was read, row by row."""
    return [tuple(row[name] for name in names) for row in labels.table.to_pylist()]


def parquet(**columns: Any) -> bytes:
    """Return a Parquet file of these columns."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()
