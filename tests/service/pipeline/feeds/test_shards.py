from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.errors import ConfigError, ObjectNotFoundError
from datalake_service.pipeline.feeds.feed import Idle
from datalake_service.pipeline.feeds.feeds import make_feed
from datalake_service.pipeline.feeds.shard_feed import HELD_SECONDS
from datalake_service.pipeline.jobs.engine import HandlerSpec, LakeOutput, TaskJob
from datalake_service.pipeline.jobs.stream_inputs import ShardInput, StreamService
from datalake_service.readers.shards import Place
from datalake_service.storage import FolderStore
from datalake_utils.clock import ManualClock, SystemClock
from tests.support.stream_server import ARN, StreamServer, stream_server
from tests.support.streaming import READER, Streaming
from tests.support.tasks import write_module

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"
NAMES = [f"text {number}" for number in range(60)]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[StreamServer]:
    """A stream of two shards."""
    with stream_server(2) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def streaming(tmp_path: Path, stream: StreamServer) -> Streaming:
    """A dataset that reads it."""
    return Streaming(tmp_path, stream)


def test_each_shard_is_a_task_that_goes_on_where_it_was(streaming: Streaming) -> None:
    """Pages end anywhere; a stop and a new run repeat nothing and leave nothing out."""
    streaming.stream.put(FIRST, *NAMES[:20])
    streaming.stream.put(SECOND, *NAMES[20:45])
    report = streaming.run()
    assert (report.status, report.tasks.counts.documents) == (RunStatus.STOPPED, 45)
    assert streaming.texts() == sorted(NAMES[:45])
    streaming.stream.put(FIRST, *NAMES[45:])
    assert streaming.run().tasks.counts.documents == 15
    assert streaming.texts() == sorted(NAMES)
    assert {state.status for state in streaming.states().values()} == {TaskStatus.STOPPED}


def test_children_are_read_after_their_parents(streaming: Streaming) -> None:
    """Splits and merges, before the first run and between two: each closed shard is completed, and read once."""
    stream = streaming.stream
    stream.put(FIRST, *NAMES[:10])
    left, right = stream.split(FIRST)
    stream.put(right, *NAMES[10:20])
    streaming.run()
    assert streaming.order.index(FIRST) < streaming.order.index(left)
    assert streaming.order.index(FIRST) < streaming.order.index(right)
    stream.put(SECOND, *NAMES[20:30])
    merged = stream.merge(SECOND, right)
    stream.put(merged, *NAMES[30:40])
    streaming.order.clear()
    streaming.run()
    assert FIRST not in streaming.order
    assert streaming.order.index(merged) > max(streaming.order.index(SECOND), streaming.order.index(right))
    states = streaming.states()
    done = {shard for shard, state in states.items() if state.status is TaskStatus.COMPLETED}
    assert done == {FIRST, SECOND, right}
    assert streaming.texts() == sorted(NAMES[:40])


def test_a_stream_that_is_scaled_while_it_is_read_is_followed(streaming: Streaming) -> None:
    """In processes: the children are found without another run, and more shards than processes are all read."""
    stream = streaming.stream
    stream.now = SystemClock().now().timestamp() - 3600
    stream.put(FIRST, *NAMES[:20])
    stop = threading.Event()

    def scale() -> None:
        _when(lambda: streaming.states().get(FIRST) is not None and "GetRecords" in stream.requests)
        left, right = stream.split(FIRST)
        stream.put(left, *NAMES[20:30])
        stream.put(right, *NAMES[30:40])
        stream.put(SECOND, *NAMES[40:])
        _when(lambda: sum(state.counts.documents for state in streaming.states().values()) == len(NAMES))
        stop.set()

    scaling = threading.Thread(target=scale)
    scaling.start()
    report = streaming.run_in_processes(stop, turn_seconds=0.3)
    scaling.join()
    assert report.status is RunStatus.STOPPED
    assert streaming.states()[FIRST].status is TaskStatus.COMPLETED
    assert streaming.texts() == sorted(NAMES)


def test_what_came_before_is_left_out_with_latest(streaming: Streaming) -> None:
    """The time of the first planning counts for ever: for shards that nothing was read of, and for later ones."""
    stream = streaming.stream
    stream.put(FIRST, "old 1", "old 2")
    streaming.start_from("Latest")
    stream.now += 100
    stream.date = stream.now
    assert streaming.run().tasks.counts.records == 0
    stream.now += 100
    stream.put(FIRST, "new 1")
    left, _ = stream.split(FIRST)
    stream.put(left, "new 2")
    stream.put(SECOND, "new 3")
    stream.now += 100
    stream.date = stream.now
    streaming.run()
    assert streaming.texts() == ["new 1", "new 2", "new 3"]


def test_reading_may_begin_at_a_time_or_a_number(streaming: Streaming) -> None:
    """Of each shard."""
    stream = streaming.stream
    stream.put(FIRST, *NAMES[:10])
    middle = datetime.fromtimestamp(stream.now, UTC)
    stream.put(SECOND, *NAMES[10:20])
    streaming.start_from("Timestamp", Timestamp=middle.isoformat())
    streaming.run()
    assert streaming.texts() == sorted(NAMES[9:20])
    streaming.document["datasetName"] = "e"
    number = stream.shards[SECOND].records[8]["SequenceNumber"]
    streaming.start_from("SequenceNumber", SequenceNumbers={SECOND: number})
    assert streaming.run().tasks.counts.records == 12


def test_iterators_that_expire_are_replaced(streaming: Streaming) -> None:
    """A handler took minutes for a page, or the machine slept."""
    streaming.stream.put(FIRST, *NAMES)
    streaming.stream.errors = ["", "", "", "", "ExpiredIteratorException"]
    streaming.run()
    assert streaming.texts() == sorted(NAMES)


def test_what_a_quiet_shard_has_given_is_kept_soon(tmp_path: Path, stream: StreamServer) -> None:
    """Not only when a chunk is full: after some seconds without anything new, a checkpoint is asked for, once."""
    stream.put(FIRST, "one", "two")
    clock = ManualClock(datetime.fromtimestamp(stream.now, UTC))
    source = ShardInput(clients=stream.clients(), service=StreamService.KINESIS, stream=ARN, shard=FIRST, begin=Place())
    store = FolderStore(tmp_path / "lake", durable=False)
    folder = write_module(tmp_path / "project", READER)
    output, handler = LakeOutput(chunk_size=1000), HandlerSpec("handler.Texts", folder)
    job = TaskJob(
        task="t", source="s", input=source, output=output, handler=handler, store=store, dataset="d", batch="b"
    )
    feed = make_feed(job, clock=clock)
    feed.open(checkpoint=None, version=None)
    found = feed.outcomes()
    rows = [next(found) for _ in range(2)]
    assert [row["text"] for row in rows if isinstance(row, dict)] == ["one", "two"]
    asked: list[bool] = []
    for _ in range(2):
        for _ in range(2):
            assert isinstance(next(found), Idle)
            asked.append(feed.pressing)
            clock.sleep(HELD_SECONDS)
        feed.kept()
    assert asked == [False, True, False, False]
    feed.let_go()


def test_a_stream_that_is_throttled_is_waited_for(streaming: Streaming) -> None:
    """Longer than one request is repeated."""
    streaming.stream.put(FIRST, *NAMES[:10])
    streaming.stream.errors = ["", "", "", *["ProvisionedThroughputExceededException"] * 10]
    assert streaming.run().failures == ()
    assert streaming.texts() == sorted(NAMES[:10])


def test_a_stream_that_does_not_exist_is_named(streaming: Streaming) -> None:
    """Before anything is read."""
    streaming.stream.deleted = True
    with pytest.raises(ObjectNotFoundError, match=r"stream/events' does not exist .*readConnector\.streamArn"):
        streaming.run()


def test_a_stream_that_is_deleted_fails_its_tasks(streaming: Streaming) -> None:
    """What was read before is kept."""
    streaming.stream.put(FIRST, *NAMES[:7])
    streaming.stream.errors = ["", "", "", *["ResourceNotFoundException"] * 99]
    report = streaming.run()
    assert report.status is RunStatus.FAILED
    assert all("does not exist" in failure.error for failure in report.failures)
    assert streaming.texts() == sorted(NAMES[:7])


def test_records_that_are_gone_are_told_once(streaming: Streaming) -> None:
    """The task fails, so that somebody learns of it; the next run goes on with what there is."""
    stream = streaming.stream
    stream.put(FIRST, *NAMES[:10])
    streaming.run()
    stream.put(FIRST, *NAMES[10:20])
    stream.trim(FIRST, 15)
    streaming.now += 3 * 24 * 3600
    report = streaming.run()
    assert [failure.item for failure in report.failures] == [f"events/{FIRST}"]
    assert "records behind that are gone (it keeps records for 24 hours); run it again" in report.failures[0].error
    assert streaming.run().failures == ()
    assert streaming.texts() == sorted([*NAMES[:10], *NAMES[15:20]])


def test_data_in_gzip_is_decompressed(streaming: Streaming) -> None:
    """As writers of this framework make it, in one member or several; damaged data is a rejection with its bytes."""
    packed = gzip.compress(b"some ") + gzip.compress(b"text")
    streaming.stream.put_bytes(FIRST, packed, packed[:-3], b"\x1f\x8b\x08 no gzip", gzip.compress(bytes(65 << 20)))
    streaming.run()
    assert streaming.texts() == ["some text"]
    messages = [(line["kind"], line["message"]) for line in streaming.rejected()]
    assert [kind for kind, _ in messages] == ["read"] * 3
    assert "is cut off" in messages[0][1]
    assert "is damaged" in messages[1][1]
    assert "holds more than 64 MiB" in messages[2][1]


def test_rejections_say_where_the_record_is(streaming: Streaming) -> None:
    """Stream, shard and sequence number, and the data."""
    streaming.stream.put(FIRST, "good", "bad one", "skip this", "good again")
    report = streaming.run()
    assert (report.tasks.counts.documents, report.tasks.counts.skips, report.tasks.counts.rejections) == (2, 1, 1)
    (line,) = streaming.rejected()
    assert line["source"].endswith(f"stream/events/{FIRST}")
    assert line["startOffset"] == streaming.stream.shards[FIRST].records[1]["SequenceNumber"]
    assert line["kind"] == "parse"


def test_under_the_policy_fail_the_record_is_met_again(streaming: Streaming) -> None:
    """The checkpoint stays before it, although the page behind was there already."""
    streaming.document["onError"] = {"policy": "fail"}
    streaming.stream.put(FIRST, *NAMES[:5], "bad one", *NAMES[5:9])
    assert len(streaming.run().failures) == 1
    assert streaming.stream.requests.count("GetRecords") >= 2
    (state,) = [state for shard, state in streaming.states().items() if shard == FIRST]
    assert isinstance(state.checkpoint, dict)
    assert state.checkpoint["sequence"] == streaming.stream.shards[FIRST].records[4]["SequenceNumber"]
    streaming.document["onError"] = {"policy": "continue"}
    streaming.run()
    assert streaming.texts() == sorted(NAMES[:9])
    assert len(streaming.rejected()) == 1


def test_another_handler_for_a_batch_that_has_tasks_is_refused(streaming: Streaming) -> None:
    """One batch holds one reading, as with every other source."""
    streaming.stream.put(FIRST, "one")
    streaming.run()
    connector = streaming.document["readConnector"]
    write_module(streaming.folder, READER.replace("class Texts", "class Others"), name="others")
    streaming.document["readConnector"] = connector | {"kinesisRecordReaderImplementationClassName": "others.Others"}
    with pytest.raises(ConfigError, match=r'was "handler\.Texts", is "others\.Others"'):
        streaming.run()
    streaming.document["readConnector"] = connector
    assert streaming.run().tasks.counts.records == 0


def test_batches_are_those_of_the_records_time(streaming: Streaming) -> None:
    """Whenever they are read."""
    streaming.document["writeConnector"]["batch"] = "{date:%Y%m%d-%H}"
    stream = streaming.stream
    stream.put(FIRST, "before")
    before = datetime.fromtimestamp(stream.now, UTC)
    stream.now += 7200
    stream.put(FIRST, "after")
    after = datetime.fromtimestamp(stream.now, UTC)
    streaming.now = stream.now + 99
    streaming.run()
    folders = {name.rstrip("/").rpartition("/")[2] for name in streaming.store.list_folders("d/")}
    assert {f"{before:%Y%m%d-%H}", f"{after:%Y%m%d-%H}"} <= folders


def _when(holds: object) -> None:
    """Wait until something holds."""
    assert callable(holds)
    done = threading.Event()
    for _ in range(6_000):
        if holds():
            return
        done.wait(0.01)
    raise AssertionError("it never came to that")
