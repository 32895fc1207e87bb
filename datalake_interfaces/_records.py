"""Records of queues, streams and tables for ``testing``: what a sample leaves out is made up."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from datalake_interfaces.readers.dynamodb import DynamoDBTableItemReader
from datalake_interfaces.readers.dynamodbstreams import DynamoDBStreamsRecordReader
from datalake_interfaces.readers.kinesis import KinesisRecordReader
from datalake_interfaces.readers.sqs import QueueMessageReader

RecordReader = QueueMessageReader | KinesisRecordReader | DynamoDBStreamsRecordReader | DynamoDBTableItemReader
"""The handlers of sources that are no files."""
_ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/sample"
_TIME = 1_795_179_600

_METHODS: Mapping[type[RecordReader], tuple[str, str, Mapping[str, Any]]] = {
    QueueMessageReader: (
        "parse_message",
        "message_body",
        {"message_group_id": None, "message_deduplication_id": None, "message_attributes": {}},
    ),
    KinesisRecordReader: (
        "parse_message",
        "data",
        {
            "stream_arn": _ARN,
            "shard_id": "shardId-000000000000",
            "partition_key": "sample",
            "approximate_arrival_timestamp": _TIME * 1000,
        },
    ),
    DynamoDBStreamsRecordReader: (
        "parse_record",
        "new_image",
        {
            "stream_arn": "arn:aws:dynamodb:eu-west-1:123456789012:table/sample/stream/2026-11-20T13:00:00.000",
            "shard_id": "shardId-00000000000000000000-00000000",
            "event_name": "INSERT",
            "identity_principal_id": None,
            "identity_type": None,
            "size_bytes": 100,
            "stream_view_type": "NEW_AND_OLD_IMAGES",
            "approximate_creation_date_time": _TIME,
            "keys": {},
            "old_image": None,
        },
    ),
    DynamoDBTableItemReader: (
        "parse_dynamo_db_item",
        "item",
        {"table_name": "sample", "segment_number": 0, "keys": {}},
    ),
}
"""The method of each kind, the argument that a sample is about, and the others."""


def method_of(reader: RecordReader) -> str:
    """The name of the method that takes a record."""
    return _kind(reader)[0]


def arguments(reader: RecordReader, sample: object, number: int) -> list[Any]:
    """The arguments of a call, in their order.

    Args:
        reader: The reader that will be called.
        sample: What the record is about; or a mapping of arguments by name, that one among them.
        number: Of the sample; makes ids of it.
    """
    method, about, others = _kind(reader)
    kind = next(kind for kind in _METHODS if isinstance(reader, kind))
    names = [name for name in inspect.signature(getattr(kind, method)).parameters if name != "self"]
    named = isinstance(sample, Mapping) and about in sample and sample.keys() <= set(names)
    given: Mapping[Any, Any] = sample if isinstance(sample, Mapping) and named else {about: sample}
    made_up = {"message_id": f"sample-{number}", "sequence_number": str(number), "event_id": f"sample-{number}"}
    values = {about: None, **made_up, **others, **given}
    return [values[name] for name in names]


def _kind(reader: RecordReader) -> tuple[str, str, Mapping[str, Any]]:
    return next(found for kind, found in _METHODS.items() if isinstance(reader, kind))
