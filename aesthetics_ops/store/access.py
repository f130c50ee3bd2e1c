"""How a caller reaches s3:// URLs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3

__all__ = ["S3Access"]


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach s3:// URLs; a DAG makes it from an Airflow connection.

    Attributes:
        session: holds the credentials and the region.
        endpoint_url: a server that is not AWS's, for example http://127.0.0.1:9000; None leaves it to boto3's own
            settings (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile).
        verify: False accepts any certificate; a path names a file of trusted ones; None leaves it to boto3's settings.
    """

    session: "boto3.Session"
    endpoint_url: str | None = None
    verify: bool | str | None = None
