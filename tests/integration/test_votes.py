"""A build from a file of votes for other ratings than AVA's: the records, the manifest and the card say which."""

import io
from pathlib import Path

import pytest

from aesthetics_ops import build_dataset
from aesthetics_ops.dataset.example import decode_example
from aesthetics_ops.dataset.tfrecord import read_records
from aesthetics_ops.settings import BuildSettings
from aesthetics_ops.store import open_store
from tests.support.paths import ROOT


def test_records_hold_the_shares_and_the_manifest_the_ratings(tmp_path: Path) -> None:
    scores = tmp_path / "koniq.csv"
    scores.write_text(
        "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore\n"
        "902203.jpg,0,1,4,5,0,10,3.4,0.69,61.2\n903084.jpg,9,1,0,0,0,10,1.1,0.31,5.5\n904435.jpg,0,0,0,0,0,0,0,0,0\n"
    )
    dataset = f"file://{tmp_path}/dataset/"
    settings = BuildSettings(photos=f"file://{ROOT}/samples/photos/", labels=f"file://{scores}", dataset=dataset)
    manifest = build_dataset(settings.model_copy(update={"max_reject_fraction": 1.0})).manifest
    store = open_store(dataset)
    found: dict[str, object] = {}
    for split in manifest.splits.values():
        for shard in split.shards:
            for record in read_records(io.BytesIO(store.get(shard.path).data)):
                example = decode_example(record)
                found[example.id] = (example.label, example.distribution)
    assert found == {
        "902203.jpg": (pytest.approx(3.4), pytest.approx((0, 0.1, 0.4, 0.5, 0))),
        "903084.jpg": (pytest.approx(1.1), pytest.approx((0.9, 0.1, 0, 0, 0))),
    }
    assert manifest.source.ratings == (1, 2, 3, 4, 5)
    assert manifest.features["image/distribution"] == {"dtype": "float32", "shape": [5]}
    assert manifest.source.label_columns == {"id": "image_name", "votes": "c1 to c5"}
    card = store.get(f"versions/{manifest.version}/README.md").data
    assert b"shares of the votes for ratings 1 to 5;" in bytes(card)
