from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage import FolderStore
from tests.support.faulty_clients import FaultyClients
from tests.support.faulty_store import FaultyStore
from tests.support.queue_tasks import MESSAGES, queue_job
from tests.support.sqs_server import RefusedError, Sqs, sqs_server
from tests.support.tasks import TickingClock, after, merged_rows, run_here, state_of, stored_rejections, write_module

Make = Callable[..., TaskJob]


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


@pytest.fixture
def make(store: FolderStore, sqs: Sqs, tmp_path: Path) -> Make:
    """Makes a task for the queue."""
    folder = write_module(tmp_path / "code", MESSAGES)
    return lambda **fields: queue_job(store, folder, sqs.clients(), **fields)


def rejections(store: FolderStore) -> dict[str, str]:
    """What was rejected, and why."""
    return {line["text"]: line["message"] for lines in stored_rejections(store).values() for line in lines}


def test_messages_become_rows_and_are_deleted(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Each has an id that comes from the message."""
    ids = sqs.send("orders", *(f"doc {number}" for number in range(25)))
    result = run_here(make())
    assert result.status is TaskStatus.COMPLETED
    assert result.counts == TaskCounts(25, 25)
    rows = merged_rows(store)
    assert {row["text"] for row in rows.values()} == {str(number) for number in range(25)}
    assert {name.partition("-")[2] for name in rows} == set(ids)
    assert not sqs.queues["orders"].messages
    assert len(sqs.queues["orders"].deleted) == 25


def test_what_is_no_row_is_accounted_for_and_deleted(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Under the policy "continue": a rejection holds the body, and the reason."""
    bodies = ["doc a", "skip b", "bad c", "raise d", "set e", "list", "none", "dict f", "coroutine g"]
    ids = dict(zip(bodies, sqs.send("orders", *bodies), strict=True))
    result = run_here(make())
    assert result.status is TaskStatus.COMPLETED
    assert result.counts == TaskCounts(9, 1, 1, 7)
    found = rejections(store)
    assert found.keys() == set(bodies[2:])
    assert found["bad c"] == "bad message: c"
    assert found["raise d"].startswith("Messages.parse_message raised RuntimeError: d (handler.py:")
    assert found["list"] == "parse_message returned list; return a Document, an ErrorDoc or a SkipDoc"
    assert found["none"] == "parse_message returned nothing (None); return a Document, an ErrorDoc or a SkipDoc"
    assert found["dict f"] == "parse_message returned dict; wrap it: Document(row)"
    assert found["coroutine g"] == "parse_message is async; it has to be a plain method: def parse_message"
    offsets = {line["text"]: line["startOffset"] for lines in stored_rejections(store).values() for line in lines}
    assert offsets == {body: ids[body] for body in bodies[2:]}
    assert not sqs.queues["orders"].messages


def test_attributes_arrive_as_text_or_bytes(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Numbers stay as they were written; bytes that are no UTF-8 stay bytes."""
    number = {"DataType": "Number", "StringValue": "18446744073709551617.10"}
    data = {"DataType": "Binary", "BinaryValue": "//79"}
    sqs.send("orders", "doc x", price=number, blob=data)
    assert run_here(make()).status is TaskStatus.COMPLETED
    (row,) = merged_rows(store).values()
    assert row["price"] == "18446744073709551617.10"
    assert row["blob"] == "//79"  # bytes are stored in base64


def test_nothing_is_deleted_before_its_checkpoint_is_stored(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Whatever was written before: at each deletion, the task's object counts the messages."""
    sqs.send("orders", *(f"doc {number}" for number in range(60)))
    seen: list[tuple[int, int]] = []

    def look(operation: str, _: int) -> None:
        if operation == "DeleteMessageBatch":
            seen.append((len(sqs.queues["orders"].deleted), state_of(store).counts.records))

    sqs.fault = look
    assert run_here(make(chunk_size=7), clock=TickingClock(0.5)).status is TaskStatus.COMPLETED
    assert len(seen) >= 6
    assert all(deleted < counted for deleted, counted in seen)
    assert len({counted for _, counted in seen}) > 1  # not all of it at the end


def test_a_failing_message_stays_on_the_queue(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Under the policy "fail"; the messages before it are done, those behind it are given back."""
    sqs.send("orders", "doc a", "raise b", "doc c")
    job = make(on_error=OnError("fail"))
    result = run_here(job)
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert "RuntimeError: b" in result.error
    queue = sqs.queues["orders"]
    assert [message.body for message in queue.messages] == ["raise b", "doc c"]
    assert all(message.visible_at <= sqs.now for message in queue.messages)
    assert queue.messages[0].receives == 1
    again = run_here(replace(job, handler=replace(job.handler, parameters={"accept": ["raise"]})))
    assert again.status is TaskStatus.COMPLETED
    assert {row["text"] for row in merged_rows(store).values()} == {"a", "b", "c"}
    assert again.counts == TaskCounts(3, 3)
    assert stored_rejections(store) == {}


def test_a_dead_letter_queue_takes_what_fails_too_often(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """It is SQS that counts the receives, and nothing but a failure raises them."""
    queue = sqs.make_queue("orders", most_receives=2)
    sqs.send("orders", "raise x", "doc y")
    job = make(on_error=OnError("fail"))
    assert run_here(job).status is TaskStatus.FAILED
    assert run_here(job).status is TaskStatus.FAILED
    assert run_here(job).status is TaskStatus.COMPLETED
    assert [message.body for message in queue.dead] == ["raise x"]
    assert [row["text"] for row in merged_rows(store).values()] == ["y"]


def test_the_order_of_a_group_is_kept(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """A FIFO queue gives more of a group only when what was taken is deleted."""
    sqs.make_queue("orders.fifo")
    for number in range(40):
        sqs.send("orders.fifo", f"doc {number}", group=f"g{number % 3}")
    assert run_here(make(queue="orders.fifo")).status is TaskStatus.COMPLETED
    rows = list(merged_rows(store).values())
    for group in ("g0", "g1", "g2"):
        numbers = [int(row["text"]) for row in rows if row["group"] == group]
        assert numbers == sorted(numbers)
        assert len(numbers) in {13, 14}
    assert not sqs.queues["orders.fifo"].messages


def test_a_group_goes_on_although_others_keep_the_task_busy(sqs: Sqs, make: Make) -> None:
    """It does not wait until a chunk is full, or nothing else comes."""
    sqs.make_queue("orders.fifo")
    sqs.send("orders.fifo", *(f"doc {number}" for number in range(30)), group="slow")
    others = iter(range(1000))

    def more(operation: str, _: int) -> None:
        if operation == "ReceiveMessage":
            sqs.send("orders.fifo", "doc x", group=f"g{next(others)}")

    def done() -> bool:
        return sum(body != "doc x" for body in sqs.queues["orders.fifo"].deleted) == 30

    sqs.fault = more
    job = make(queue="orders.fifo", empty_receives=None, chunk_size=10_000)
    assert run_here(job, stop=done, clock=TickingClock(0.1)).status is TaskStatus.STOPPED
    assert next(others) < 60


def test_a_stop_handles_what_was_received(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """No message is thrown back: its receive count would be raised for nothing."""
    sqs.send("orders", *(f"doc {number}" for number in range(50)))
    result = run_here(make(), stop=after(2), clock=TickingClock(0.1))
    assert result.status is TaskStatus.STOPPED
    queue = sqs.queues["orders"]
    assert 0 < len(queue.deleted) < 50
    assert len(queue.deleted) == result.counts.records
    assert {message.receives for message in queue.messages} == {0}
    assert run_here(make()).status is TaskStatus.COMPLETED
    assert state_of(store).counts == TaskCounts(50, 50)


def test_a_stop_is_seen_while_there_is_nothing(sqs: Sqs, make: Make) -> None:
    """A continuous task waits in long polls of a few seconds."""
    result = run_here(make(empty_receives=None), stop=after(10))
    assert result.status is TaskStatus.STOPPED
    assert sqs.requests.count("ReceiveMessage") >= 3


def test_a_queue_that_waits_makes_no_checkpoints(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """There is nothing to be kept."""
    faulty = FaultyStore(store)
    job = replace(make(empty_receives=None), store=faulty)
    assert run_here(job, stop=after(50), clock=TickingClock(3.0)).status is TaskStatus.STOPPED
    assert sqs.requests.count("ReceiveMessage") >= 20
    assert len(faulty.writes) == 2  # start and stop


def test_a_task_that_is_completed_reads_on(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """An empty queue is no end; counts and rejections go on."""
    sqs.send("orders", "doc a", "bad b")
    assert run_here(make()).counts == TaskCounts(2, 1, 0, 1)
    sqs.send("orders", "doc c", "bad d")
    assert run_here(make()).counts == TaskCounts(4, 2, 0, 2)
    assert rejections(store).keys() == {"bad b", "bad d"}


def test_a_message_that_comes_twice_is_one_row(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Its visibility ended because the worker before was killed."""
    sqs.send("orders", "doc a")
    job = make()
    dead = FaultyStore(store)

    def die(operation: str, _: int) -> RefusedError | None:
        return RefusedError("AccessDenied", status=403) if operation == "DeleteMessageBatch" else None

    sqs.fault = die
    result = run_here(replace(job, store=dead))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert "the credentials do not allow sqs:DeleteMessage; add it to their policy" in result.error
    sqs.fault = lambda _operation, _number: None
    assert run_here(job).status is TaskStatus.COMPLETED
    assert len(merged_rows(store)) == 1
    assert state_of(store).counts == TaskCounts(2, 2)  # deliveries
    assert not sqs.queues["orders"].messages


def test_messages_of_a_dead_worker_are_waited_for(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """A queue is not drained as long as somebody has messages that may come again."""
    sqs.send("orders", "doc a")
    sqs.empty_seconds = 5
    sqs.answer("ReceiveMessage", {"QueueName": "orders", "MaxNumberOfMessages": 1, "VisibilityTimeout": 20,
                                  "WaitTimeSeconds": 0})  # fmt: skip
    assert run_here(make(), clock=TickingClock(0.001)).status is TaskStatus.COMPLETED
    assert len(merged_rows(store)) == 1


@pytest.mark.parametrize(
    ("code", "status", "operation", "told"),
    [
        ("AccessDeniedException", 400, "GetQueueUrl", "the credentials do not allow sqs:GetQueueUrl"),
        ("AccessDenied", 403, "ReceiveMessage", "the credentials do not allow sqs:ReceiveMessage"),
        ("InvalidClientTokenId", 403, "ReceiveMessage", "the access key is not known"),
        ("com.amazonaws.sqs#QueueDoesNotExist", 400, "ReceiveMessage", "the queue 'orders' does not exist at http"),
        ("KmsAccessDenied", 400, "ReceiveMessage", "add kms:Decrypt"),
        ("Strange", 400, "ReceiveMessage", "failed with Strange"),
    ],
)
def test_what_the_service_refuses_fails_the_task(
    sqs: Sqs, make: Make, code: str, status: int, operation: str, told: str
) -> None:
    """In one line that says what to change."""
    sqs.send("orders", "doc a")
    sqs.fault = lambda asked, _: RefusedError(code, status=status) if asked == operation else None
    result = run_here(make())
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert told in result.error
    assert "\n" not in result.error
    assert "test-secret-key" not in result.error


def test_a_queue_that_does_not_exist_fails_the_task(make: Make) -> None:
    """The line says where it was looked for, and what to correct."""
    result = run_here(make(queue="nowhere"))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert result.error.startswith("the queue 'nowhere' does not exist at http://127.0.0.1:")
    assert result.error.endswith("create it, or correct readConnector.queueName or the region")


def test_a_reader_need_not_see_attributes(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """The permission to ask for them is not needed to read."""
    sqs.send("orders", "doc a")
    sqs.fault = lambda asked, _: RefusedError("AccessDenied", status=403) if asked == "GetQueueAttributes" else None
    assert run_here(make()).status is TaskStatus.COMPLETED
    assert len(merged_rows(store)) == 1


@pytest.mark.parametrize("code", ["RequestThrottled", "ThrottlingException", "InternalError", "ServiceUnavailable"])
def test_a_service_that_is_busy_is_waited_for(store: FolderStore, sqs: Sqs, make: Make, code: str) -> None:
    """For minutes, with longer and longer waits."""
    sqs.send("orders", *(f"doc {number}" for number in range(30)))
    status = 400 if "hrottl" in code else 503
    sqs.fault = lambda _, number: RefusedError(code, status=status) if number % 7 in {3, 4, 5} else None
    assert run_here(make()).status is TaskStatus.COMPLETED
    assert len(merged_rows(store)) == 30
    assert not sqs.queues["orders"].messages


def test_a_service_that_stays_away_fails_the_task(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """After five minutes; what was read before is kept."""
    sqs.send("orders", "doc a")
    sqs.fault = lambda asked, number: (
        RefusedError("ServiceUnavailable", status=503) if asked == "ReceiveMessage" and number > 3 else None
    )
    result = run_here(make(), clock=TickingClock(0.5))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert result.error.endswith("(ServiceUnavailable); try again later (for 5 minutes)")
    assert len(merged_rows(store)) == 1
    assert not sqs.queues["orders"].messages


def test_a_slow_handler_takes_few_messages_at_a_time(sqs: Sqs, make: Make) -> None:
    """What is taken is handled before a stop, and nobody should wait long for that."""
    sqs.send("orders", *(f"doc {number}" for number in range(6)))
    run_here(make(), clock=TickingClock(2.0))  # two looks at the clock for each message
    assert sqs.requests.count("ReceiveMessage") >= 5


def test_batches_are_named_by_the_time_of_the_message(store: FolderStore, sqs: Sqs, make: Make) -> None:
    """Whoever reads it, and whenever: the hour in which it was sent."""
    from datalake_service.pipeline.jobs.engine import LakeOutput

    bodies: dict[str, set[str]] = {}
    for hour in range(3):
        sqs.send("orders", *(f"doc {hour}-{number}" for number in range(5)))
        sqs.now += 3600
    job = replace(make(), output=LakeOutput(chunk_size=2, batch_by_time="{date:%Y%m%d-%H}"))
    assert run_here(job).status is TaskStatus.COMPLETED
    for meta in store.list("d/"):
        _, batch, name = meta.key.split("/", 2)
        if name.endswith(".jsonl"):
            bodies.setdefault(batch, set()).update(store.get(meta.key)[0].decode().splitlines())
    assert sorted(bodies) == ["20261120-13", "20261120-14", "20261120-15"]
    assert [len(rows) for rows in bodies.values()] == [5, 5, 5]


def test_clients_cross_to_another_process(sqs: Sqs) -> None:
    """Without their connections, and without a secret in what is printed."""
    import pickle

    clients = pickle.loads(pickle.dumps(sqs.clients()))
    assert "secret" not in repr(clients)
    url = clients.client("sqs").get_queue_url(QueueName="orders")["QueueUrl"]
    assert url.endswith("/orders")
    assert FaultyClients(clients, store=FaultyStore(FolderStore(Path("unused")))).client("sqs").meta.region_name
