"""What the framework costs for each record of every reader: source and destination in memory.

Everything of ours runs as in a task: reader, handler, row, sink, checkpoints, deletion. The clients of AWS answer from
memory with what the real library would have parsed; files are small enough to stay in the system's cache; the sink
forgets rows. The trivial handler's own time is in the figures. State machines make a row of two records, as their
handlers do; what is shown is for each record.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.measure import Comparison, Side, main, timed
from datalake_service.aws.clients import AwsClients
from datalake_service.pipeline.jobs.engine import (
    FileInput,
    HandlerSpec,
    Input,
    LakeOutput,
    MachineInput,
    QueueInput,
    TaskJob,
)
from datalake_service.pipeline.jobs.stream_inputs import SegmentInput, ShardInput, StreamService
from datalake_service.pipeline.sinks.sink import Origin, Refusal
from datalake_service.pipeline.tasks import task as task_module
from datalake_service.readers.shards import Place
from datalake_service.storage.folder import FolderStore

NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)
BODY = "x" * 300
HANDLERS = """
from datalake_interfaces import (
    Document, DynamoDBStreamsRecordReader, DynamoDBTableItemReader, KinesisRecordReader,
    MultipleFileStateMachineReader, ParseCompositeDocumentResult, QueueMessageReader, RecordHintType, RecordParseHint,
    SingleFileParser, SingleFileStateMachineParser, SingleFileStateMachineReader
)

LINE = RecordParseHint(RecordHintType.OFFSET, offset=0)
END = RecordParseHint(RecordHintType.PATTERN, b"\\n")

class Messages(QueueMessageReader):
    def parse_message(self, message_id, group, deduplication, attributes, body):
        return Document({"text": body})

class Records(KinesisRecordReader):
    def parse_message(self, stream_arn, shard_id, partition_key, sequence_number, arrival, data):
        return Document({"text": data.decode()})

class Changes(DynamoDBStreamsRecordReader):
    def parse_record(self, *arguments):
        return Document({"text": arguments[-1]["text"]})

class Items(DynamoDBTableItemReader):
    def parse_dynamo_db_item(self, table_name, segment_number, keys, item):
        return Document({"text": item["text"]})

class Lines(SingleFileParser):
    def get_record_start_pattern(self, s3_file_type):
        return LINE

    def get_record_end_pattern(self, s3_file_type):
        return END

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        return Document({"text": byte_arr.decode()})

class Parser(SingleFileStateMachineParser):
    def end_is_next_start(self, s3_file_type):
        return False

    def get_next_expected_record_type(self, s3_file_type, last_processed_record_type):
        return "B" if last_processed_record_type == "A" else "A"

    def get_next_record_start_pattern(self, s3_file_type, next_expected_record_type, last_processed_doc):
        return LINE

    def get_next_record_end_pattern(self, s3_file_type, next_expected_record_type, last_processed_doc):
        return END

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index, kind, last):
        return Document({"text": byte_arr.decode()})

class Pairs(SingleFileStateMachineReader):
    def parse_document(self, s3_file_type, last_processed_record_type, last_processed_doc, file_reader):
        first, second = file_reader.next_record(), file_reader.next_record()
        return second.document

class Steps(MultipleFileStateMachineReader):
    def get_s3_file_types(self):
        return {"LEFT", "RIGHT"}

    def parse_document(self, last_processed_record_types, last_processed_doc, file_readers):
        left, right = file_readers["LEFT"].next_record(), file_readers["RIGHT"].next_record()
        return ParseCompositeDocumentResult(right.document)
"""


class _Memory:
    """Answers as a client of AWS would, from pages that were made before."""

    def __init__(self, pages: Sequence[dict[str, Any]]) -> None:
        self._pages: Iterator[dict[str, Any]] = iter(pages)
        self.meta = SimpleNamespace(region_name="eu-west-1", endpoint_url="http://127.0.0.1")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a client has
        return {
            "get_queue_url": lambda **_: {"QueueUrl": "http://127.0.0.1/q"},
            "get_queue_attributes": lambda **_: {"Attributes": {}},
            "receive_message": lambda **_: next(self._pages, {}),
            "delete_message_batch": lambda **_: {},
            "get_shard_iterator": lambda **_: {"ShardIterator": "i"},
            "get_records": lambda **_: next(self._pages),
            "describe_stream": lambda **_: {"StreamDescription": {"StreamViewType": "NEW_IMAGE", "Shards": []}},
            "describe_table": lambda **_: {"Table": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}},
            "scan": lambda **_: next(self._pages),
        }[name]


class _MemoryClients(AwsClients):
    def __init__(self, pages: Sequence[dict[str, Any]]) -> None:
        super().__init__()
        self._memory = _Memory(pages)

    def client(self, service: str) -> Any:  # noqa: ANN401 - as the class it stands in for
        return self._memory


class _Forgets:
    """A sink that takes everything and keeps nothing."""

    needs_origins = False
    saturated = False
    rows_buffered = 0
    run = None

    def __init__(self) -> None:
        self.rows = 0

    def add(self, row: dict[str, Any], origin: Origin | None) -> None:
        self.rows += 1

    def wait_for_room(self) -> None:
        """There is room."""

    def flush(self) -> None:
        """Nothing is held."""

    def refused(self) -> Sequence[Refusal]:
        return ()

    def close(self) -> None:
        """Nothing is open."""


def in_tens(records: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """In pages of a size."""
    return (records[start : start + size] for start in range(0, len(records), size))


def run(folder: Path, name: str, source: Input) -> int:
    """Run a task over a source; returns how many rows there were."""
    from datalake_service.catalog.tasks import TaskState, create_task
    from datalake_utils.clock import SystemClock

    (folder / "handler.py").write_text(HANDLERS, encoding="utf-8")
    store = FolderStore(folder / "lake", durable=False)
    create_task(store, "d", TaskState(id="t", item=name, batch="b", created_at=NOW))
    sink = _Forgets()
    task_module.make_sink = lambda *_, **__: sink  # type: ignore[attr-defined]  # no lake, no disk
    job = TaskJob(
        task="t",
        source=name,
        input=source,
        output=LakeOutput(chunk_size=1000),
        handler=HandlerSpec(f"handler.{name}", folder),
        store=store,
        dataset="d",
        batch="b",
    )
    with timed():
        result = task_module.run_task(job, stop=lambda: False, report=lambda _: None, clock=SystemClock())
    assert str(result.status) == "COMPLETED", result
    return sink.rows


def limit(_: Path, arguments: argparse.Namespace) -> object:
    """The handler called for each message, and nothing else."""
    namespace: dict[str, Any] = {}
    exec(HANDLERS, namespace)
    parse, rows = namespace["Messages"]().parse_message, 0
    with timed():
        for number in range(arguments.records):
            if parse(f"{number}", None, None, {}, BODY):
                rows += 1
    return rows


def queue(folder: Path, arguments: argparse.Namespace) -> object:
    """SQS, ten messages a receive."""
    messages = [
        {
            "MessageId": f"00000000-0000-0000-0000-{number:012d}",
            "ReceiptHandle": f"{number:0200d}",
            "Body": BODY,
            "Attributes": {"SentTimestamp": "1795179600000"},
        }
        for number in range(arguments.records)
    ]
    pages = [{"Messages": page} for page in in_tens(messages, 10)]
    # The first receives ask for fewer than ten, and get ten all the same.
    return run(folder, "Messages", QueueInput(clients=_MemoryClients(pages), queue="q", empty_receives=1))


def kinesis(folder: Path, arguments: argparse.Namespace) -> object:
    """A closed shard of Kinesis, a thousand records a page."""
    records = [
        {
            "SequenceNumber": f"4954{number:052d}",
            "ApproximateArrivalTimestamp": NOW,
            "Data": BODY.encode(),
            "PartitionKey": "p",
        }
        for number in range(arguments.records)
    ]
    return run(folder, "Records", _shard(StreamService.KINESIS, records))


def streams(folder: Path, arguments: argparse.Namespace) -> object:
    """A closed shard of DynamoDB Streams."""
    records = [
        {
            "eventID": f"{number:032x}",
            "eventName": "INSERT",
            "dynamodb": {
                "ApproximateCreationDateTime": NOW,
                "Keys": {"id": {"N": str(number)}},
                "NewImage": {"id": {"N": str(number)}, "text": {"S": BODY}},
                "SequenceNumber": f"{number:021d}",
                "SizeBytes": 310,
                "StreamViewType": "NEW_IMAGE",
            },
        }
        for number in range(arguments.records)
    ]
    return run(folder, "Changes", _shard(StreamService.DYNAMODB, records))


def table(folder: Path, arguments: argparse.Namespace) -> object:
    """A scan of a table."""
    items = [{"id": {"N": str(number)}, "text": {"S": BODY}} for number in range(arguments.records)]
    pages = [{"Items": page, "LastEvaluatedKey": {"id": page[-1]["id"]}} for page in in_tens(items, 1000)]
    del pages[-1]["LastEvaluatedKey"]
    source = SegmentInput(clients=_MemoryClients(pages), table="t", segment=0, segments=1, continuous=False)
    return run(folder, "Items", source)


def files(folder: Path, arguments: argparse.Namespace) -> object:
    """Lines of a file."""
    _lines(folder / "input" / "a", arguments.records)
    return run(folder, "Lines", FileInput(FolderStore(folder / "input"), "a"))


def machine(folder: Path, arguments: argparse.Namespace) -> object:
    """Lines of a file, two for each row."""
    _lines(folder / "input" / "a", arguments.records)
    source = MachineInput(store=FolderStore(folder / "input"), files={"": "a"}, parsers={"": "handler.Parser"})
    return run(folder, "Pairs", source) * 2


def machines(folder: Path, arguments: argparse.Namespace) -> object:
    """Lines of two files in lock-step, one of each for a row."""
    for name in "ab":
        _lines(folder / "input" / name, arguments.records // 2)
    parsers = {"LEFT": "handler.Parser", "RIGHT": "handler.Parser"}
    source = MachineInput(store=FolderStore(folder / "input"), files={"LEFT": "a", "RIGHT": "b"}, parsers=parsers)
    return run(folder, "Steps", source) * 2


def _lines(path: Path, count: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{BODY}\n" * count, encoding="utf-8")


def _shard(service: StreamService, records: Sequence[Any]) -> ShardInput:
    pages = [{"Records": page, "NextShardIterator": "i", "MillisBehindLatest": 1} for page in in_tens(records, 1000)]
    pages[-1]["NextShardIterator"] = None
    return ShardInput(
        clients=_MemoryClients(pages),
        service=service,
        stream="arn:aws:kinesis:eu-west-1:123456789012:stream/s",
        shard="shardId-000000000000",
        begin=Place(),
    )


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--records", type=int, default=100_000, help="how many records there are")


if __name__ == "__main__":
    SIDES: dict[str, Side] = {
        "limit: the handler alone": limit,
        "SQS": queue,
        "Kinesis": kinesis,
        "DynamoDB Streams": streams,
        "DynamoDB table": table,
        "a file": files,
        "a state machine": machine,
        "a state machine over two files": machines,
    }
    main(
        __file__,
        Comparison(
            "Records through a task, source and destination in memory",
            SIDES,
            options,
            by="inner_cpu",
            rows=lambda arguments: arguments.records,
        ),
    )
