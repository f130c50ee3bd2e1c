"""The object store's narrow door: a URL's scheme names the store, one entry of a table opens it.

In: the URL of a prefix.  Out: a `Store`, whose keys are relative to that prefix.
Promised: a listing is in key order and complete; no read is ever short; a write is seen whole or not at all; errors
are `ObjectMissingError`, `StoreRefusedError` and `StoreUnavailableError`, with the URL and the next step, and no
secret.  A local file that cannot be read or written (`download`, `upload`) raises OSError as usual.
A store of memory://, gs:// or az:// is for one process: its first use starts threads that a forked child lacks, so the
child is refused.

Callers import from here alone.  Behind the door: `contract.py` (what every store promises), `directory.py` (file://),
`native.py` (memory://, gs://, az://), `s3.py` (s3://, over `bucket.py` and `http.py`).  `trying.py`, `pace.py` and
`limits.py` say how often and how long a server is asked, whichever it is.  A store more is a
subclass of `Store` and a call of `register_store`; `aesthetics_ops.testing.store_contract` has the tests that it must
pass.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.store.access import S3Access, S3Options
from aesthetics_ops.store.contract import ConditionalWrites, Store, StoredObject, Swap
from aesthetics_ops.store.interrupts import StoreThreads, begun, give_up, give_up_if_interrupted
from aesthetics_ops.store.limits import StoreLimits
from aesthetics_ops.store.pace import log_paces, requests_allowed
from aesthetics_ops.urls import as_url, shown

__all__ = [
    "ConditionalWrites", "S3Access", "S3Options", "Store", "StoreLimits", "StoreThreads", "StoredObject", "Swap", "begun", "give_up", "give_up_if_interrupted",
    "log_paces", "open_store", "register_store", "requests_allowed",
]  # fmt: skip

Opener = Callable[[str, S3Access | None], Store]
_LimitedOpener = Callable[[str, S3Access | None, StoreLimits], Store]


@dataclass(frozen=True, slots=True)
class _Scheme:
    opener: _LimitedOpener
    form: str  # of its URLs, for the message about a URL that is none


def open_store(url: str, *, s3: S3Access | None = None, limits: StoreLimits | None = None) -> Store:
    """Open the prefix that a URL names.  Nothing is asked of the store yet.

    Args:
        url: s3://bucket/prefix/, file:///directory/, memory://name/prefix/, gs://bucket/prefix/,
            az://container/prefix/, or of a scheme that was registered, in capitals or not; or a path that is absolute or
            starts with `~`.  A file URL is percent-decoded, the others are taken as they are: blanks, `%`, `#` and `?`
            stand for themselves.  One memory name is one store throughout the process.  For gs and az, credentials come
            from the environment.
        s3: how to reach s3:// URLs; None leaves it to boto3: environment, profile, AWS_ENDPOINT_URL.  Who pays, encryption and
            addressing come from AESTHETICS_S3_... of the environment where it does not say.
        limits: how long a server may take; None takes what AESTHETICS_STORE_TIMEOUT_S and AESTHETICS_STORE_RETRY_S say, or else
            20 and 60 s.

    Raises:
        SettingsError: not such a URL, or a variable of the environment is no number.
    """
    url = as_url(url)
    name, separator, _ = url.partition("://")
    scheme = _schemes.get(name)
    if not separator or scheme is None:
        raise _not_a_store(url)
    return scheme.opener(url, s3, limits or StoreLimits.of())


def register_store(scheme: str, opener: Opener, *, form: str | None = None) -> None:
    """Let `open_store`, and with it every setting that is a URL, know one kind of store more, in this process.

    URLs with a user and a password are refused for every scheme: they would stand in manifests.

    Args:
        scheme: what stands before `://`: lower-case letters, digits, `+`, `.` and `-`, a letter first.  A scheme that
            is known already gets the new opener.
        opener: called with a URL and with the `s3` of `open_store`, which most stores ignore.  It returns a `Store`
            whose `url` ends with `/`, asks nothing of a server yet, and raises StoreRefusedError for a URL that names
            nothing.
        form: how such URLs look, for the message about a URL that is none, for example `sftp://host/directory/`.

    Raises:
        ValueError: no such scheme can stand in a URL.
    """
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise ValueError(f"{scheme!r} cannot be a URL's scheme; take lower-case letters and digits, a letter first")
    _schemes[scheme] = _Scheme(lambda url, s3, _: opener(url, s3), form or f"{scheme}://")


def _open_directory(url: str, _: S3Access | None, __: StoreLimits) -> Store:
    from aesthetics_ops.store.directory import DirectoryStore

    return DirectoryStore(Path(unquote(url.removeprefix("file://"))))


def _open_native(url: str, _: S3Access | None, limits: StoreLimits) -> Store:
    from aesthetics_ops.store.native import open_native

    return open_native(url.partition("://")[0], *_root_and_prefix(url), limits)


def _open_s3(url: str, access: S3Access | None, limits: StoreLimits) -> Store:
    from aesthetics_ops.store.bucket import S3Bucket
    from aesthetics_ops.store.s3 import S3Store

    bucket, prefix = _root_and_prefix(url)
    return S3Store(S3Bucket(bucket, access, limits), prefix)


def _root_and_prefix(url: str) -> tuple[str, str]:
    """Return what stands between `://` and the next slash, and the rest, which is empty or ends with `/`."""
    root, _, prefix = url.partition("://")[2].partition("/")
    if not root:
        raise _not_a_store(url)
    return root, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _not_a_store(url: str) -> SettingsError:
    *forms, last = (scheme.form for scheme in _schemes.values())
    return SettingsError(f"{shown(url)!r} is not a store; write {', '.join(forms)} or {last}")


# The openers import what they need when they are called: boto3 and obstore are for those who use them.
_schemes: dict[str, _Scheme] = {
    "s3": _Scheme(_open_s3, "s3://bucket/prefix/"),
    "file": _Scheme(_open_directory, "file:///directory/"),
    "memory": _Scheme(_open_native, "memory://name/"),
    "gs": _Scheme(_open_native, "gs://"),
    "az": _Scheme(_open_native, "az://"),
}
