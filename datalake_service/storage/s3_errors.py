"""What an answer of S3 means: for the user (a line that says what to change) and for a write (applied or not).

The only module that knows the error codes of S3 and the exceptions of its client library. Pure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from botocore import exceptions as botocore

from datalake_service.aws.client_errors import BROKEN, NO_CREDENTIALS, NOT_SENT
from datalake_service.errors import (
    AccessDeniedError,
    NotAuthenticatedError,
    NotSupportedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)

_DENIED = {
    "AccessDenied": "the credentials do not allow {action}; add it to their policy"
    " (without s3:ListBucket a missing key is refused as well)",
    "AllAccessDisabled": "all access to the bucket is disabled",
}
_NOT_AUTHENTICATED = {
    "AuthFailure": "the credentials were not accepted; check the access key and the secret key",
    "ExpiredToken": "the session token has expired; get new credentials",
    "InvalidAccessKeyId": "the store does not know the access key; check it, and that the endpoint is the right one",
    "InvalidToken": "the session token is not valid; get new credentials",
    "RequestExpired": "the request came too late; check the clock of this machine",
    "RequestTimeTooSkewed": "the clock of this machine differs from that of the store by more than it allows (S3: 15"
    " minutes); set it",
    "SignatureDoesNotMatch": "the signature was not accepted; check the secret key and the region",
    "TokenRefreshRequired": "the session token has expired; get new credentials",
    "Unauthorized": "the credentials were not accepted; check the access key and the secret key",
}
_REFUSED = {
    "AuthorizationHeaderMalformed": "the region is wrong; set the region of the bucket",
    "EntityTooLarge": "the object is larger than the store allows",
    "IllegalLocationConstraintException": "the region is wrong; set the region of the bucket",
    "InvalidBucketName": "{bucket!r} is not a bucket name; correct the address of the lake",
    "NoSuchBucket": "the bucket {bucket!r} does not exist; create it or correct the address of the lake",
    "PermanentRedirect": "the bucket is in another region or behind another endpoint; set the right one",
    "QuotaExceeded": "no space left: the quota of the bucket is used up",
    "XMinioStorageFull": "no space left on the store",
}
_FINAL: tuple[tuple[dict[str, str], type[StoreError]], ...] = (
    (_REFUSED, StoreError),
    (_DENIED, AccessDeniedError),
    (_NOT_AUTHENTICATED, NotAuthenticatedError),
)
_THROTTLED = {"429", "503", "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling",
              "ThrottlingException", "TooManyRequests", "TooManyRequestsException", "RequestLimitExceeded",
              "BandwidthLimitExceeded"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is, for messages."""

    bucket: str
    endpoint: str
    """The server as the user gave it, without user name and password; or what stands for AWS."""


def place_of(bucket: str, endpoint_url: str | None) -> Place:
    """Name the bucket and its server without any secret."""
    if not endpoint_url:
        return Place(bucket, "AWS S3")
    parts = urlsplit(endpoint_url)
    return Place(bucket, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


class Verdict(enum.Enum):
    """What an error says about the write that it answers."""

    REFUSED = "the condition did not hold; not applied"
    CONFLICT = "another conditional write was under way; not applied, may be sent again"
    THROTTLED = "too busy; not applied, may be sent again"
    NOT_SENT = "the server was never reached; not applied, may be sent again"
    UNKNOWN = "applied or not"
    FATAL = "not applied, and sending it again would not help"


def judge(error: Exception) -> Verdict:  # noqa: PLR0911 - one line for each meaning
    """Say what an error means for a write. When in doubt, ``UNKNOWN``."""
    if isinstance(error, botocore.ClientError):
        code, status = code_of(error), status_of(error)
        if code in _THROTTLED or status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            return Verdict.THROTTLED
        if status == HTTPStatus.PRECONDITION_FAILED or code == "NoSuchKey":
            return Verdict.REFUSED
        if code == "NotImplemented" or status == HTTPStatus.NOT_IMPLEMENTED:
            return Verdict.FATAL
        if code == "NoSuchUpload":  # aborted, or joined by a request whose answer was lost
            return Verdict.CONFLICT
        if status == HTTPStatus.CONFLICT and code not in {"OperationAborted", "BucketNotEmpty"}:
            return Verdict.CONFLICT
        # RequestTimeout is a 400: the server waited for the body and gave up.
        return (
            Verdict.UNKNOWN
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR or code in {"RequestTimeout", "408"}
            else Verdict.FATAL
        )
    if isinstance(error, NOT_SENT):
        return Verdict.NOT_SENT
    return Verdict.UNKNOWN if isinstance(error, BROKEN) and not _bad_certificate(error) else Verdict.FATAL


def translate(error: Exception, place: Place, *, action: str, key: str = "") -> StoreError:
    """Say what failed and what to change. Raise it ``from`` the original.

    Args:
        error: One of ``CLIENT_ERRORS``.
        place: Bucket and server.
        action: The permission that the request needs, such as ``s3:GetObject``.
        key: The key in the bucket, if the request is about one object.
    """
    what = f"s3://{place.bucket}/{key}" if key else f"s3://{place.bucket}"
    if isinstance(error, botocore.ClientError):
        return _translate_answer(error, place, action=action, what=what)
    if isinstance(error, NO_CREDENTIALS):
        return NotAuthenticatedError(f"no usable credentials for {what} at {place.endpoint}: give an access key and a"
                                 " secret key, or configure the default chain of AWS")  # fmt: skip
    if _bad_certificate(error):
        return StoreError(
            f"the TLS certificate of {place.endpoint} is not trusted; install its authority (AWS_CA_BUNDLE)"
        )
    if isinstance(error, NOT_SENT):
        return StoreUnavailableError(f"cannot reach {place.endpoint} for {what}: check the endpoint and the network")
    if isinstance(error, BROKEN):
        kind = type(error).__name__
        return StoreUnavailableError(f"the connection to {place.endpoint} broke ({kind}) during {action} on {what}")
    return StoreError(f"{action} on {what} at {place.endpoint} failed: {_line(error)}")


def _translate_answer(  # noqa: PLR0911 - one line for each meaning
    error: Exception, place: Place, *, action: str, what: str
) -> StoreError:
    code, status = code_of(error), status_of(error)
    for codes, kind in _FINAL:
        if code in codes:
            return kind(f"{what} at {place.endpoint}: {codes[code].format(action=action, bucket=place.bucket)}")
    if code == "NotImplemented" or status == HTTPStatus.NOT_IMPLEMENTED:
        return NotSupportedError(
            f"{what} at {place.endpoint}: the store does not know this kind of request ({_message(error) or code});"
            " use a newer version of it, or another store"
        )
    if code == "NoSuchUpload":
        return StoreUnavailableError(
            f"the upload of {what} to {place.endpoint} was aborted by something else; try again"
        )
    if status == HTTPStatus.NOT_FOUND:
        return ObjectNotFoundError(f"no object {what}")
    if status == HTTPStatus.PRECONDITION_FAILED:
        return PreconditionFailedError(f"{what} was replaced since it was looked at")
    if status in {401, 403}:
        return AccessDeniedError(f"{what} at {place.endpoint}: {_DENIED['AccessDenied'].format(action=action)}")
    if (
        code in _THROTTLED
        or status in {408, 409, 429}
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or code == "RequestTimeout"
    ):
        return StoreUnavailableError(f"{place.endpoint} could not do {action} on {what} now ({code}); try again later")
    if status in {301, 307}:
        return StoreError(f"{what} at {place.endpoint}: {_REFUSED['PermanentRedirect']}")
    return StoreError(f"{action} on {what} at {place.endpoint} failed with {code}: {_message(error)}")


def translate_failure(failure: dict[str, str], place: Place, *, action: str) -> StoreError:
    """Like ``translate``, for one entry of the list of failures that a bulk request answers with."""
    code = failure.get("Code", "")
    status = {"AccessDenied": 403, "InternalError": 500, "SlowDown": 503, "ServiceUnavailable": 503}.get(code, 400)
    answer = {"Error": dict(failure), "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate(botocore.ClientError(answer, action), place, action=action, key=failure.get("Key", ""))


def code_of(error: Exception) -> str:
    """Return the error code of an answer (the status, if the answer had no body); empty for other errors."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """Return the HTTP status of an answer; 0 for other errors."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _message(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return " ".join(str(response.get("Error", {}).get("Message", "")).split())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _bad_certificate(error: Exception) -> bool:
    return isinstance(error, botocore.SSLError) and "CERTIFICATE" in str(error).upper()
