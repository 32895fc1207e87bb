from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.service import ATTEMPTS, AwsService
from datalake_service.errors import StoreError, StoreUnavailableError
from datalake_utils.clock import ManualClock
from tests.support.sqs_server import RefusedError, Sqs, sqs_server


@pytest.fixture(scope="module")
def server() -> Iterator[Sqs]:
    """One server for all tests."""
    with sqs_server() as server:
        yield server


@pytest.fixture
def sqs(server: Sqs) -> Sqs:
    """A server with an empty queue."""
    server.reset()
    server.make_queue("orders")
    return server


def service_of(clients: AwsClients, clock: ManualClock | None = None) -> AwsService:
    """SQS, for the queue."""
    return AwsService(clients, "sqs", name="the queue 'orders'", setting="queueName", clock=clock or ManualClock())


def test_a_busy_service_is_asked_again_within_bounds(sqs: Sqs) -> None:
    """With growing waits; then its error is raised."""
    clock = ManualClock()
    service = service_of(sqs.clients(), clock)
    sqs.fault = lambda _, number: RefusedError("RequestThrottled") if number < ATTEMPTS else None
    assert service.call("get_queue_url", action="sqs:GetQueueUrl", QueueName="orders")["QueueUrl"]
    assert len(sqs.requests) == ATTEMPTS
    assert 0.1 < clock.monotonic() < 3
    sqs.fault = lambda _operation, _number: RefusedError("RequestThrottled")
    with pytest.raises(StoreUnavailableError, match="RequestThrottled"):
        service.call("get_queue_url", action="sqs:GetQueueUrl", QueueName="orders")
    assert len(sqs.requests) == 2 * ATTEMPTS


def test_the_library_repeats_nothing_by_itself(sqs: Sqs) -> None:
    """Who asks once gets one request."""
    sqs.fault = lambda _operation, _number: RefusedError("ServiceUnavailable", status=503)
    with pytest.raises(StoreUnavailableError):
        service_of(sqs.clients()).call_once("get_queue_url", action="sqs:GetQueueUrl", QueueName="orders")
    assert len(sqs.requests) == 1


def test_what_is_refused_is_not_asked_again(sqs: Sqs) -> None:
    """It would be refused again."""
    sqs.fault = lambda _operation, _number: RefusedError("Strange")
    with pytest.raises(StoreError, match="failed with Strange"):
        service_of(sqs.clients()).call("get_queue_url", action="sqs:GetQueueUrl", QueueName="orders")
    assert len(sqs.requests) == 1


def test_a_server_that_is_not_there_is_told() -> None:
    """With its address."""
    clients = AwsClients(region="eu-west-1", endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b")
    with pytest.raises(StoreUnavailableError, match=r"cannot reach http://127\.0\.0\.1:9 for the queue 'orders'"):
        service_of(clients).call("get_queue_url", action="sqs:GetQueueUrl", QueueName="orders")


def test_a_region_is_needed_for_aws_and_not_for_others(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator does not care; variables of AWS name one as well."""
    with pytest.raises(StoreError, match="no region for sqs: set region in the dataset file, or AWS_DEFAULT_REGION"):
        AwsClients().client("sqs")
    assert AwsClients(endpoint_url=sqs.endpoint_url).client("sqs").meta.region_name == "us-east-1"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", sqs.endpoint_url)
    assert AwsClients().client("sqs").meta.endpoint_url == sqs.endpoint_url
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert AwsClients().client("sqs").meta.region_name == "eu-central-1"


def test_a_configuration_that_cannot_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match=r"the configuration of AWS cannot work: .*nobody"):
        AwsClients(region="eu-west-1").client("sqs")


def test_clients_are_made_once_and_cross_to_other_processes(sqs: Sqs) -> None:
    """Without connections; nothing that is printed holds a key."""
    clients = sqs.clients()
    assert clients.client("sqs") is clients.client("sqs")
    other = pickle.loads(pickle.dumps(clients))
    assert other.client("sqs") is not clients.client("sqs")
    assert "secret" not in repr(other)
    assert service_of(other).call("get_queue_url", action="sqs:GetQueueUrl", QueueName="orders")
