"""Queues, streams and tables behind their protocols over HTTP: limits, partial failures, keys, values."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.service import AwsService
from datalake_service.chunks.convert import convert
from datalake_service.errors import AccessDeniedError, ObjectNotFoundError, RowError
from datalake_service.writers.delivery import Delivery
from datalake_service.writers.items import ItemEncoder
from datalake_service.writers.outgoing import Outgoing, Writer
from datalake_service.writers.queues import QueueWriter
from datalake_service.writers.records import RecordText
from datalake_service.writers.streams import StreamWriter
from datalake_service.writers.table_items import TableWriter
from datalake_utils.clock import ManualClock
from tests.support.memory_aws import STREAM, Action, AnswerError, MemoryAws, MemoryClients, aws_over_http

TEXT = RecordText(convert)


@dataclass(frozen=True)
class Point:
    """A value that has to be converted."""

    x: float


def service(clients: AwsClients, name: str) -> AwsService:
    """A service without real waiting."""
    return AwsService(clients, name, name="the thing", setting="writeConnector.thing", clock=ManualClock())


def queue(clients: AwsClients, name: str = "q", **settings: Any) -> QueueWriter:
    """A writer for a queue."""
    settings = {"group": "task", "id_key": None} | settings
    return QueueWriter(service(clients, "sqs"), name, TEXT, **settings)


def stream(clients: AwsClients, *, keep_order: bool = False) -> StreamWriter:
    """A writer for a stream."""
    return StreamWriter(service(clients, "kinesis"), STREAM, TEXT, keep_order=keep_order)


def table(clients: AwsClients) -> TableWriter:
    """A writer for a table."""
    return TableWriter(service(clients, "dynamodb"), "things", ItemEncoder(convert))


def deliver(writer: Writer, records: list[dict[str, Any]]) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Deliver records; returns those refused before they were sent, and those refused by the service."""
    writer.open()
    delivery = Delivery(writer, clock=ManualClock(), senders=3)
    unpacked: list[tuple[int, str]] = []
    try:
        for number, record in enumerate(records):
            try:
                delivery.add(writer.pack(Outgoing(record, f"id-{number}", number)))
            except RowError as error:
                unpacked.append((number, str(error)))
            if delivery.saturated:
                delivery.wait_for_room()
        delivery.flush()
    finally:
        delivery.close()
    return unpacked, delivery.refused()


ACTIONS: list[Action] = ["throttle", "broken", "lose", "partial"]
FAULTS = st.dictionaries(st.integers(1, 8), st.sampled_from(ACTIONS), max_size=5)
RECORDS = st.lists(
    st.builds(
        lambda size, key, text: {"text": text + "x" * size, "pk": f"k{key}", "partitionKey": f"k{key}"},
        st.sampled_from([0, 10, 1_000, 60_000, 140_000]),
        st.integers(0, 12),
        st.text(max_size=5),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(RECORDS, FAULTS, st.sampled_from(["q", "q.fifo"]))
def test_a_queue_gets_every_message_within_its_limits(
    records: list[dict[str, Any]], faults: dict[int, Action], name: str
) -> None:
    """With throttling, lost answers and partial failures: nothing is lost, a group keeps its order."""
    aws = MemoryAws(faults=faults, most_bytes=100_000)
    unpacked, refused = deliver(queue(MemoryClients(aws), name), records)
    assert (aws.violations, refused) == ([], [])
    good = [record for number, record in enumerate(records) if number not in dict(unpacked)]
    _same_documents(aws.bodies, good)
    assert all("the queue 'q" in message and "takes 100000" in message for _, message in unpacked)
    if name == "q.fifo":
        ids = [message["MessageDeduplicationId"] for message in aws.messages]
        firsts = [body for number, body in enumerate(aws.bodies) if ids[number] not in ids[:number]]
        for key in {record["pk"] for record in good}:
            assert [body for body in firsts if body["pk"] == key] == [record for record in good if record["pk"] == key]


@settings(max_examples=40)
@given(RECORDS, FAULTS, st.booleans())
def test_a_stream_gets_every_record_within_its_limits(
    records: list[dict[str, Any]],
    faults: dict[int, Action],
    keep_order: bool,
) -> None:
    """With throttling, lost answers and partial failures."""
    aws = MemoryAws(faults=faults)
    unpacked, refused = deliver(stream(MemoryClients(aws), keep_order=keep_order), records)
    assert (aws.violations, refused, unpacked) == ([], [], [])
    _same_documents(aws.documents, records)


@settings(max_examples=40)
@given(RECORDS, FAULTS)
def test_a_table_holds_the_last_item_of_each_key(records: list[dict[str, Any]], faults: dict[int, Action]) -> None:
    """With throttling, lost answers and items that are left unprocessed."""
    aws = MemoryAws(faults=faults)
    unpacked, refused = deliver(table(MemoryClients(aws)), records)
    assert (aws.violations, refused, unpacked) == ([], [], [])
    assert {key: item["text"]["S"] for key, item in aws.items.items()} == {
        f'[{{"S": "{record["pk"]}"}}]': record["text"] for record in records
    }


def test_faults_over_http_lose_nothing() -> None:
    """The same over the real client library: errors, cut connections and partial failures, by each of the three."""
    records = [{"pk": str(number), "text": "é" * 100} for number in range(60)]
    faults: dict[int, Action] = {1: "throttle", 2: "crash_after", 3: "partial", 4: "broken", 5: "lose", 7: "partial"}
    aws = MemoryAws(faults=faults)
    with aws_over_http(aws) as url:
        made = AwsClients(region="us-east-1", endpoint_url=url, access_key="test", secret_key="test")
        for writer in (queue(made), queue(made, "q.fifo"), stream(made), table(made)):
            aws.puts = 0
            assert deliver(writer, records) == ([], [])
    assert aws.violations == []
    _same_documents(aws.bodies, records)
    _same_documents(aws.documents, records)
    assert len(aws.items) == 60


def _same_documents(found: list[Any], expected: list[Any]) -> None:
    """Each at least once, and nothing else."""
    assert {repr(sorted(one.items())) for one in found} == {repr(sorted(one.items())) for one in expected}


def test_batches_are_full() -> None:
    """As many records as a request may hold, and no more."""
    aws = MemoryAws()
    deliver(queue(MemoryClients(aws)), [{"n": number} for number in range(25)])
    assert sorted(aws.batches) == [5, 10, 10]
    aws = MemoryAws()
    deliver(stream(MemoryClients(aws)), [{"n": number} for number in range(1_001)])
    assert sorted(aws.batches) == [1, 500, 500]
    aws = MemoryAws()
    deliver(table(MemoryClients(aws)), [{"pk": str(number)} for number in range(51)])
    assert sorted(aws.batches) == [1, 25, 25]


def test_a_group_of_a_fifo_queue_moves_one_message_a_request() -> None:
    """So that a message which has to be sent again is not behind its successor; other groups fill the batch."""
    aws = MemoryAws()
    deliver(
        queue(MemoryClients(aws), "q.fifo"), [{"partitionKey": str(number % 5), "n": number} for number in range(20)]
    )
    assert max(aws.batches) == 5
    aws = MemoryAws()
    deliver(queue(MemoryClients(aws), "q.fifo"), [{"n": number} for number in range(4)])
    assert aws.batches == [1, 1, 1, 1]
    assert {message["MessageGroupId"] for message in aws.messages} == {"task"}


def test_messages_of_a_standard_queue_are_bare() -> None:
    """No group, no id of ours, no attributes: the body is the flat record."""
    aws = MemoryAws()
    deliver(queue(MemoryClients(aws), id_key="docId"), [{"docId": "d1", "text": "é"}])
    assert aws.messages == [{"Id": "0", "MessageBody": '{"docId":"d1","text":"é"}'}]


def test_deduplication_ids_are_stable_and_tell_documents_apart() -> None:
    """The same record has the same id in another attempt; equal bodies of two records, and two bodies, do not."""
    records = [{"text": "a"}, {"text": "a"}, {"text": "b"}]
    runs = []
    for _ in range(2):
        aws = MemoryAws()
        deliver(queue(MemoryClients(aws), "q.fifo"), records)
        runs.append([message["MessageDeduplicationId"] for message in aws.messages])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_the_configured_key_is_the_deduplication_id() -> None:
    """As it is while SQS allows it; otherwise its beginning and a digest."""
    aws = MemoryAws()
    keys = ["order-7", "x" * 200, "schlüssel 1", 7]
    deliver(queue(MemoryClients(aws), "q.fifo", id_key="key"), [{"key": key, "partitionKey": str(key)} for key in keys])
    ids = [message["MessageDeduplicationId"] for message in aws.messages]
    assert ids[0] == "order-7"
    assert ids[1].startswith("x" * 95 + "~")
    assert len(ids[1]) == 128
    assert ids[2].startswith("schlssel1~")
    assert ids[3] == "7"
    allowed = set(string.ascii_letters + string.digits + string.punctuation)
    assert all(
        allowed.issuperset(one) and allowed.issuperset(message["MessageGroupId"])
        for one, message in zip(ids, aws.messages, strict=True)
    )


def test_characters_that_a_queue_refuses_are_escaped() -> None:
    """JSON text may write them as escapes; the document is the same."""
    aws = MemoryAws()
    deliver(queue(MemoryClients(aws)), [{"text": "a\ufffe\uffff\x00\x1f\ud800"}])
    body = aws.messages[0]["MessageBody"]
    assert aws.bodies == [{"text": "a\ufffe\uffff\x00\x1f\ud800"}]
    assert all(
        character in "\t\n\r" or "\x20" <= character <= "\ud7ff" or "\ue000" <= character <= "\ufffd"
        for character in body
    )


def test_one_bad_message_does_not_keep_the_others() -> None:
    """Refused by itself, or taking its whole request with it: only that one is refused, with the queue's words."""
    aws = MemoryAws(refuse="bad", poison="poison")
    records = [{"n": number, "text": {3: "bad", 5: "poison"}.get(number, "good")} for number in range(10)]
    _, refused = deliver(queue(MemoryClients(aws)), records)
    assert sorted(number for number, _ in refused) == [3, 5]
    assert "refused a message with InvalidAttributeValue: no" in dict(refused)[3]
    assert "InvalidMessageContents" in dict(refused)[5]
    assert len(aws.messages) == 8


def test_partition_keys_of_a_stream() -> None:
    """The document's key, else its id, else the row's id; a long one is shortened in one way."""
    aws = MemoryAws()
    long = "ключ" * 1_000
    deliver(
        stream(MemoryClients(aws)),
        [{"partitionKey": "p", "documentId": "d"}, {"documentId": "d"}, {"partitionKey": ""}, {"partitionKey": long}],
    )
    keys = [record["PartitionKey"] for record in aws.records]
    assert keys[:3] == ["p", "d", "id-2"]
    assert keys[3] == "ключ" * 27 + "клю~" + blake2b(long.encode(), digest_size=16).hexdigest()
    assert len(keys[3].encode()) <= 256
    assert aws.documents[3]["partitionKey"] == long


def test_a_record_is_gzip_and_always_the_same_bytes() -> None:
    """So that two deliveries of one record can be told to be the same."""
    data = []
    for _ in range(2):
        aws = MemoryAws()
        deliver(stream(MemoryClients(aws)), [{"text": "a" * 1_000}])
        data.append(aws.records[0]["Data"])
    assert data[0] == data[1]
    assert data[0][:2] == b"\x1f\x8b"
    assert len(data[0]) < 100


def test_a_record_over_the_limit_names_it() -> None:
    """1 MiB of data that does not compress is more than a stream takes by default."""
    aws = MemoryAws()
    noise = "".join(chr(0x4E00 + (number * 7919 + number * number * 31) % 20_000) for number in range(900_000))
    unpacked, _ = deliver(stream(MemoryClients(aws)), [{"text": noise}, {"text": "fine"}])
    assert len(unpacked) == 1
    assert "the stream takes 1048576" in unpacked[0][1]
    assert aws.documents == [{"text": "fine"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", {"S": "text"}),
        (b"\x00\xff", {"B": b"\x00\xff"}),
        (True, {"BOOL": True}),
        (None, {"NULL": True}),
        (12345678901234567890123456789012345678, {"N": "12345678901234567890123456789012345678"}),
        (0.1, {"N": "0.1"}),
        (-0.0, {"N": "0"}),
        (1e22, {"N": "1E+22"}),
        (Decimal("1.50"), {"N": "1.50"}),
        ([1, ["a"]], {"L": [{"N": "1"}, {"L": [{"S": "a"}]}]}),
        ({"a": {"b": 1}}, {"M": {"a": {"M": {"b": {"N": "1"}}}}}),
        ({"b", "a"}, {"SS": ["a", "b"]}),
        ({1, 2}, {"NS": ["1", "2"]}),
        (frozenset({b"x"}), {"BS": [b"x"]}),
    ],
)
def test_values_of_items(value: object, expected: Mapping[str, Any]) -> None:
    """Every value has one type, and numbers keep all of their digits."""
    assert ItemEncoder(convert).encode({"v": value}) == {"v": expected}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "x"}, "column 'pk' is missing; it is the partition key of 'things'"),
        ({"pk": None}, "column 'pk' is missing; it is the partition key of 'things'"),
        ({"pk": ""}, "column 'pk' is empty; it is the partition key of 'things'"),
        ({"pk": 1}, "column 'pk' is not text, as the partition key of 'things'"),
        ({"pk": "x" * 2_049}, "column 'pk' has 2049 bytes; a partition key has 2048 at most"),
        ({"pk": "x", "text": "y" * 409_600}, "an item of 409607 bytes; DynamoDB takes 409600"),
        ({"pk": "x", "n": 10**38 + 1}, "column 'n': a number of 39 digits; DynamoDB holds 38"),
        ({"pk": "x", "n": float("nan")}, "column 'n': NaN and infinities have no form in DynamoDB; use null"),
        ({"pk": "x", "": 1}, "column '': a key is empty; names of attributes have at least one character"),
        ({"pk": "x", "m": {"": 1}}, "column 'm': a key is empty; names of attributes have at least one character"),
        (
            {"pk": "x", "s": set()},
            "column 's': a set has to hold texts, numbers or bytes, at least one, all of one kind",
        ),
        ({"pk": "x", "t": "\ud800"}, "column 't': text with lone surrogates, which is no UTF-8"),
    ],
)
def test_items_that_a_table_cannot_hold(record: dict[str, Any], message: str) -> None:
    """The message names the column and the limit; the others are written."""
    aws = MemoryAws()
    unpacked, refused = deliver(table(MemoryClients(aws)), [record, {"pk": "good"}])
    assert unpacked == [(0, message)]
    assert refused == []
    assert list(aws.items) == ['[{"S": "good"}]']


def test_an_item_that_the_table_refuses_is_found() -> None:
    """A validation error says nothing about which item it is."""
    aws = MemoryAws(poison="wrong")
    _, refused = deliver(table(MemoryClients(aws)), [{"pk": str(n), "t": "wrong" if n == 7 else ""} for n in range(25)])
    assert [number for number, _ in refused] == [7]
    assert "one of the items is wrong" in refused[0][1]
    assert len(aws.items) == 24


def test_equal_numbers_are_one_key() -> None:
    """DynamoDB takes 1, 1.0 and 1.00 for one key, and refuses two items of a key in one request."""
    aws = MemoryAws(keys={"n": "N"})
    deliver(table(MemoryClients(aws)), [{"n": value} for value in (1, 1.0, Decimal("1.00"), 10, 1e1, -1, 0.1)])
    assert max(aws.batches) == 4


@pytest.mark.parametrize(
    "value", [float("nan"), {"b": [float("inf")]}, np.array([1.0, np.nan]), np.float32("nan"), Point(float("nan"))]
)
def test_nan_is_no_json(value: object) -> None:
    """A record with it is refused before it is sent, in whatever it hides; null is fine."""
    aws = MemoryAws()
    unpacked, _ = deliver(queue(MemoryClients(aws)), [{"a": value}, {"a": None}, {"a": np.array([1.0])}])
    assert unpacked == [(0, "column 'a': NaN and infinities have no form outside the lake; use null")]
    assert aws.bodies == [{"a": None}, {"a": [1.0]}]


def test_a_missing_destination_is_named() -> None:
    """The error says what does not exist, and which setting names it."""

    class NoQueue(MemoryAws):
        def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
            raise AnswerError("QueueDoesNotExist")

    with pytest.raises(ObjectNotFoundError, match=r"the thing does not exist .*writeConnector\.thing"):
        queue(MemoryClients(NoQueue())).open()


def test_permission_to_describe_is_not_needed_to_write() -> None:
    """Without it, the documented default limits are used."""

    class Shy(MemoryAws):
        def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
            if operation in {"get_queue_attributes", "describe_stream_summary"}:
                raise AnswerError("AccessDeniedException", status=403)
            return super().answer(operation, request)

    aws = Shy()
    deliver(queue(MemoryClients(aws)), [{"a": 1}])
    deliver(stream(MemoryClients(aws)), [{"a": 1}])
    assert (aws.bodies, aws.documents) == ([{"a": 1}], [{"a": 1}])


def test_no_permission_to_write_fails_and_names_the_action() -> None:
    """It is no fault of a record: nothing is refused."""

    class Denied(MemoryAws):
        def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
            if operation == "send_message_batch":
                raise AnswerError("AccessDenied", status=403)
            return super().answer(operation, request)

    with pytest.raises(AccessDeniedError, match="sqs:SendMessage"):
        deliver(queue(MemoryClients(Denied())), [{"a": 1}])
