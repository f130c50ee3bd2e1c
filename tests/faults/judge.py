"""What must hold of a dataset whatever happened to it: LATEST names a version, whole, with nothing false in it.

In: a bucket.  Out: what LATEST's version holds, by TensorFlow's own reading; or what is broken.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aesthetics_ops.errors import AestheticsOpsError
from aesthetics_ops.store import Store
from aesthetics_ops.versions.verify import verify_version

__all__ = ["BrokenError", "Content", "Found", "forget", "read_latest_version", "read_with_tensorflow"]

Content = dict[str, tuple[float, bytes]]  # label and JPEG, by id


class BrokenError(Exception):
    """LATEST does not name a whole version."""


@dataclass(frozen=True, slots=True)
class Found:
    """What LATEST names.

    Attributes:
        version: its name; None where nothing was ever published.
        content: its records.
        rejects: photos that it left out, by reason.
    """

    version: str | None
    content: Content
    rejects: Mapping[str, int]


_judged: dict[str, Found] = {}


def forget() -> None:
    """Let the versions go that were read."""
    _judged.clear()


def read_latest_version(objects: Mapping[str, bytes], clean: Store) -> Found:
    """Read what LATEST names, by `verify` and by TensorFlow; versions that were read before are known by their bytes.

    Args:
        objects: the dataset's, by key.
        clean: the same, through a connection without faults.

    Raises:
        BrokenError: says what is broken.
    """
    if "LATEST.json" not in objects:
        return Found(None, {}, {})
    name = _identity(objects)
    if name not in _judged:
        try:
            manifest = verify_version(clean)
        except AestheticsOpsError as error:
            raise BrokenError(f"verify: {error}") from error
        content = read_with_tensorflow(objects)
        if len(content) != manifest.records:
            raise BrokenError(f"TensorFlow reads {len(content)} records of {manifest.records}")
        _judged[name] = Found(manifest.version, content, dict(manifest.rejects))
    return _judged[name]


def read_with_tensorflow(objects: Mapping[str, bytes]) -> Content:
    """Follow LATEST and the manifest by hand, and read every record as a trainer does.

    Raises:
        BrokenError: a digest, a record or an image is wrong.
    """
    import tensorflow as tf

    manifest = _manifest(objects)
    features = {
        "image/image": tf.io.FixedLenFeature([], tf.string),
        "image/label": tf.io.FixedLenFeature([], tf.float32),
        "image/id": tf.io.FixedLenFeature([], tf.string),
    }
    content: Content = {}
    with tempfile.TemporaryDirectory(prefix="judge-") as folder:
        files: list[Path] = []
        for split in manifest["splits"].values():
            for shard in split["shards"]:
                data = objects.get(shard["path"], b"")
                if hashlib.sha256(data).hexdigest() != shard["sha256"]:
                    raise BrokenError(f"{shard['path']} has another sha256 than the manifest states")
                files.append(Path(folder, f"{len(files)}.tfrecord"))
                files[-1].write_bytes(data)
        try:
            records = list(tf.data.TFRecordDataset([str(file) for file in files]).as_numpy_iterator())
            parsed = tf.io.parse_example(records, features)
            images, labels, ids = (parsed[f"image/{name}"].numpy().tolist() for name in ("image", "label", "id"))
            for image in images:
                tf.io.decode_jpeg(image, channels=3)
        except tf.errors.OpError as error:
            raise BrokenError(f"TensorFlow: {error}") from error
    for image, label, name in zip(images, labels, ids, strict=True):
        if name.decode() in content:
            raise BrokenError(f"two records of {name.decode()!r}")
        content[name.decode()] = (label, image)
    return content


def _manifest(objects: Mapping[str, bytes]) -> dict[str, Any]:
    latest = json.loads(objects["LATEST.json"])
    data = objects.get(latest["manifest"], b"")
    if hashlib.sha256(data).hexdigest() != latest["sha256"]:
        raise BrokenError(f"{latest['manifest']} has another sha256 than LATEST states")
    manifest: dict[str, Any] = json.loads(data)
    return manifest


def _identity(objects: Mapping[str, bytes]) -> str:
    """Return a digest of everything that a version may consist of."""
    digest = hashlib.sha256()
    for key in sorted(objects):
        if key == "LATEST.json" or key.startswith(("versions/", "shards/")):
            digest.update(key.encode() + b"\0" + hashlib.sha256(objects[key]).digest())
    return digest.hexdigest()
