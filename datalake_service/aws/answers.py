"""What an answer of an AWS service means: one of our errors, with a line that says what to change. Pure.

The only module that knows the error codes of these services and the exceptions of their client library.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from botocore import exceptions as botocore

from datalake_service.aws.client_errors import BROKEN, NO_CREDENTIALS, NOT_SENT
from datalake_service.aws.clients import is_of_aws
from datalake_service.errors import AccessDeniedError, ObjectNotFoundError, StoreError, StoreUnavailableError

_MISSING = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "NonExistentQueue",
    "QueueDoesNotExist",
    "ResourceNotFoundException",
}
_DENIED = {
    "AccessDenied": "the credentials do not allow {action}; add it to their policy",
    "AccessDeniedException": "the credentials do not allow {action}; add it to their policy",
    "UnauthorizedOperation": "the credentials do not allow {action}; add it to their policy",
    "KMS.AccessDeniedException": "the credentials do not allow the key that encrypts it; add kms:Decrypt",
    "KmsAccessDenied": "the credentials do not allow the key that encrypts it; add kms:Decrypt",
    "KMSAccessDeniedException": "the credentials do not allow the key that encrypts it; add kms:Decrypt",
    "ExpiredToken": "the session token has expired; get new credentials",
    "ExpiredTokenException": "the session token has expired; get new credentials",
    "InvalidClientTokenId": "the access key is not known; check it, and that the endpoint is the right one",
    "UnrecognizedClientException": "the access key is not known; check it, and that the endpoint is the right one",
    "InvalidSignatureException": "the signature was not accepted; check the secret key and this machine's clock",
    "SignatureDoesNotMatch": "the signature was not accepted; check the secret key and this machine's clock",
    "IncompleteSignature": "the signature was not accepted; check the access key and the secret key",
    "MissingAuthenticationToken": "no credentials were sent; configure the default chain of AWS",
    "OptInRequired": "the account is not signed up for the service",
}
_THROTTLED = {
    "KMSThrottlingException",
    "KmsThrottled",
    "LimitExceededException",
    "OverLimit",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}


@dataclass(frozen=True, slots=True)
class Resource:
    """What requests are about, for messages."""

    name: str
    """With its kind, as in ``the queue 'orders'``."""
    setting: str
    """What to correct if it does not exist, as in ``readConnector.queueName``."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a service is, for messages."""

    region: str
    endpoint: str
    """Its server, without user name and password."""

    def __str__(self) -> str:
        """The region of AWS, or the server of somebody's own."""
        return f"in {self.region}" if is_of_aws(self.endpoint) else f"at {self.endpoint}"


def site_of(region: str, endpoint_url: str) -> Site:
    """Name region and server without any secret."""
    parts = urlsplit(endpoint_url)
    return Site(region, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")


def translate(error: Exception, resource: Resource, site: Site, *, action: str) -> StoreError:
    """Say what failed and what to change. Raise it ``from`` the original.

    ``StoreUnavailableError``: the request may be repeated (and may have been applied).

    Args:
        error: One of ``CLIENT_ERRORS``.
        resource: What the request was about.
        site: Where it was sent.
        action: The permission that it needs, such as ``sqs:ReceiveMessage``.
    """
    if isinstance(error, botocore.ClientError):
        return _translate_answer(error, resource, site, action)
    if isinstance(error, NO_CREDENTIALS):
        return AccessDeniedError(f"no usable credentials for {resource.name}: configure the default chain of AWS")
    if isinstance(error, botocore.SSLError) and "CERTIFICATE" in str(error).upper():
        return StoreError(
            f"the TLS certificate of {site.endpoint} is not trusted; install its authority (AWS_CA_BUNDLE)"
        )
    if isinstance(error, NOT_SENT):
        return StoreUnavailableError(
            f"cannot reach {site.endpoint} for {resource.name}: check the endpoint, the region and the network"
        )
    if isinstance(error, BROKEN):
        kind = type(error).__name__
        return StoreUnavailableError(f"the connection to {site.endpoint} broke ({kind}) during {action}")
    return StoreError(f"{action} on {resource.name} failed: {_line(str(error))}")


def _translate_answer(error: botocore.ClientError, resource: Resource, site: Site, action: str) -> StoreError:
    code, status = code_of(error), _status(error)
    if code in _MISSING:
        return ObjectNotFoundError(
            f"{resource.name} does not exist {site}; create it, or correct {resource.setting} or the region"
        )
    if code in _DENIED:
        return AccessDeniedError(f"{resource.name} {site}: {_DENIED[code].format(action=action)}")
    if code in _THROTTLED or status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return StoreUnavailableError(
            f"{action} on {resource.name} {site} is not possible now ({code}); try again later"
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return AccessDeniedError(f"{resource.name} {site}: {_DENIED['AccessDenied'].format(action=action)} ({code})")
    return StoreError(f"{action} on {resource.name} {site} failed with {code}: {_message(error)}")


def code_of(error: BaseException) -> str:
    """The service's error code behind an error of the client library, or behind one of ours; empty: there is none.

    Some services send it with a namespace in front and a legacy code behind; what is returned is the name alone.
    """
    source = error if isinstance(error, botocore.ClientError) else error.__cause__
    response = getattr(source, "response", None) or {}
    return str(response.get("Error", {}).get("Code", "")).rpartition("#")[2].partition(":")[0]


def _status(error: botocore.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _message(error: botocore.ClientError) -> str:
    return _line(str(error.response.get("Error", {}).get("Message", "")))


def _line(text: str) -> str:
    return " ".join(text.split())
