"""Builds, rollbacks and expiries at once on Ceph's gateway, whose conditional writes are real."""

from tests.support.races import four_photos, run_rounds
from tests.support.s3 import S3TestBucket


def test_after_every_round_latest_is_whole_and_only_what_was_published_is_listed(s3_bucket: S3TestBucket) -> None:
    run_rounds(four_photos(s3_bucket.url))
