"""What a training is told: where it lies, and what its digest is of.  Tables of a configuration are in `test_config.py`."""

from typing import Any

import pytest

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.training_settings import training_settings


@pytest.mark.parametrize("dataset", ["s3://bucket/", "s3://bucket", "file:///", "gs://b"])
def test_beside_a_whole_bucket_there_is_no_place(dataset: str) -> None:
    with pytest.raises(SettingsError, match="is a whole bucket, so nothing lies beside it; set url"):
        training_settings({}, dataset, "here")
    assert training_settings({"url": "s3://m/x"}, dataset, "here").url == "s3://m/x/"


def test_the_digest_is_of_what_decides_the_model_alone() -> None:
    base = training_settings({}, "s3://b/d/", "here")
    same = training_settings({"retries": 7, "queue": "gpu", "url": "s3://b/x/", "directory": "/d"}, "s3://b/d/", "here")
    assert base.digest == same.digest
    others: list[dict[str, Any]] = [{"seed": 1}, {"options": {"epochs": 3}}, {"train": "a.b:c"}]
    assert len({base.digest, *(training_settings(each, "s3://b/d/", "here").digest for each in others)}) == 4
