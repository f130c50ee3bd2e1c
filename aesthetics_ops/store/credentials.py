"""What it means when AWS credentials cannot be had, or are no longer good: one line that names the program or the file.

In: botocore's session and what went wrong.  Out: an error of this package, without a secret: of a `credential_process` the
program's name is told, but not its arguments.
"""

import re

import boto3
import botocore.credentials
import botocore.exceptions as boto

from aesthetics_ops.errors import AestheticsOpsError, StoreRefusedError, StoreUnavailableError
from aesthetics_ops.store.answers import is_passing

__all__ = ["explain_credentials", "explain_expiry", "explain_provider"]

_NOT_NOW = (boto.CredentialRetrievalError, boto.MetadataRetrievalError, boto.HTTPClientError, boto.ConnectionError)
_ABOUT_SETTINGS = (
    boto.ProfileNotFound,
    boto.PartialCredentialsError,
    boto.NoCredentialsError,
    boto.ParamValidationError,
)
_PASSING_CODES = {"ThrottlingException", "RequestLimitExceeded", "InternalFailure", "IDPCommunicationError"}
_LONGEST_SAID = 300
_SIGNED_OUT = (boto.SSOError, boto.TokenRetrievalError)


def explain_credentials(place: str, session: boto3.Session, error: Exception) -> AestheticsOpsError:
    """Return the error that stands for what went wrong while credentials were fetched.

    Args:
        place: what they are for, for example s3://bucket.
        session: that fetched them.
        error: botocore's, or the operating system's.
    """
    profile, program = session.profile_name, _program(session)
    source = (
        f"the credential_process {program!r} of profile {profile!r}"
        if program
        else f"what provides them to profile {profile!r}"
    )
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return StoreRefusedError(
            f"no complete AWS credentials for {place}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "a profile, or the Airflow connection"
        )
    if isinstance(error, _SIGNED_OUT):
        return StoreRefusedError(f"nobody is signed in for {place}; run `aws sso login --profile {profile}`")
    if isinstance(error, _NOT_NOW):
        return StoreUnavailableError(
            f"no answer about the credentials for {place} ({type(error).__name__}); "
            f"check {source} (role, process or instance), or try again later"
        )
    if isinstance(error, OSError):
        file = error.filename or program
        return StoreRefusedError(
            f"the credentials for {place} need {file!r}, which cannot be used ({error.strerror}); put it there, or correct "
            f"credential_process or web_identity_token_file of profile {profile!r}, or AWS_WEB_IDENTITY_TOKEN_FILE"
        )
    if isinstance(error, ValueError) and program:
        return StoreRefusedError(
            f"{source} printed something that is not a JSON document of credentials for {place}; run it by hand and correct it"
        )
    if isinstance(error, boto.ClientError):
        return _explain_service(place, error, f"check {source}")
    said = type(error).__name__
    return StoreRefusedError(f"the credentials for {place} cannot be had ({said}); check {source}")


def explain_provider(place: str, error: Exception) -> AestheticsOpsError | None:
    """Return the error for what a session could not be made of, such as a role that STS does not give; None: it is something else.

    Args:
        place: what the session is for, for example an Airflow connection.
        error: botocore's, or another.
    """
    if isinstance(error, boto.ClientError):
        return _explain_service(place, error, "check its role_arn, and that the role trusts whoever asks")
    if isinstance(error, _NOT_NOW):
        return StoreUnavailableError(
            f"no answer about the credentials for {place} ({type(error).__name__}); check that STS can be reached, or try again later"
        )
    if isinstance(error, _ABOUT_SETTINGS):
        return StoreRefusedError(f"no credentials for {place}: {error}; correct it")
    return None


def _explain_service(place: str, error: boto.ClientError, next_step: str) -> AestheticsOpsError:
    """Return the error for an answer of STS, or of another service that gives credentials: not the object store's."""
    answer, status = error.response.get("Error", {}), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = str(answer.get("Code", ""))
    asked = f"{error.operation_name} gave no credentials for {place}"
    if is_passing(status, code) or code in _PASSING_CODES:
        return StoreUnavailableError(f"{asked} now ({code}); try again later")
    # what STS says to a denial names the action and the role; other texts may say back what was signed
    said = f"{code}: {answer.get('Message', '')}"[:_LONGEST_SAID] if code == "AccessDenied" else code
    return StoreRefusedError(f"{asked} ({said}); the store was not asked: {next_step}")


def explain_expiry(place: str, session: boto3.Session) -> AestheticsOpsError:
    """Return the error for credentials that the store calls expired: a static token stays so until a person renews it."""
    credentials = session.get_credentials()
    if isinstance(credentials, botocore.credentials.RefreshableCredentials):
        return StoreUnavailableError(
            f"the session token for {place} has expired and is being renewed; try again later, and check this machine's clock"
        )
    method = getattr(credentials, "method", "explicit")
    where = {
        "env": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        "explicit": "the connection, or whatever made the session",
    }.get(method, f"profile {session.profile_name!r}")
    return StoreRefusedError(
        f"the session token for {place} has expired, and nothing here can renew it; get a new one and put it into {where}"
    )


def _program(session: boto3.Session) -> str:
    """Return the first word of the profile's credential_process, or an empty text."""
    try:
        command = session._session.get_scoped_config().get("credential_process", "")
    except boto.BotoCoreError:
        return ""
    return str((re.findall(r'"[^"]*"|\S+', command) or [""])[0].strip('"'))
