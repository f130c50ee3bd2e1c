"""Columns of the score file that `records.parquet` keeps: they are in no record, so only the table says what they are.

In: what the plan found of them, and the parent's table.  Out: the columns, and whether the parent has the same.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from aesthetics_ops.builds import Build, BuildPlan
from aesthetics_ops.dataset.layout import BuildFile, VersionFile, build_key
from aesthetics_ops.dataset.manifest import Manifest
from aesthetics_ops.dataset.parent import building_on
from aesthetics_ops.dataset.sidecars import read_table
from aesthetics_ops.dataset.tables import parse_parquet
from aesthetics_ops.errors import IntegrityError, ObjectMissingError
from aesthetics_ops.store import Store

__all__ = ["has_same_columns", "read_kept"]

_READINGS: Final = 2


def read_kept(build: Build, plan: BuildPlan) -> pa.Table | None:
    """Return key and kept columns of the planned photos; None where no column is kept.

    Raises:
        IntegrityError: they are not those that were planned.
    """
    if not plan.kept_sha256:
        return None
    key = build_key(build.id, BuildFile.KEPT)
    for _ in range(_READINGS):
        try:
            data = build.dataset.get(key).data
        except ObjectMissingError:
            break
        if hashlib.sha256(data).hexdigest() == plan.kept_sha256:
            return parse_parquet(data, name=build.dataset.url_of(key))
    raise IntegrityError(
        f"{build.dataset.url_of(key)} is not what was planned; plan the build again, finished shards are kept",
        stage="plan",
    )


def has_same_columns(dataset: Store, parent: Manifest, names: Sequence[str], kept: pa.Table | None) -> bool:
    """Say whether each record of the parent has the kept columns of a build with the same records, and their values.

    Args:
        dataset: that the parent lies in.
        parent: the version before.
        names: of the columns that the build keeps.
        kept: as `read_kept` returns it.
    """
    if tuple(parent.settings.get("keep_columns", ())) != tuple(names):
        return False
    if kept is None:
        return True
    with building_on(parent.version):
        before = read_table(dataset, parent, VersionFile.RECORDS, ["key", *names])
    now = kept.take(pc.index_in(before["key"], kept["key"].combine_chunks()))
    return all(before[name].equals(now[name]) for name in names)
