from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from datalake_interfaces import (
    Document,
    DynamoDBStreamsRecordReader,
    DynamoDBTableItemReader,
    ErrorDoc,
    HandlerContext,
    KinesisRecordReader,
    QueueMessageReader,
    SagemakerVectorsInterface,
    SkipDoc,
)
from datalake_interfaces.testing import check_reader


class Orders(QueueMessageReader):
    def parse_message(
        self,
        message_id: str,
        message_group_id: str | None,
        message_deduplication_id: str | None,
        message_attributes: Mapping[str, str | bytes],
        message_body: str,
    ) -> Any:
        order = json.loads(message_body)
        if not order:
            return SkipDoc(skip_message="empty")
        if "amount" not in order:
            return ErrorDoc(error_message="no amount")
        return Document({**order, "group": message_group_id, **message_attributes}, document_id=message_id)


class Clicks(KinesisRecordReader):
    def parse_message(
        self,
        stream_arn: str,
        shard_id: str,
        partition_key: str,
        sequence_number: str,
        approximate_arrival_timestamp: int,
        data: bytes,
    ) -> Any:
        return Document({"text": data.decode(), "at": approximate_arrival_timestamp, "number": sequence_number})


class Changes(DynamoDBStreamsRecordReader):
    def parse_record(self, *arguments: Any) -> Any:
        return Document({"event": arguments[3], "old": arguments[-2], "new": arguments[-1]})


class Items(DynamoDBTableItemReader):
    def parse_dynamo_db_item(
        self, table_name: str, segment_number: int, keys: Mapping[str, Any], item: Mapping[str, Any]
    ) -> Any:
        return Document({**keys, **item})


def test_messages_are_tried() -> None:
    """A body is enough; everything that the service passes can be given."""
    report = check_reader(
        Orders(),
        ['{"amount": 1}', {"message_body": '{"amount": 2}', "message_group_id": "g", "message_attributes": {"a": "b"}},
         "{}", '{"x": 1}', "no JSON"],
    )  # fmt: skip
    assert report.ok
    assert [row["amount"] for row in report.rows] == [1, 2]
    assert report.rows[0]["documentId"] == "sample-0"
    assert report.rows[1]["group"] == "g"
    assert report.rows[1]["a"] == "b"
    assert report.skips == ["record 2: empty"]
    assert report.errors[0] == "record 3: no amount"
    assert report.errors[1].startswith("record 4: JSONDecodeError")


def test_records_changes_and_items_are_tried() -> None:
    """Each kind by its own method."""
    assert check_reader(Clicks(), [b"a", {"data": b"b", "sequence_number": "77"}]).rows == [
        {"text": "a", "at": 1_795_179_600_000, "number": "0"},
        {"text": "b", "at": 1_795_179_600_000, "number": "77"},
    ]
    removed = {"event_name": "REMOVE", "new_image": None, "old_image": {"id": 1}}
    assert check_reader(Changes(), [{"id": 1}, removed]).rows == [
        {"event": "INSERT", "old": None, "new": {"id": 1}},
        {"event": "REMOVE", "old": {"id": 1}, "new": None},
    ]
    item = {"item": {"text": "x"}, "keys": {"id": 7}}
    assert check_reader(Items(), [{"text": "y"}, item]).rows == [{"text": "y"}, {"id": 7, "text": "x"}]


def test_what_breaks_the_contract_is_told() -> None:
    """Rows that differ, answers that are none, a lifecycle that fails."""
    numbers = count()

    class Restless(Orders):
        def parse_message(self, *arguments: Any) -> Any:
            return Document({"number": next(numbers)})

    (problem,) = check_reader(Restless(), ["{}"]).problems
    assert problem == "record 0: parsed again, it is another document: delivered twice, it makes two rows"

    class Listing(Items):
        def parse_dynamo_db_item(self, *arguments: Any) -> Any:
            return [1]

    assert not check_reader(Listing(), [{"a": 1}]).ok

    class Closed(Clicks):
        def open(self, context: HandlerContext) -> None:
            raise OSError("no model")

    (problem,) = check_reader(Closed(), [b""]).problems
    assert problem.startswith("open or close failed: OSError: no model")


@pytest.mark.parametrize(
    ("interface", "method", "parameters"),
    [
        (
            QueueMessageReader,
            "parse_message",
            "message_id message_group_id message_deduplication_id message_attributes message_body",
        ),
        (
            KinesisRecordReader,
            "parse_message",
            "stream_arn shard_id partition_key sequence_number approximate_arrival_timestamp data",
        ),
        (
            DynamoDBStreamsRecordReader,
            "parse_record",
            (
                "stream_arn shard_id event_id event_name identity_principal_id identity_type sequence_number "
                "size_bytes stream_view_type approximate_creation_date_time keys old_image new_image"
            ),
        ),
        (DynamoDBTableItemReader, "parse_dynamo_db_item", "table_name segment_number keys item"),
        (SagemakerVectorsInterface, "extract_document_elements_for_vectorization", "document"),
        (SagemakerVectorsInterface, "construct_vector_doc", "document vectors_map"),
    ],
)
def test_the_methods_are_those_of_the_original(interface: type, method: str, parameters: str) -> None:
    """In snake case, with the parameters in the original's order: they are passed by position."""
    names = list(inspect.signature(getattr(interface, method)).parameters)[1:]
    assert names == parameters.split()
    assert getattr(getattr(interface, method), "__isabstractmethod__", False)
    for lifecycle in ("open", "close"):
        assert not getattr(getattr(interface, lifecycle), "__isabstractmethod__", False)
