from __future__ import annotations

import pytest
from botocore import exceptions as botocore

from datalake_service.aws.answers import Resource, code_of, site_of, translate
from datalake_service.aws.clients import is_of_aws
from datalake_service.errors import AccessDeniedError, ObjectNotFoundError, StoreError, StoreUnavailableError

QUEUE = Resource("the queue 'orders'", "readConnector.queueName")
IRELAND = site_of("eu-west-1", "https://sqs.eu-west-1.amazonaws.com")
EMULATOR = site_of("eu-west-1", "http://user:secret@127.0.0.1:4566/x")


def answer(code: str, status: int = 400, message: str = "text\nof two lines") -> botocore.ClientError:
    """An error as the client library raises it."""
    return botocore.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "ReceiveMessage"
    )


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (answer("AWS.SimpleQueueService.NonExistentQueue"), ObjectNotFoundError, "does not exist in eu-west-1"),
        (answer("QueueDoesNotExist"), ObjectNotFoundError, "correct readConnector.queueName or the region"),
        (answer("ResourceNotFoundException"), ObjectNotFoundError, "the queue 'orders' does not exist"),
        (answer("AccessDeniedException"), AccessDeniedError, "do not allow sqs:ReceiveMessage; add it to their policy"),
        (answer("SomethingForbidden", 403), AccessDeniedError, "(SomethingForbidden)"),
        (answer("ExpiredToken", 403), AccessDeniedError, "the session token has expired"),
        (answer("UnrecognizedClientException"), AccessDeniedError, "the access key is not known"),
        (answer("ThrottlingException"), StoreUnavailableError, "not possible now (ThrottlingException)"),
        (answer("ProvisionedThroughputExceededException"), StoreUnavailableError, "try again later"),
        (answer("InternalFailure", 500), StoreUnavailableError, "(InternalFailure)"),
        (answer("503", 503), StoreUnavailableError, "(503)"),
        (answer("ValidationException"), StoreError, "failed with ValidationException: text of two lines"),
        (botocore.NoCredentialsError(), AccessDeniedError, "no usable credentials for the queue 'orders'"),
        (
            botocore.EndpointConnectionError(endpoint_url="x"),
            StoreUnavailableError,
            "cannot reach https://sqs.eu-west-1.amazonaws.com for the queue 'orders'",
        ),
        (botocore.ReadTimeoutError(endpoint_url="x"), StoreUnavailableError, "broke (ReadTimeoutError)"),
        (ConnectionResetError(), StoreUnavailableError, "broke (ConnectionResetError)"),
        (
            botocore.SSLError(endpoint_url="x", error="CERTIFICATE_VERIFY_FAILED"),
            StoreError,
            "is not trusted; install its authority (AWS_CA_BUNDLE)",
        ),
        (botocore.ParamValidationError(report="Unknown\nparameter"), StoreError, "Unknown parameter"),
    ],
)
def test_an_answer_is_one_of_our_errors(error: Exception, kind: type[StoreError], said: str) -> None:
    """Of one line, that says what to change."""
    told = translate(error, QUEUE, IRELAND, action="sqs:ReceiveMessage")
    assert type(told) is kind
    assert said in str(told)
    assert "\n" not in str(told)


def test_an_own_server_is_named_without_its_keys() -> None:
    """A region says nothing about an emulator."""
    told = str(translate(answer("QueueDoesNotExist"), QUEUE, EMULATOR, action="sqs:GetQueueUrl"))
    assert "does not exist at http://127.0.0.1:4566;" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("code", "plain"),
    [("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"), ("Expired:legacy", "Expired"), ("", "")],
)
def test_codes_lose_what_stands_around_them(code: str, plain: str) -> None:
    """And are found behind an error of ours."""
    source = answer(code)
    assert code_of(source) == plain
    ours = StoreError("x")
    ours.__cause__ = source
    assert code_of(ours) == plain
    assert code_of(StoreError("x")) == ""


@pytest.mark.parametrize(
    ("endpoint", "ours"),
    [
        ("https://sqs.eu-west-1.amazonaws.com", True),
        ("https://sqs.cn-north-1.amazonaws.com.cn", True),
        ("https://dynamodb.eu-west-1.api.aws/x", True),
        ("http://localhost:4566", False),
        ("https://amazonaws.com.example.org", False),
    ],
)
def test_servers_of_aws_are_known(endpoint: str, ours: bool) -> None:
    """By their names."""
    assert is_of_aws(endpoint) is ours
