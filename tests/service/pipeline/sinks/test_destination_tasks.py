"""One task that writes elsewhere, and what may die in it."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.aws.clients import AwsClients
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.outputs import FileKind, FilesOutput, QueueOutput, StreamOutput, TableOutput
from datalake_service.storage import FolderStore
from tests.support.destinations import World, by_text, written
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.memory_aws import STREAM, Action, MemoryAws, MemoryClients
from tests.support.tasks import TickingClock, after, run_here, state_of, stored_rejections


def test_a_queue_gets_the_flat_records(tmp_path: Path) -> None:
    """In the order of the file, as far as this queue of one task keeps it; without the id of the lake."""
    aws, world = MemoryAws(), World(tmp_path)
    assert run_here(world.job(QueueOutput(clients=MemoryClients(aws), queue="q"))).status is TaskStatus.COMPLETED
    expected: list[dict[str, str]] = []
    for number in range(5):
        text = str(number)
        expected += [
            {"recordType": "line", "partitionKey": f"p{text}", "text": text},
            {"documentId": text, "text": text},
        ]
    assert sorted(map(str, aws.bodies)) == sorted(map(str, expected))


def test_a_record_that_is_refused_becomes_a_rejection_of_its_record(tmp_path: Path) -> None:
    """At once or by the service: kind write, with offsets and bytes of the record and the reason; others go on."""
    aws = MemoryAws(refuse='"text":"3"', most_bytes=2_000)
    world = World(tmp_path, content="doc 1\ndoc " + "x" * 3_000 + "\ndoc 3\ndoc 4\n")
    result = run_here(world.job(QueueOutput(clients=MemoryClients(aws), queue="q")))
    assert result.status is TaskStatus.COMPLETED
    assert (result.counts.records, result.counts.documents, result.counts.rejections) == (4, 2, 2)
    assert by_text(aws.bodies) == ["1", "4"]
    lines = [line for lines in stored_rejections(world.lake).values() for line in lines]
    told = {line["startOffset"]: line for line in lines}
    assert told["6"]["message"] == "a message of 6050 bytes; the queue 'q' takes 2000"
    assert told["3011"]["message"] == "the queue 'q' refused a message with InvalidAttributeValue: no"
    assert [(line["kind"], line["source"]) for line in lines] == [("write", "in.log")] * 2
    assert told["3011"]["text"] == "doc 3\n"
    assert told["3011"]["endOffset"] == "3017"


def test_a_refusal_fails_the_task_if_the_file_says_so(tmp_path: Path) -> None:
    """The checkpoint stays before it: once the queue takes the record, the next run writes it."""
    aws, world = MemoryAws(refuse='"text":"3"'), World(tmp_path, content="doc 1\ndoc 2\ndoc 3\ndoc 4\n")
    output = QueueOutput(clients=MemoryClients(aws), queue="q")
    result = run_here(world.job(output, on_error=OnError("fail")))
    assert result.status is TaskStatus.FAILED
    assert "refused a message with InvalidAttributeValue: no (in.log at 12; onError.policy is 'fail')" in (
        result.error or ""
    )
    aws.refuse = ""
    assert run_here(world.job(output, on_error=OnError("fail"))).status is TaskStatus.COMPLETED
    assert set(by_text(aws.bodies)) == {"1", "2", "3", "4"}
    assert state_of(world.lake).counts.rejections == 0


def test_a_client_that_cannot_work_fails_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing about rows: none is rejected, and the next run begins with the first."""
    (tmp_path / "config").write_text("[default]\ncredential_process = /no/such/program\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    world = World(tmp_path)
    result = run_here(world.job(QueueOutput(clients=AwsClients(region="us-east-1"), queue="q")))
    assert (result.status, result.counts) == (TaskStatus.FAILED, TaskCounts())
    assert "the configuration of AWS cannot work" in (result.error or "")
    assert stored_rejections(world.lake) == {}


@pytest.mark.parametrize("operation", ["get_queue_url", "send_message_batch"])
def test_what_nobody_expected_of_a_client_rejects_no_row(tmp_path: Path, operation: str) -> None:
    """Neither when it is opened nor later: the worker ends with it, and the task goes on with another one."""

    class Broken(MemoryAws):
        def answer(self, asked: str, request: dict[str, Any]) -> dict[str, Any]:
            if asked == operation:
                raise LookupError(asked)
            return super().answer(asked, request)

    world = World(tmp_path)
    with pytest.raises(LookupError, match=operation):
        run_here(world.job(QueueOutput(clients=MemoryClients(Broken()), queue="q")))
    assert stored_rejections(world.lake) == {}


def outputs(aws: MemoryAws, folder: Path) -> dict[str, Any]:
    """Every destination."""
    clients = MemoryClients(aws)
    files = FolderStore(folder / "files", durable=False)
    return {
        "queue": QueueOutput(clients=clients, queue="q"),
        "fifo": QueueOutput(clients=clients, queue="q.fifo"),
        "stream": StreamOutput(clients=clients, stream_arn=STREAM),
        "table": TableOutput(clients=clients, table="t"),
        "files": FilesOutput(store=files, kind=FileKind.JSONL, rows_per_file=3),
    }


def contents(aws: MemoryAws, folder: Path) -> list[str]:
    """Every document that any of them holds, repetitions included."""
    found = [*aws.bodies, *aws.documents, *({"text": item["text"]["S"]} for item in aws.items.values())]
    return by_text([*found, *written(folder / "files")])


@pytest.mark.parametrize("kind", ["queue", "fifo", "stream", "table", "files"])
def test_a_crash_at_any_operation_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Of the lake: every document is there at the end, rejections and counts are those of a run without a crash."""
    clean, aws = World(tmp_path / "clean", reference="handler.Keyed"), MemoryAws()
    store = FaultyStore(clean.lake)
    run_here(clean.job(outputs(aws, tmp_path / "clean")[kind], store=store), clock=TickingClock(3.0))
    counts, documents = state_of(clean.lake).counts, contents(aws, tmp_path / "clean")
    rejected = [line["startOffset"] for lines in stored_rejections(clean.lake).values() for line in lines]
    assert len(documents) == counts.documents if kind != "table" else 5
    assert len(store.operations) > 10
    step = {"files": 1, "queue": 2}.get(kind, 4)
    for number in range(1, len(store.operations) + 1, step):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            folder = tmp_path / f"{number}-{fault.name}"
            world, aws = World(folder, reference="handler.Keyed"), MemoryAws()
            output = outputs(aws, folder)[kind]
            _crash(world.job(output, store=FaultyStore(world.lake, {number: fault})))
            assert run_here(world.job(output)).status is TaskStatus.COMPLETED
            _compare(kind, contents(aws, folder), documents)
            state = state_of(world.lake)
            assert replace(state.counts, size=0) == replace(counts, size=0)
            found = [line["startOffset"] for lines in stored_rejections(world.lake).values() for line in lines]
            assert sorted(found) == sorted(rejected)


@pytest.mark.parametrize("action", ["crash_before", "crash_after", "throttle", "lose", "partial", "broken"])
@pytest.mark.parametrize("kind", ["queue", "fifo", "stream", "table"])
def test_a_fault_of_any_request_loses_nothing(tmp_path: Path, kind: str, action: Action) -> None:
    """Of the destination: killed before or after it was applied, throttled, answered in part, or never."""
    for number in (1, 2, 3):
        folder = tmp_path / str(number)
        world, aws = World(folder, reference="handler.Keyed"), MemoryAws(faults={number: action})
        output = outputs(aws, folder)[kind]
        _crash(world.job(output))
        assert run_here(world.job(output)).status is TaskStatus.COMPLETED
        assert set(contents(aws, folder)) == {str(text) for text in range(5)}
        assert aws.violations == []
        counts = state_of(world.lake).counts
        assert (counts.documents, counts.rejections, counts.skips) == (10, 5, 5)


def _crash(job: TaskJob) -> None:
    try:
        run_here(job, clock=TickingClock(3.0))
    except BaseException as error:  # noqa: BLE001 - a crash is none of Exception
        assert type(error).__name__ == "Crash"  # noqa: PT017 - which of them is told by the parameters


def _compare(kind: str, found: list[str], expected: list[str]) -> None:
    """Each at least once; where a repetition shows, it is not there."""
    assert set(found) == set(expected)
    if kind in {"table", "files"}:
        assert found == expected
    else:
        assert len(found) >= len(expected)


DEATHS = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 25), st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER]), max_size=1),
        st.dictionaries(
            st.integers(1, 6),
            st.sampled_from(["crash_before", "crash_after", "throttle", "lose", "partial"]),
            max_size=3,
        ),
        st.integers(0, 40),
    ),
    max_size=4,
)


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(["doc", "own", "bad", "skip"]), max_size=30),
    DEATHS,
    st.sampled_from(["queue", "fifo", "stream", "table", "files"]),
    st.sampled_from([0.1, 3.0, 40.0]),
)
def test_any_number_of_deaths_and_stops_loses_nothing(
    words: list[str], deaths: list[tuple[dict[int, Fault], dict[int, Action], int]], kind: str, pace: float
) -> None:
    """Of the worker at any request to lake or destination; faults of the service besides; stops in order."""
    content = "".join(f"{word} {number}\n" for number, word in enumerate(words))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world, aws = World(folder, reference="handler.Keyed", content=content), MemoryAws()
        output = outputs(aws, folder)[kind]
        for crashes, faults, looks in deaths:
            aws.puts, aws.faults = 0, dict(faults)
            with contextlib.suppress(Crash):
                run_here(
                    world.job(output, store=FaultyStore(world.lake, crashes)),
                    clock=TickingClock(pace),
                    stop=after(looks),
                )
        aws.faults.clear()
        assert run_here(world.job(output), clock=TickingClock(pace)).status is TaskStatus.COMPLETED
        documents = [str(number) for number, word in enumerate(words) if word in {"doc", "own"}]
        _compare(kind, contents(aws, folder), sorted(documents))
        assert aws.violations == []
        counts = state_of(world.lake).counts
        assert (counts.documents, counts.rejections) == (len(documents), words.count("bad"))
        rejected = [line["text"] for lines in stored_rejections(world.lake).values() for line in lines]
        assert len(rejected) == words.count("bad")
