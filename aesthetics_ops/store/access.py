"""How a caller reaches s3:// URLs, and what its requests say beside what they ask for.

In: arguments, or the environment (AESTHETICS_S3_REQUESTER_PAYS, AESTHETICS_S3_ENCRYPTION, AESTHETICS_S3_KMS_KEY_ID,
AESTHETICS_S3_ADDRESSING).  Out: `S3Access`, `S3Options`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from aesthetics_ops.errors import SettingsError
from aesthetics_ops.settings import Addressing, Encryption

if TYPE_CHECKING:
    import boto3

__all__ = ["S3Access", "S3Options"]

_YES: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
_AWS: Final = re.compile(r"s3(\.[a-z0-9-]+)*\.amazonaws\.com(\.cn)?")
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_PRINTABLE: Final = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class S3Options:
    """What every request to a bucket says of who pays, of encryption, and of the bucket's name.

    Attributes:
        requester_pays: whoever sends the request pays for it, as buckets of other accounts may demand.
        encryption: how the store is told to encrypt what is written; None leaves it to the bucket's own setting.
        kms_key_id: of the key, where KMS encrypts; None takes the account's own key for S3.
        addressing: where requests name the bucket: `path` behind the host, `virtual` before it, `auto` as `virtual` at AWS
            where the name allows it, and as `path` elsewhere.
    """

    requester_pays: bool = False
    encryption: Encryption | None = None
    kms_key_id: str | None = None
    addressing: Addressing = "path"

    def __post_init__(self) -> None:
        if self.kms_key_id is not None and (self.encryption is None or not self.encryption.startswith("aws:kms")):
            raise SettingsError(
                f"kms_key_id is set, but encryption is {self.encryption!r}, which takes no key; set encryption to 'aws:kms', or leave "
                "the key out"
            )
        if self.kms_key_id is not None and not _PRINTABLE.fullmatch(self.kms_key_id):
            raise SettingsError(f"kms_key_id is {self.kms_key_id!r}, which no key has; write its id or its ARN")

    @classmethod
    def of(
        cls,
        *,
        requester_pays: bool | None = None,
        encryption: Encryption | None = None,
        kms_key_id: str | None = None,
        addressing: Addressing | None = None,
    ) -> "S3Options":
        """Return options; None takes what the environment says, or else the default.

        Raises:
            SettingsError: a variable of the environment has no such value, or a key is named and nothing that takes one.
        """
        if requester_pays is None:
            requester_pays = _YES[_chosen("AESTHETICS_S3_REQUESTER_PAYS", tuple(_YES))]
        if encryption is None:
            found = _chosen("AESTHETICS_S3_ENCRYPTION", ("", *get_args(Encryption)))
            encryption = found or None  # type: ignore[assignment]
            kms_key_id = kms_key_id or os.environ.get("AESTHETICS_S3_KMS_KEY_ID", "").strip() or None
        found = addressing or _chosen("AESTHETICS_S3_ADDRESSING", ("", *get_args(Addressing))) or "path"
        return cls(requester_pays, encryption, kms_key_id, found)  # type: ignore[arg-type]

    def headers(self, method: str, query: Mapping[str, str]) -> dict[str, str]:
        """Return what a request says more; encryption is a matter of the requests that begin an object."""
        said = {"x-amz-request-payer": "requester"} if self.requester_pays else {}
        begins = (method == "PUT" and "partNumber" not in query) or (method == "POST" and "uploads" in query)
        if begins and self.encryption is not None:
            said["x-amz-server-side-encryption"] = self.encryption
            if self.kms_key_id is not None:
                said["x-amz-server-side-encryption-aws-kms-key-id"] = self.kms_key_id
        return said

    def action(self, method: str, query: Mapping[str, str], key: str) -> str:
        """Return the right that a request needs, as policies name it."""
        if "delete" in query or (method == "DELETE" and "uploadId" not in query):
            return "s3:DeleteObject"
        if method == "DELETE":
            return "s3:AbortMultipartUpload"
        if method in ("PUT", "POST"):
            needs_key = self.encryption is not None and self.encryption.startswith("aws:kms")
            return "s3:PutObject (and kms:GenerateDataKey and kms:Decrypt for the key)" if needs_key else "s3:PutObject"
        return "s3:GetObject" if key else "s3:ListBucket"

    def names_host(self, bucket: str, host: str) -> bool:
        """Say whether requests to a server name the bucket before its host."""
        if self.addressing == "auto":
            return _AWS.fullmatch(host) is not None and _LABEL.fullmatch(bucket) is not None
        return self.addressing == "virtual"


def _chosen(variable: str, choices: tuple[str, ...]) -> str:
    text = os.environ.get(variable, "").strip()
    found = text.lower() if text.lower() in choices else text
    if found not in choices:
        raise SettingsError(f"{variable} is {text!r}; write one of {', '.join(filter(None, choices))}, or unset it")
    return found


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach s3:// URLs; a DAG makes it from an Airflow connection.

    Attributes:
        session: holds the credentials and the region.
        endpoint_url: a server that is not AWS's, for example http://127.0.0.1:9000; None leaves it to boto3's own
            settings (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile).
        verify: False accepts any certificate; a path names a file of trusted ones; None leaves it to boto3's settings.
        options: what requests say more; None takes what the environment says.
        sources: how a build reaches photos, scores and the inventory; None: as the dataset.
    """

    session: "boto3.Session"
    endpoint_url: str | None = None
    verify: bool | str | None = None
    options: S3Options | None = None
    sources: "S3Access | None" = None

    @property
    def for_sources(self) -> "S3Access":
        """How to reach photos, scores and the inventory."""
        return self.sources or self
