"""Make a bucket with the sample photos in a new S3 server, unless the server lets everyone in.

    python fill_bucket.py BUCKET SAMPLES

Takes endpoint and keys from `AIRFLOW_CONN_AWS_DEFAULT`, as the DAG does.  A bucket that is there already is left as it
is, so what was deleted from it stays deleted.  Whether the server honours the conditions of a write, each build asks.
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
    return "AVA.txt" in found or any(not key.startswith("photos/") for key in found)


def lets_everyone_in(bucket: str) -> bool:
    """Say whether the server shows the bucket to someone without a key."""
    try:
        connect(signed=False).list_objects_v2(Bucket=bucket)
    except ClientError as error:
        if status_of(error) not in (401, 403):
            raise
        return False
    return True


def prepare(bucket: str, samples: Path) -> str:
    """Do everything; return what was done."""
    s3 = connect(signed=True)
    if not has_bucket(s3, bucket):
        s3.create_bucket(Bucket=bucket)
    if lets_everyone_in(bucket):
        sys.exit("the S3 server cannot be used: it lets in who has no key")
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
