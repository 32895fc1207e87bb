from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from datalake_service.readers.queues import Queue, open_queue
from datalake_service.readers.taken import TakenMessages
from datalake_utils.clock import ManualClock, SystemClock
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
    server.make_queue("orders", visibility=40)
    return server


@pytest.fixture
def queue(sqs: Sqs) -> Queue:
    """The queue."""
    return open_queue(sqs.clients(), "orders", clock=SystemClock())


def test_a_short_visibility_is_not_trusted(sqs: Sqs) -> None:
    """A queue's own time is used unless an extension might come too late on a busy machine."""
    sqs.make_queue("short", visibility=1)
    assert open_queue(sqs.clients(), "short", clock=SystemClock()).visibility == 30
    assert open_queue(sqs.clients(), "orders", clock=SystemClock()).visibility == 40


def test_old_messages_are_extended_and_new_ones_are_not(sqs: Sqs, queue: Queue) -> None:
    """When half of their time is over."""
    clock = ManualClock()
    taken = TakenMessages(queue, clock=clock)
    sqs.send("orders", *(str(number) for number in range(15)))
    taken.take(queue.receive(wait=0), at=clock.monotonic())
    clock.advance(19)
    taken.extend_old()
    assert "ChangeMessageVisibilityBatch" not in sqs.requests
    clock.advance(1)
    sqs.now += 20
    taken.take(queue.receive(wait=0), at=clock.monotonic())
    taken.extend_old()
    assert sqs.requests.count("ChangeMessageVisibilityBatch") == 1
    assert {message.visible_at - sqs.now for message in sqs.queues["orders"].messages} == {40.0}
    taken.extend_old()
    assert sqs.requests.count("ChangeMessageVisibilityBatch") == 1  # until half of it is over again
    taken.give_back()
    assert {message.visible_at - sqs.now for message in sqs.queues["orders"].messages} == {0.0}


def test_a_thread_extends(sqs: Sqs, queue: Queue) -> None:
    """However long the task's own thread is busy."""
    extended = threading.Event()

    def look(operation: str, _: int) -> None:
        if operation == "ChangeMessageVisibilityBatch":
            extended.set()

    sqs.fault = look
    queue.visibility = 1
    clock = SystemClock()
    taken = TakenMessages(queue, clock=clock)
    sqs.send("orders", "a")
    taken.take(queue.receive(wait=0), at=clock.monotonic())
    assert extended.wait(30)
    assert len(taken) == 1
    taken.give_back()
    assert len(taken) == 0


def test_what_cannot_be_extended_or_given_back_comes_again_by_itself(sqs: Sqs, queue: Queue) -> None:
    """Neither fails the task."""
    clock = ManualClock()
    taken = TakenMessages(queue, clock=clock)
    sqs.send("orders", "a")
    taken.take(queue.receive(wait=0), at=clock.monotonic())
    sqs.fault = lambda _operation, _number: RefusedError("AccessDenied", status=403)
    clock.advance(30)
    taken.extend_old()
    taken.give_back()
    sqs.fault = lambda _operation, _number: None
    sqs.now += 40
    assert [message.body for message in queue.receive(wait=0)] == ["a"]


def test_a_receipt_of_an_earlier_delivery_is_no_error(sqs: Sqs, queue: Queue) -> None:
    """The message comes again, or is gone."""
    sqs.send("orders", "a", "b")
    first = queue.receive(wait=0)
    sqs.now += 100
    again = queue.receive(wait=0)
    assert queue.delete({message.id: message.receipt for message in first}) == []
    assert len(sqs.queues["orders"].messages) == 2
    assert queue.delete({message.id: message.receipt for message in again}) == []
    assert not sqs.queues["orders"].messages


def test_the_later_delivery_of_a_message_counts(sqs: Sqs, queue: Queue) -> None:
    """Only its receipt deletes the message."""
    clock = ManualClock()
    taken = TakenMessages(queue, clock=clock)
    sqs.send("orders", "a")
    for _ in range(2):
        taken.take(queue.receive(wait=0), at=clock.monotonic())
        sqs.now += 39
        sqs.queues["orders"].messages[0].visible_at -= 39
    (message,) = sqs.queues["orders"].messages
    assert taken.receipts([message.id]) == {message.id: message.receipt}
    taken.drop([message.id])
    assert len(taken) == 0
    taken.give_back()
