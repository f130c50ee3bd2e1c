"""List the photos, and refuse a listing that names one twice.

In: the store of the photos.  Out: its listing, in key order, each key once.
A store, or something before it, may give a page of a listing twice, and then often leaves out another: so the whole is
listed again.  A page that is missing leaves no trace: the gates bound what it hides (max_shrink_fraction).  Pages in
another order than the keys' are no fault: some stores have none, and `Store.list` sorts.
"""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.errors import StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store import Store

__all__ = ["list_photos"]

_LISTINGS: Final = 3


def list_photos(photos: Store, scratch: Path | None = None) -> pa.Table:
    """Return the listing of a store: key, size in bytes and etag, ordered by key.

    Args:
        photos: the store.
        scratch: a folder where a store may keep many rows, mapped and not in memory; None keeps them in memory.

    Raises:
        ScratchSpaceError: the disk of the folder is full.
        StoreUnavailableError: the store names an object twice, each time that it is asked; or it gives no answer.
        StoreRefusedError: it says no, or names no ETags: a photo that was replaced would look like the one before.
    """
    for _ in range(_LISTINGS):
        listing = photos.list(scratch=scratch)
        keys = listing["key"]
        repeated = keys[1:].filter(pc.equal(keys[:-1], keys[1:]))
        if not len(repeated):
            _require_etags(listing, photos.url)
            return listing
    raise StoreUnavailableError(
        f"the listing of {photos.url} was asked for {_LISTINGS} times and names objects twice each time, the last time "
        f"{len(repeated)} of {len(keys)}, such as {repeated[0].as_py()!r}: pages of it come twice, so others may be missing; "
        "check what lies between here and the store, then try again"
    )


def _require_etags(listing: pa.Table, url: str) -> None:
    etags = listing["etag"]
    if len(etags) and not etags[0].as_py() and pc.all(pc.equal(etags, "")).as_py():
        raise StoreRefusedError(
            f"the listing of {url} names {len(etags)} objects and no ETag, so nothing would tell a photo that was replaced; use a "
            "server whose listings name ETags, or an inventory that does"
        )
