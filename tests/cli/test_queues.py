from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.open import open_store
from tests.cli.commands import Done, datalake, environment, quick_command
from tests.support.aws import REGION, Aws
from tests.support.queue_tasks import MESSAGES
from tests.support.tasks import write_module

_SECONDS = 60.0


class Orders:
    """A queue, a dataset file that reads it, and a lake in the folder where commands run."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        write_module(folder, MESSAGES)
        self.folder = folder
        self.aws = aws
        self.queue = aws.make_queue(VisibilityTimeout="30")
        self.document: dict[str, Any] = {
            "datasetName": "orders",
            "region": REGION,
            "readConnector": {
                "connectorDestination": "SQS",
                "queueName": self.queue,
                "queueMessageReaderImplementationClassName": "handler.Messages",
            },
            "writeConnector": {"batch": "b", "chunkSize": 10},
            "computeEngine": {"computeEngineType": "LOCAL", "concurrency": 2},
            "manifestFile": {
                "sqsReaderTaskStopCondition": "DrainQueues",
                "sqsReaderTaskStopAfterConsecutiveEmptyReceives": 1,
            },
        }

    def run(self, *arguments: str) -> Done:
        """Run a command."""
        self._write()
        return datalake(*arguments, cwd=self.folder, **self.aws.environment)

    def create(self) -> Done:
        """Run the dataset file."""
        return self.run("datasets", "create", "--configFile", "dataset.json")

    def start(self) -> subprocess.Popen[str]:
        """Run the dataset file, and go on meanwhile."""
        self._write()
        return subprocess.Popen(
            quick_command("datasets", "create", "--configFile", "dataset.json"),
            cwd=self.folder,
            env=environment(**self.aws.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def continuous(self) -> None:
        """Read until somebody stops that."""
        self.document["manifestFile"] = {"sqsReaderTaskStopCondition": "continuous"}

    def texts(self) -> list[str]:
        """The rows of all batches, sorted."""
        return sorted(
            row["text"] for row in DatasetView(open_store(self.folder / "lake"), ViewRequest(dataset="orders"))
        )

    def tasks(self) -> list[dict[str, Any]]:
        """What is told of the tasks."""
        found: list[dict[str, Any]] = self.run("tasks", "list", "--datasetName", "orders").json["tasks"]
        return found

    def _write(self) -> None:
        (self.folder / "dataset.json").write_text(json.dumps(self.document), encoding="utf-8")


def wait_until(true: Callable[[], object]) -> None:
    """Return when it is so."""
    end = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.1)


@pytest.fixture
def orders(tmp_path: Path, aws: Aws) -> Orders:
    """A queue with nothing in it."""
    return Orders(tmp_path, aws)


def test_a_queue_is_read_into_the_lake_and_read_on(orders: Orders) -> None:
    """Two readers share it; the next run adds what is new; what it says of tasks adds up."""
    orders.aws.send(orders.queue, [f"doc {number}" for number in range(40)] + ["bad x", "skip y"])
    done = orders.create()
    assert done.status == 0, done.err
    assert {name: done.json[name] for name in ("records", "documents", "skips", "errors", "rows")} == {
        "records": 42, "documents": 40, "skips": 1, "errors": 1, "rows": 40,
    }  # fmt: skip
    assert orders.aws.depth(orders.queue) == (0, 0)
    orders.aws.send(orders.queue, ["doc new"])
    again = orders.create()
    assert again.status == 0, again.err
    assert (again.json["records"], again.json["rows"]) == (1, 41)
    assert orders.texts() == sorted([*(str(number) for number in range(40)), "new"])
    tasks = orders.tasks()
    assert [task["item"] for task in sorted(tasks, key=lambda task: task["item"])] == [
        f"{orders.queue}#0",
        f"{orders.queue}#1",
    ]
    assert sum(task["counts"]["records"] for task in tasks) == 43
    view = orders.run("tasks", "view", "--datasetName", "orders", "--taskId", tasks[0]["id"]).json
    assert view["status"] == "COMPLETED"
    assert view["attempt"] == 2
    assert view["seconds"] > 0


def test_a_continuous_dataset_runs_until_it_is_stopped_and_goes_on(orders: Orders) -> None:
    """Stopped from another process, through the lake; clean-up merges meanwhile; a killed run loses nothing."""
    orders.continuous()
    orders.document["writeConnector"]["batch"] = "{date}"
    orders.aws.send(orders.queue, [f"doc {number}" for number in range(30)])
    run = orders.start()
    try:
        wait_until(lambda: orders.aws.depth(orders.queue) == (0, 0))
        assert orders.run("clean-up", "--dataset", "orders").status == 0
        assert len(orders.texts()) == 30
        run.send_signal(signal.SIGKILL)
        run.communicate()
        time.sleep(6)  # long polls of the dead go on at the server: what they get comes again half a minute later
        orders.aws.send(orders.queue, [f"doc {number}" for number in range(30, 60)])
        run = orders.start()
        wait_until(lambda: orders.aws.depth(orders.queue) == (0, 0))
        assert run.poll() is None
        asked = orders.run("datasets", "stop", "--datasetName", "orders")
        assert asked.status == 0, asked.err
        out, err = run.communicate(timeout=_SECONDS)
    finally:
        run.kill()
    assert run.returncode == 0, err
    report = json.loads(out)
    assert (report["status"], report["stopRequested"]) == ("STOPPED", True)
    assert {task["status"] for task in orders.tasks()} == {"STOPPED"}
    assert orders.run("clean-up", "--dataset", "orders").status == 0
    assert orders.texts() == sorted(str(number) for number in range(60))


def test_one_task_can_be_stopped_and_run_again(orders: Orders) -> None:
    """The others go on."""
    orders.continuous()
    run = orders.start()
    try:
        wait_until(lambda: [task["status"] for task in _known(orders)] == ["RUNNING", "RUNNING"])
        first, second = (task["id"] for task in orders.tasks())
        asked = orders.run("tasks", "stop", "--datasetName", "orders", "--taskId", first)
        assert asked.status == 0, asked.err
        wait_until(lambda: {task["id"]: task["status"] for task in orders.tasks()}[first] == "STOPPED")
        assert {task["id"]: task["status"] for task in orders.tasks()}[second] == "RUNNING"
        orders.aws.send(orders.queue, ["doc a"])
        wait_until(lambda: orders.aws.depth(orders.queue) == (0, 0))
        orders.run("datasets", "stop", "--datasetName", "orders")
        run.communicate(timeout=_SECONDS)
    finally:
        run.kill()
    assert run.returncode == 0


def _known(orders: Orders) -> list[dict[str, Any]]:
    done = orders.run("tasks", "list", "--datasetName", "orders")
    return [] if done.status else list(done.json["tasks"])


def test_redrive_runs_what_failed(orders: Orders) -> None:
    """A task that failed at a message goes on with it; those that did not fail are left alone."""
    orders.document["onError"] = {"policy": "fail"}
    orders.document["computeEngine"]["concurrency"] = 1
    orders.aws.send(orders.queue, ["doc a", "raise b"])
    failed = orders.create()
    assert failed.status == 1
    (failure,) = failed.json["failures"]
    assert failure["error"].startswith("Messages.parse_message raised RuntimeError: b")
    orders.document["readConnector"]["parameters"] = {"accept": ["raise"]}
    unknown = orders.run("tasks", "redrive", "--configFile", "dataset.json", "--taskId", "0abc")
    assert unknown.status == 2
    assert "no task 0abc in this dataset file" in unknown.err
    done = orders.run("tasks", "redrive", "--configFile", "dataset.json", "--taskId", failure["task"])
    assert done.status == 0, done.err
    assert done.json["tasks"]["completed"] == 1
    assert orders.texts() == ["a", "b"]
    orders.aws.send(orders.queue, ["doc c"])
    nothing = orders.run("tasks", "redrive", "--configFile", "dataset.json")
    assert nothing.status == 0
    assert nothing.json["records"] == 0
    assert orders.aws.depth(orders.queue) == (1, 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"queueName": "nowhere-to-be-found"}, "the queue 'nowhere-to-be-found' does not exist at http://127.0.0.1:"),
        ({"queueMessageReaderImplementationClassName": "handler.SkipDoc"}, "QueueMessageReader is needed"),
        ({"connectorDestination": "SQZ"}, "did you mean SQS?"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(orders: Orders, change: dict[str, Any], told: str) -> None:
    """And the exit status is not 0."""
    connector = {**orders.document["readConnector"], **change}
    orders.document["readConnector"] = {name: value for name, value in connector.items() if value is not None}
    done = orders.create()
    assert done.status in {1, 2}
    assert told in done.err + done.out
    assert "Traceback" not in done.err


def test_tasks_that_do_not_exist_are_told(orders: Orders) -> None:
    """With where to look."""
    assert orders.create().status == 0
    for verb in ("view", "stop"):
        done = orders.run("tasks", verb, "--datasetName", "orders", "--taskId", "../x")
        assert done.status == 2
        assert "has no task '../x'; see: datalake tasks list --datasetName orders" in done.err
