from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datalake_service.catalog.datasets import RunStatus
from datalake_service.catalog.stops import request_stop
from datalake_service.catalog.tasks import TaskState, TaskStatus, load_tasks, save_task
from datalake_service.config.load import load_dataset as read_config
from datalake_service.errors import ConfigError, UsageError
from datalake_service.pipeline.runs.choice import TaskChoice
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.pipeline.tasks.task import worker_name
from datalake_service.storage import open_store
from tests.support.project import Project
from tests.support.queue_tasks import MESSAGES
from tests.support.sqs_server import Sqs, sqs_server
from tests.support.tasks import InlineEngine, write_module


@pytest.fixture(scope="module")
def server() -> Iterator[Sqs]:
    """One server for all tests."""
    with sqs_server() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two files; one of them has a bad line."""
    made = Project(tmp_path)
    made.write("a.log", "doc one\nbad two\n")
    made.write("b.log", "doc three\n")
    return made


@pytest.fixture
def queue(tmp_path: Path, server: Sqs, monkeypatch: pytest.MonkeyPatch) -> tuple[Project, Sqs]:
    """A dataset file that drains a queue, with one batch for each hour."""
    server.reset()
    server.make_queue("orders")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    made = Project(tmp_path)
    write_module(made.folder, MESSAGES)
    made.document["readConnector"] = {
        "connectorDestination": "SQS",
        "queueName": "orders",
        "queueMessageReaderImplementationClassName": "handler.Messages",
    }
    made.document["manifestFile"] = {"sqsReaderTaskStopAfterConsecutiveEmptyReceives": 1}
    made.document["writeConnector"] = {"batch": "{date:%Y%m%d-%H}", "chunkSize": 3}
    return made, server


def run(project: Project, choice: TaskChoice | None = None) -> RunReport:
    """Run the dataset file as it is now, or some of its tasks."""
    config = read_config(project.document, folder=project.folder)
    return run_dataset(
        config, store=project.store, opener=open_store, engine=project.engine, choice=choice, clock=project.clock
    )


def tasks_of(project: Project) -> dict[str, TaskState]:
    """The tasks, by item."""
    return {stored.state.item: stored.state for stored in load_tasks(project.store, "d")}


def test_redrive_reads_what_was_rejected_again(project: Project) -> None:
    """With a handler that knows better now: published rows stay, rejected records become rows."""
    assert run(project).tasks.counts.rejections == 1
    project.document["readConnector"]["parameters"] = {"accept": ["bad"]}
    assert run(project).tasks.counts.records == 0  # what is read is read
    project.engine.ran.clear()
    report = run(project, TaskChoice(rejected=True))
    assert report.status is RunStatus.COMPLETED
    assert project.engine.ran == ["a.log"]
    assert project.texts() == ["one", "three", "two"]
    assert tasks_of(project)["a.log"].counts.rejections == 0
    assert list(project.store.list("d/b/rejected/")) == []


def test_a_redrive_of_failed_tasks_leaves_the_others_alone(project: Project) -> None:
    """Also those that are new since."""
    project.document["onError"] = {"policy": "fail"}
    assert run(project).status is RunStatus.FAILED
    project.write("c.log", "doc new\n")
    project.document["readConnector"]["parameters"] = {"accept": ["bad"]}
    project.engine.ran.clear()
    assert run(project, TaskChoice()).status is RunStatus.COMPLETED
    assert project.engine.ran == ["a.log"]
    assert tasks_of(project)["c.log"].status is TaskStatus.CREATED
    assert run(project).status is RunStatus.COMPLETED
    assert project.texts() == ["new", "one", "three", "two"]


def test_a_task_that_does_not_exist_is_a_mistake(project: Project) -> None:
    """Nothing is run."""
    with pytest.raises(UsageError, match="no task nope in this dataset file; see: datalake tasks list"):
        run(project, TaskChoice(tasks=("nope",)))
    assert project.engine.ran == []


def test_a_named_task_may_be_one_that_was_stopped() -> None:
    """Or failed; not one that is completed."""
    choice = TaskChoice(tasks=("t",))

    def state(status: TaskStatus, task: str = "t") -> TaskState:
        from tests.support.tasks import NOW

        return TaskState(id=task, item="i", batch="b", status=status, created_at=NOW)

    taken = {status for status in TaskStatus if choice.takes(state(status))}
    assert taken == {TaskStatus.FAILED, TaskStatus.STOPPED}
    assert not choice.takes(state(TaskStatus.FAILED, "other"))
    assert {status for status in TaskStatus if TaskChoice().takes(state(status))} == {TaskStatus.FAILED}


def test_batches_that_only_messages_name_are_merged(queue: tuple[Project, Sqs]) -> None:
    """Each holds the messages that were sent in its hour; the next run adds to it."""
    project, sqs = queue
    for hour in range(3):
        sqs.send("orders", *(f"doc {hour}-{number}" for number in range(4)))
        sqs.now += 3600
    report = run(project)
    assert report.status is RunStatus.COMPLETED
    batches = ["20261120-13", "20261120-14", "20261120-15"]
    assert {batch: rows for batch, rows in report.rows.items() if rows} == dict.fromkeys(batches, 4)
    sqs.now -= 3600
    sqs.send("orders", "doc late")
    sqs.now += 3600
    assert run(project).rows["20261120-15"] == 5
    assert project.texts("20261120-15") == ["2-0", "2-1", "2-2", "2-3", "late"]


def test_what_a_queue_has_forgotten_is_not_read_again(queue: tuple[Project, Sqs]) -> None:
    """A redrive says so, and where it is kept."""
    project, sqs = queue
    sqs.send("orders", "doc a", "bad b")
    assert run(project).tasks.counts.rejections == 1
    report = run(project, TaskChoice(rejected=True))
    assert "what was rejected is not in its source any more; see: datalake errors list" in report.notes[0]
    assert tasks_of(project)["orders#0"].counts.rejections == 1


def test_limits_count_what_a_run_reads(queue: tuple[Project, Sqs]) -> None:
    """A queue is read for years; the errors of last year stop nobody."""
    project, sqs = queue
    project.document["onError"] = {"maxErrors": 2}
    for number in range(3):
        sqs.send("orders", "bad a", "bad b", "doc c")
        assert run(project).status is RunStatus.COMPLETED, number
    sqs.send("orders", "bad a", "bad b", "bad c", "doc d")
    report = run(project)
    assert (report.status, report.limit) == (RunStatus.FAILED, "3 records were rejected; onError.maxErrors allows 2")


def test_machines_read_a_queue_together(queue: tuple[Project, Sqs]) -> None:
    """A run takes the readers that no other machine has; its own dead ones are its own."""
    project, sqs = queue
    project.document["computeEngine"] = {"concurrency": 2}
    run(project)
    workers = {"orders#0": "elsewhere:7", "orders#1": worker_name(1)}
    for stored in load_tasks(project.store, "d"):
        running = replace(stored.state, status=TaskStatus.RUNNING, worker=workers[stored.state.item])
        save_task(project.store, "d", running, etag=stored.etag)
    before = tasks_of(project)["orders#0"]
    sqs.send("orders", "doc a")
    assert run(project).status is RunStatus.COMPLETED
    states = tasks_of(project)
    assert states["orders#0"] == before
    assert {item: state.status for item, state in states.items() if item != "orders#0"} == dict.fromkeys(
        ["orders#1", "orders#2"], TaskStatus.COMPLETED
    )
    assert project.texts("20261120-13") == ["a"]


def test_another_reader_for_the_same_batch_is_refused(queue: tuple[Project, Sqs]) -> None:
    """One batch holds one reading."""
    project, _ = queue
    run(project)
    project.document["readConnector"]["queueMessageReaderImplementationClassName"] = "handler.Other"
    with pytest.raises(ConfigError, match="was read in another way before"):
        run(project)


def test_a_request_that_is_older_than_the_run_stops_nothing(queue: tuple[Project, Sqs]) -> None:
    """Somebody stopped an earlier one."""
    project, sqs = queue
    request_stop(project.store, "d", now=project.clock.now())
    sqs.send("orders", *(f"doc {number}" for number in range(30)))
    report = run(project)
    assert report.status is RunStatus.COMPLETED
    assert not report.stop_requested


def test_a_request_in_the_middle_stops_the_task(queue: tuple[Project, Sqs]) -> None:
    """What was received is handled, the task can go on."""
    project, sqs = queue
    project.document["manifestFile"] = {"sqsReaderTaskStopCondition": "Continuous"}
    sqs.send("orders", *(f"doc {number}" for number in range(30)))

    def ask(operation: str, _: int) -> None:
        if operation == "DeleteMessageBatch":
            request_stop(project.store, "d", task=next(iter(tasks_of(project).values())).id, now=project.clock.now())

    sqs.fault = ask
    assert isinstance(project.engine, InlineEngine)
    report = run(project)
    assert (report.status, report.stop_requested) == (RunStatus.STOPPED, True)
    assert [line.split()[0] for line in report.lines() if "on request" in line] == ["stopped"]
    (state,) = tasks_of(project).values()
    assert state.status is TaskStatus.STOPPED
    assert state.counts.documents == len(sqs.queues["orders"].deleted) > 0
