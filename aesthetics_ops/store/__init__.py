"""The object store's narrow door: s3://, file://, memory://, and what obstore brings along, gs:// and az://.

In: the URL of a prefix.  Out: a `Store`, whose keys are relative to that prefix.
Promised: a listing is in key order and complete; no read is ever short; a write is seen whole or not at all; errors
are `ObjectMissingError`, `StoreRefusedError` and `StoreUnavailableError`, with the URL and the next step, and no
secret.  A local file that cannot be read or written (`download`, `upload`) raises OSError as usual.
Use a store in one process only: its first use starts threads that a forked child lacks, so the child is refused.

Callers import from here alone.  Behind the door: `contract.py` (what every store promises), `directory.py` (file://),
`native.py` (memory://, gs://, az://), `s3.py` (s3://, bulk bytes by obstore) and `boto.py` (what only boto3 can do there).
"""

from pathlib import Path
from urllib.parse import unquote

from aesthetics_ops.errors import StoreRefusedError
from aesthetics_ops.store.access import S3Access
from aesthetics_ops.store.contract import ConditionalWrites, Store, StoredObject, Swap
from aesthetics_ops.store.directory import DirectoryStore
from aesthetics_ops.store.native import open_native

__all__ = ["ConditionalWrites", "S3Access", "Store", "StoredObject", "Swap", "open_store"]


def open_store(url: str, *, s3: S3Access | None = None) -> Store:
    """Open the prefix that a URL names.  Nothing is asked of the store yet.

    Args:
        url: s3://bucket/prefix/, file:///directory/, memory://name/prefix/, gs://bucket/prefix/ or
            az://container/prefix/.  A file URL is percent-decoded, the others are taken as they are.  One memory
            name is one store throughout the process.  For gs and az, credentials come from the environment.
        s3: how to reach s3:// URLs; None leaves it to boto3: environment, profile, AWS_ENDPOINT_URL.

    Raises:
        StoreRefusedError: not such a URL.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "file" and rest.removeprefix("localhost").startswith("/"):
        return DirectoryStore(Path(unquote(rest.removeprefix("localhost"))))
    root, _, prefix = rest.partition("/")
    if not separator or not root or scheme not in ("s3", "memory", "gs", "az"):
        raise StoreRefusedError(
            f"{url!r} is not a store; write s3://bucket/prefix/, file:///directory/, memory://name/, gs:// or az://"
        )
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    if scheme != "s3":
        return open_native(scheme, root, prefix)
    # here and not above: boto3 is for those who use it
    from aesthetics_ops.store.boto import S3Bucket
    from aesthetics_ops.store.s3 import RoutedS3Store

    return RoutedS3Store(f"s3://{root}/", prefix, S3Bucket(root, s3))
