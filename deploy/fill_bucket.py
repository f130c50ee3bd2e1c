"""Make a bucket with the sample photos in a new S3 server, and check that the server does what publishing needs.

    python fill_bucket.py BUCKET SAMPLES

Takes endpoint and keys from `AIRFLOW_CONN_AWS_DEFAULT`, as the DAG does.  A bucket that is there already is left as it
is, so what was deleted from it stays deleted.  Fails when the server lets someone without a key in, or ignores the
conditions of a write.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PATIENCE_SECONDS = 120
PROBE = "conditional-write-probe"


def connect(*, signed: bool) -> Any:
    """Return a client of the connection's S3, with its keys or without any."""
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    config = Config(connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=connection["extra"]["endpoint_url"],
        region_name=connection["extra"]["region_name"],
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
        config=config if signed else config.merge(Config(signature_version=UNSIGNED)),
    )


def status_of(error: ClientError) -> int:
    """Return the HTTP status that the server answered with."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def has_bucket(s3: Any, bucket: str) -> bool:
    """Say whether the bucket is there."""
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if status_of(error) != 404:
            raise
        return False
    return True


def fill(s3: Any, bucket: str, samples: Path) -> int:
    """Upload the samples, the scores last, as what says that all of them are there; return how many objects."""
    files = [(path, f"photos/{path.name}") for path in sorted((samples / "photos").iterdir())]
    files += [(samples / name, name) for name in ("tags.txt", "challenges.txt", "AVA.txt")]
    for path, key in files:
        s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    return len(files)


def is_filled(s3: Any, bucket: str) -> bool:
    """Say whether an earlier run came to its end, or someone put other things into the bucket."""
    found = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]
    return "AVA.txt" in found or any(not key.startswith("photos/") and key != PROBE for key in found)


def find_fault(s3: Any, bucket: str) -> str:
    """Return what of the server would make publishing unsafe; empty when nothing does."""
    try:
        connect(signed=False).list_objects_v2(Bucket=bucket)
        return "it lets in who has no key"
    except ClientError as error:
        if status_of(error) not in (401, 403):
            raise
    etag = s3.put_object(Bucket=bucket, Key=PROBE, Body=b"first")["ETag"]
    try:
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"00000000000000000000000000000000"'}):
            try:
                s3.put_object(Bucket=bucket, Key=PROBE, Body=b"second", **condition)
                return f"it ignores the condition {condition} of a write"
            except ClientError as error:
                if status_of(error) not in (409, 412):
                    raise
        try:
            s3.put_object(Bucket=bucket, Key=PROBE, Body=b"third", IfMatch=etag)
        except ClientError as error:
            if status_of(error) != 412:
                raise
            s3.put_object(Bucket=bucket, Key=PROBE, Body=b"third", IfMatch=etag.strip('"'))  # as Ceph wants it
    finally:
        s3.delete_object(Bucket=bucket, Key=PROBE)
    return ""


def prepare(bucket: str, samples: Path) -> str:
    """Do everything; return what was done."""
    s3 = connect(signed=True)
    if not has_bucket(s3, bucket):
        s3.create_bucket(Bucket=bucket)
    fault = find_fault(s3, bucket)
    if fault:
        sys.exit(f"the S3 server cannot be used: {fault}")
    if is_filled(s3, bucket):
        return f"s3://{bucket}/ holds data already and is left as it is"
    return f"{fill(s3, bucket, samples)} objects put into s3://{bucket}/"


def main() -> int:
    """Try until it works or patience ends; return the exit status."""
    bucket, samples = sys.argv[1], Path(sys.argv[2])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            print(prepare(bucket, samples))
            return 0
        except (BotoCoreError, ClientError) as error:
            # a server that has just started may not have found all its parts yet
            if time.monotonic() > deadline:
                sys.exit(f"the S3 server does not do what it should: {error}")
            print(f"not yet: {error}", flush=True)
            time.sleep(3)


if __name__ == "__main__":
    sys.exit(main())
