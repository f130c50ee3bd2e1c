"""Signature Version 4: botocore signs the same, byte for byte."""

import datetime
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from aesthetics_ops.store.signing import NO_BODY, Keys, encoded_path, encoded_query, signed

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)
MOMENT = datetime.datetime(2026, 3, 4, 5, 6, 7, tzinfo=datetime.UTC)


def of_botocore(method: str, path: str, query: str, headers: dict[str, str], token: str | None) -> str:
    request = AWSRequest(
        method, f"https://host.example{path}?{query}", headers={**headers, "X-Amz-Content-SHA256": NO_BODY}
    )
    request.context["payload_signing_enabled"] = True
    signer = botocore.auth.S3SigV4Auth(Credentials("AK", "secret", token), "s3", "eu-west-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            botocore.auth, "get_current_datetime", lambda *_, **__: MOMENT.replace(tzinfo=None), raising=False
        )
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@settings(max_examples=50)
@given(
    key=TEXT,
    query=st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
    token=st.sampled_from([None, "token"]),
    method=st.sampled_from(["GET", "PUT"]),
)
def test_botocore_signs_the_same(key: str, query: dict[str, str], token: str | None, method: str) -> None:
    path, asked = encoded_path(f"/bucket/{key}"), encoded_query(query)
    headers: dict[str, Any] = {"host": "host.example", "if-match": '"a  b"'}
    ours = signed(
        method, path, asked, headers, NO_BODY, Keys("AK", "secret", token, "eu-west-1"), now=MOMENT.timestamp()
    )
    assert ours["authorization"].replace(", ", ",") == of_botocore(method, path, asked, headers, token).replace(
        ", ", ","
    )


def test_keys_show_no_secret() -> None:
    assert "secret" not in repr(Keys("AK", "secret", "token", "r"))
    assert "token" not in repr(Keys("AK", "secret", "token", "r"))
