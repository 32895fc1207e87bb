from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog.datasets import RunStatus
from datalake_service.config.load import load_dataset
from datalake_service.errors import ConfigError, ObjectNotFoundError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.pipeline.tasks.task import run_task
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage import FolderStore, open_store
from datalake_utils.clock import ManualClock
from tests.support.aws import Aws, fresh_name
from tests.support.tasks import InlineEngine, write_module

READERS = """
from datalake_interfaces import DynamoDBStreamsRecordReader, DynamoDBTableItemReader

class Items(DynamoDBTableItemReader):
    def parse_dynamo_db_item(self, table, segment, keys, item):
        if item.get("n") == 13:
            raise ValueError("unlucky")
        types = {name: type(value).__name__ for name, value in item.items()}
        return Document({"key": dict(keys), "item": dict(item), "types": types})

class Changes(DynamoDBStreamsRecordReader):
    def parse_record(self, arn, shard, event_id, event_name, *rest):
        *_, view, time, keys, old, new = rest
        return Document({"event": event_name, "view": view, "key": dict(keys), "old": old, "new": new, "time": time})
"""


class Tables:
    """A table, a dataset file that reads it, and a lake."""

    def __init__(self, folder: Path, aws: Aws, **options: Any) -> None:
        self.folder = write_module(folder / "project", READERS)
        self.store = FolderStore(folder / "lake", durable=False)
        self.client = aws.client("dynamodb")
        self.name = fresh_name()
        self.client.create_table(
            TableName=self.name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "at", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
            **options,
        )
        self.connector: dict[str, Any] = {
            "connectorDestination": "DYNAMODB",
            "tableName": self.name,
            "dynamoDBTableItemReaderImplementationClassName": "handler.Items",
        }
        self.manifest: dict[str, Any] = {}

    def put(self, number: int, **attributes: Any) -> None:
        """Write an item."""
        key = {"pk": {"S": f"k{number}"}, "at": {"N": str(number)}}
        self.client.put_item(TableName=self.name, Item={**key, "n": {"N": str(number)}, **attributes})

    def run(self, engine: Any = None) -> RunReport:
        """Read it."""
        document = {"datasetName": "d", "readConnector": self.connector, "manifestFile": self.manifest}
        config = load_dataset({**document, "writeConnector": {"batch": "b"}}, folder=self.folder)
        return run_dataset(config, store=self.store, opener=open_store, engine=engine or InlineEngine())

    def rows(self) -> list[dict[str, Any]]:
        """Everything in the lake."""
        merge_batch(self.store, "d", "b")
        return [dict(row) for row in DatasetView(self.store, ViewRequest(dataset="d"))]

    def rejected(self) -> list[dict[str, Any]]:
        """All rejections of tasks."""
        metas = [meta for meta in self.store.list("d/b/rejected/") if "task_" in meta.key]
        return [json.loads(line) for meta in metas for line in self.store.get(meta.key)[0].splitlines()]


@pytest.fixture
def emulated(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """The settings of this process name the emulator."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return aws


def test_every_item_is_read_once_in_segments(tmp_path: Path, emulated: Aws) -> None:
    """And nothing the second time."""
    tables = Tables(tmp_path, emulated)
    for number in range(40):
        tables.put(number)
    tables.manifest = {"segments": 3}
    report = tables.run()
    assert (report.status, report.tasks.completed) == (RunStatus.COMPLETED, 3)
    assert (report.tasks.counts.documents, report.tasks.counts.rejections) == (39, 1)
    assert sorted(row["item"]["n"] for row in tables.rows()) == [n for n in range(40) if n != 13]
    (line,) = tables.rejected()
    assert json.loads(line["startOffset"]) == {"pk": {"S": "k13"}, "at": {"N": "13"}}
    assert tables.run().tasks.already_done == 3


def test_values_arrive_as_python_has_them(tmp_path: Path, emulated: Aws) -> None:
    """Numbers exact, sets as sets, bytes as bytes, nulls as None; and are stored by the documented conversion."""
    tables = Tables(tmp_path, emulated)
    tables.put(
        1,
        exact={"N": "1234567890123456789012345678901234567.1"},
        large={"N": "12345678901234567890123456789012345678"},
        texts={"SS": ["b", "a"]},
        numbers={"NS": ["2", "1.5"]},
        blobs={"BS": [b"\xff"]},
        blob={"B": b"\x00\xff"},
        nothing={"NULL": True},
        yes={"BOOL": True},
        nested={"M": {"list": {"L": [{"S": "x"}, {"M": {}}]}}},
    )
    tables.run()
    (row,) = tables.rows()
    types = {name: kind for name, kind in row["types"].items() if kind not in {"str", "int"}}
    assert types == {
        "exact": "Decimal",
        "texts": "set",
        "numbers": "set",
        "blobs": "set",
        "blob": "bytes",
        "nothing": "NoneType",
        "yes": "bool",
        "nested": "dict",
    }
    item = row["item"]
    assert item["exact"] == "1234567890123456789012345678901234567.1"
    assert item["large"] == 12345678901234567890123456789012345678
    assert (item["texts"], item["blob"], item["blobs"]) == (["a", "b"], "AP8=", ["/w=="])
    assert item["nested"] == {"list": ["x", {}]}


def test_a_filter_leaves_items_out(tmp_path: Path, emulated: Aws) -> None:
    """With values as JSON has them, or typed as DynamoDB has them."""
    tables = Tables(tmp_path, emulated)
    for number in range(10):
        tables.put(number)
    tables.manifest = {
        "filterExpression": "#n BETWEEN :low AND :high",
        "expressionAttributeNames": {"#n": "n"},
        "expressionAttributeValues": {":low": 3, ":high": {"N": "5"}},
    }
    tables.run()
    assert sorted(row["item"]["n"] for row in tables.rows()) == [3, 4, 5]


def test_a_continuous_scan_adds_what_has_changed(tmp_path: Path, emulated: Aws) -> None:
    """An item that is as it was in the pass before is the same row."""
    tables = Tables(tmp_path, emulated)
    tables.put(1)
    tables.put(2)
    tables.manifest = {"completionMode": "Continuous"}
    engine = _Passes(lambda: tables.put(2, text={"S": "changed"}))
    tables.run(engine)
    found = sorted((row["item"]["n"], row["item"].get("text", "")) for row in tables.rows())
    assert found == [(1, ""), (2, ""), (2, "changed")]


def test_a_table_that_does_not_exist_is_named(tmp_path: Path, emulated: Aws) -> None:
    """With the setting."""
    tables = Tables(tmp_path, emulated)
    tables.connector["tableName"] = "no-such-table"
    with pytest.raises(ObjectNotFoundError, match=r"'no-such-table' does not exist .*readConnector\.tableName"):
        tables.run()


def test_an_expression_that_dynamodb_refuses_fails_the_task(tmp_path: Path, emulated: Aws) -> None:
    """In its own words."""
    tables = Tables(tmp_path, emulated)
    tables.put(1)
    tables.manifest = {"filterExpression": "n === 1"}
    report = tables.run()
    assert report.status is RunStatus.FAILED
    assert "dynamodb:Scan on the table" in report.failures[0].error


def test_a_value_that_is_none_of_dynamodbs_is_refused(tmp_path: Path, emulated: Aws) -> None:
    """A filter without an expression would be ignored in silence."""
    tables = Tables(tmp_path, emulated)
    tables.manifest = {"expressionAttributeValues": {":low": 3}}
    with pytest.raises(ConfigError, match=r"manifestFile\.expressionAttributeValues: .*filterExpression"):
        tables.run()


@pytest.mark.parametrize(
    ("view", "images"),
    [
        ("KEYS_ONLY", (False, False)),
        ("NEW_IMAGE", (False, True)),
        ("OLD_IMAGE", (True, False)),
        ("NEW_AND_OLD_IMAGES", (True, True)),
    ],
)
def test_changes_have_the_images_of_their_view(
    tmp_path: Path, emulated: Aws, view: str, images: tuple[bool, bool]
) -> None:
    """INSERT, MODIFY and REMOVE, in order; an image that is not there is None."""
    tables = Tables(tmp_path, emulated, StreamSpecification={"StreamEnabled": True, "StreamViewType": view})
    tables.put(1)
    tables.put(1, text={"S": "changed"})
    tables.client.delete_item(TableName=tables.name, Key={"pk": {"S": "k1"}, "at": {"N": "1"}})
    arn = tables.client.describe_table(TableName=tables.name)["Table"]["LatestStreamArn"]
    tables.connector = {
        "connectorDestination": "DYNAMODBSTREAMS",
        "streamArn": arn,
        "dynamoDBStreamsRecordReaderImplementationClassName": "handler.Changes",
    }
    report = tables.run(_Passes(lambda: None))
    assert report.tasks.counts.documents == 3
    rows = sorted(tables.rows(), key=lambda row: row["id"])
    assert [row["event"] for row in rows] == ["INSERT", "MODIFY", "REMOVE"]
    assert {row["view"] for row in rows} == {view}
    assert {json.dumps(row["key"]) for row in rows} == {'{"pk": "k1", "at": 1}'}
    has_old, has_new = images
    assert [row["old"] is not None for row in rows] == [False, has_old, has_old]
    assert [row["new"] is not None for row in rows] == [has_new, has_new, False]


class _Passes(InlineEngine):
    """Reads, calls a function when the source has nothing more, reads again, and stops then."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self._between = between

    def run(self, jobs: Any, **options: Any) -> Any:
        results = []
        for job in jobs:
            clock = _IdleClock(self._between)
            result = _run_until(job, clock)
            options["on_event"](result)
            results.append(result)
        return results


class _IdleClock(ManualClock):
    """Counts how often somebody waited."""

    def __init__(self, between: Any) -> None:
        super().__init__()
        self.waits = 0
        self._between = between

    def monotonic(self) -> float:
        self.advance(0.05)
        return super().monotonic()

    def sleep(self, seconds: float) -> None:
        if not self.waits:
            self._between()
        self.waits += 1
        super().sleep(seconds)


def _run_until(job: TaskJob, clock: _IdleClock) -> Any:
    return run_task(job, stop=lambda: clock.waits > 400, report=lambda _: None, clock=clock)
