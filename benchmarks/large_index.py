"""A pulled directory of many records, whose shards are empty space: for what opening it costs.

In: a pulled directory, a number of records.  Out: another that opens as if it had been pulled.
"""

import hashlib
import json
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

__all__ = ["make_large_index"]

_MEAN_BYTES: Final = 120_000
_SHARD_RECORDS: Final = 1_500


def make_large_index(source: Path, directory: Path, records: int) -> None:
    """Make it, unless it is there.

    Args:
        source: whose manifest is taken for the rest.
        directory: of its own.
        records: all in the train split, each of about 120 kB.
    """
    from aesthetics_ops.dataset.layout import PULLED_MANIFEST, PULLED_RECORDS, ShardFile, pulled_shard_name, shard_key
    from aesthetics_ops.dataset.manifest import Manifest
    from aesthetics_ops.dataset.tables import RECORDS, write_parquet
    from aesthetics_ops.readers.pulling.stamps import STAMPS, Stamps

    if (directory / PULLED_MANIFEST).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(_MEAN_BYTES), 0.5, records), 5_000, 2_000_000).astype(np.int64)
    firsts = np.arange(0, records, _SHARD_RECORDS)
    ends = np.cumsum(lengths)
    before = np.concatenate([[0], ends])[firsts]
    sizes = np.diff(np.append(before, ends[-1]))
    counts = np.diff(np.append(firsts, records))
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(firsts))]
    keys = [shard_key(digest, ShardFile.RECORDS) for digest in digests]
    shards = np.repeat(np.arange(len(firsts)), counts)
    ids = pa.array(random.permutation(records) + records).cast(pa.string())
    same = pa.array(np.zeros(records, np.int64))
    columns = {
        "id": ids, "key": ids, "etag": ids, "phash": ids, "split": pa.array(["train"]).take(same),
        "shard": pa.array(keys).take(pa.array(shards)), "offset": ends - lengths - before[shards], "length": lengths,
        "label": random.normal(5.4, 0.7, records).astype(np.float32), "width": np.full(records, 640),
        "height": np.full(records, 427), "bytes": lengths - 200, "transforms": pa.array([["metadata_dropped"]]).take(same),
        "progressive": np.zeros(records, bool), "sampling": pa.array(["4:2:0"]).take(same),
        "brightness": np.full(records, 112.5, np.float32), "contrast": np.full(records, 56.25, np.float32),
    }  # fmt: skip
    table = pa.table({name: columns[name] for name in RECORDS.names}, schema=RECORDS.schema)
    data = write_parquet(table)
    digest = hashlib.sha256(data).hexdigest()
    (directory / PULLED_RECORDS).write_bytes(data)
    stamps = Stamps(directory / STAMPS)  # as a pull leaves them, so that nothing is hashed again
    stamps.note(directory / PULLED_RECORDS, digest)
    stamps.write(directory / "stamps.new")
    entries = [
        {"path": key, "records": int(count), "bytes": int(size), "sha256": digest, "crc32c": "0" * 8}
        for key, count, size, digest in zip(keys, counts, sizes, digests, strict=True)
    ]
    for number, size in enumerate(sizes):
        with (directory / pulled_shard_name("train", number, len(sizes))).open("wb") as file:
            file.truncate(int(size))
    document = json.loads((source / PULLED_MANIFEST).read_text())
    document["files"][PULLED_RECORDS] |= {"bytes": len(data), "sha256": digest}
    empty = {"records": 0, "bytes": 0, "shards": []}
    document["splits"] = dict.fromkeys(document["splits"], empty)
    document["splits"]["train"] = {"records": records, "bytes": int(sizes.sum()), "shards": entries}
    document["accounting"] |= {"listed": records, "converted": records}
    kind = {"progressive": False, "sampling": "4:2:0", "records": records}
    document["jpegs"] = {"kinds": [kind], "hardware": records}
    for name in ("records", "decoded"):
        document["validation"][name] = records
    text = json.dumps(document)
    Manifest.parse(text.encode(), name="the manifest of a large index")
    (directory / PULLED_MANIFEST).write_text(text)
