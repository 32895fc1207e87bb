from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.functions import FunctionAnswer, LambdaFunction, ThrottledError
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.config.compute import LambdaAndSagemakerEngine as LambdaAndSagemakerSettings
from datalake_service.config.compute import LambdaEngine as LambdaSettings
from datalake_service.engines.aws_lambda import FunctionSettings, LambdaEngine
from datalake_service.engines.lambda_letters import KEY, TaskAnswer, TaskRequest, pack, request_of, unpack
from datalake_service.engines.lambda_task import margin_of, run_request
from datalake_service.engines.lambda_worker import LambdaWorker
from datalake_service.engines.messages import Ended, Progress, Run, Stop
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskProgress, TaskResult
from datalake_service.pipeline.jobs.outputs import FileKind, FilesOutput
from datalake_service.storage import FolderStore
from datalake_service.storage.open import open_store
from datalake_utils.clock import SystemClock
from tests.support.lambda_service import LambdaService, lambda_service
from tests.support.repository import ROOT
from tests.support.tasks import (
    LINES,
    Listener,
    file_job,
    generator_job,
    merged_rows,
    state_of,
    stored_rows,
    write_module,
)

ROWS = (
    LINES
    + """
class Rows(Generator):
    def __init__(self, count=25, seconds=0.0, log=False):
        self.count, self.seconds, self.log = count, seconds, log

    def open(self, context):
        self.logger = context.logger

    def generate(self):
        for number in range(self.count):
            if self.log and number == 0:
                self.logger.warning("the first row")
            time.sleep(self.seconds)
            yield {"n": number}

class Kills(Generator):
    def __init__(self, marker, deaths):
        self.marker, self.deaths = Path(marker), deaths

    def generate(self):
        for number in range(25):
            if number == 15 and self.marker.stat().st_size < self.deaths:
                with self.marker.open("a") as file:
                    file.write("+")
                os.kill(os.getpid(), signal.SIGKILL)
            yield {"n": number}

class Slow(Lines):
    def parse_document(self, *arguments):
        time.sleep(0.1)
        return super().parse_document(*arguments)

class Sleeps(Generator):
    def generate(self):
        yield {"n": 0}
        time.sleep(600)
"""
)
Serve = Callable[..., AbstractContextManager[LambdaService]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The handlers of the image."""
    return write_module(tmp_path / "image", ROWS)


@pytest.fixture
def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Starts Lambda, and makes it what this process finds."""

    @contextmanager
    def start(**options: Any) -> Iterator[LambdaService]:
        with lambda_service(options.pop("image", folder), **options) as service:
            settings = {"AWS_ENDPOINT_URL_LAMBDA": service.endpoint_url, "AWS_ACCESS_KEY_ID": "test"}
            for name, value in (settings | {"AWS_SECRET_ACCESS_KEY": "test"}).items():
                monkeypatch.setenv(name, value)
            yield service

    return start


def run(jobs: list[TaskJob], *, concurrency: int = 2, **options: Any) -> dict[str, TaskResult]:
    """Run tasks through the engine; returns their results by task."""
    stop, listener = options.pop("stop", threading.Event()), options.pop("on_event", Listener())
    settings = FunctionSettings(options.pop("name", "datalake"), concurrency, 60, options.pop("expected", ()))
    engine = LambdaEngine(settings, lost_seconds=0.05, **options)
    return {result.task: result for result in engine.run(jobs, on_event=listener, stop=stop)}


def numbers(store: FolderStore) -> list[int]:
    """The column ``n`` of the rows that a merge would keep."""
    return sorted(row["n"] for row in merged_rows(store).values())


def test_every_task_runs_in_environments_that_are_used_again(store: FolderStore, tmp_path: Path, serve: Serve) -> None:
    """The folder of the caller is not that of the image; one result for each task."""
    jobs = [generator_job(store, tmp_path / "elsewhere", task=f"t{number}") for number in range(6)]
    with serve() as service:
        results = run(jobs)
    assert {task: result.status for task, result in results.items()} == dict.fromkeys(
        [f"t{number}" for number in range(6)], TaskStatus.COMPLETED
    )
    assert len(stored_rows(store)) == 150
    assert (service.invocations, service.failures) == (6, [])
    assert service.most_at_once <= 2


def test_a_task_is_invoked_again_until_it_has_ended(store: FolderStore, folder: Path, serve: Serve) -> None:
    """Each invocation stops before its time is up and makes durable what it has; the next one goes on there."""
    (folder / "input").mkdir()
    (folder / "input" / "a.txt").write_text("".join(f"doc {n}\n" for n in range(50)), encoding="utf-8")
    job = file_job(store, folder, name="a.txt", reference="handler.Slow", chunk_size=5)
    listener = Listener()
    with serve() as service:
        service.told = 4.0  # 2 of them are kept for the end
        results = run([job], on_event=listener)
    assert results["t1"].status is TaskStatus.COMPLETED
    assert service.invocations > 1
    assert service.failures == []
    assert sorted(int(row["text"]) for row in merged_rows(store).values()) == list(range(50))
    progress = [event.counts.documents for event in listener.events if isinstance(event, TaskProgress)]
    assert progress
    assert progress == sorted(progress)


def test_a_source_that_cannot_be_continued_ends(store: FolderStore, folder: Path, serve: Serve) -> None:
    """A generator begins anew in each invocation: one that gets no further is told, not invoked for ever."""
    job = generator_job(store, folder, parameters={"count": 1000, "seconds": 0.05})
    with serve() as service:
        service.told = 3.0
        result = run([job], max_deaths=1)["t1"]
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert "got no further than" in result.error


def test_throttles_and_lost_answers_are_sat_out(store: FolderStore, folder: Path, serve: Serve) -> None:
    """A function whose answer is lost has done its work: the next invocation finds that."""
    with serve() as service:
        service.throttle, service.lose = 2, 1
        results = run([generator_job(store, folder)])
    assert results["t1"].status is TaskStatus.COMPLETED
    assert numbers(store) == list(range(25))
    assert service.invocations == 2


def test_a_stop_during_a_throttle_says_how_far_the_task_is(store: FolderStore, folder: Path) -> None:
    """What an invocation before it stored is there, and the task is not as if nobody had begun it."""
    so_far = TaskResult("t1", TaskStatus.STOPPED, TaskCounts(records=3, documents=3))
    answers: list[FunctionAnswer] = [
        FunctionAnswer(json.dumps(TaskAnswer(so_far, again=True).to_json()).encode(), failed=False)
    ]

    class Throttled(LambdaFunction):
        def invoke(self, request: bytes) -> FunctionAnswer:
            if answers:
                return answers.pop()
            worker.send(Stop())
            raise ThrottledError("too many")

    function = Throttled(AwsClients(), "datalake", setting="functionName")
    worker = LambdaWorker(function, run="r", region=None, tell_stop=lambda job: None, lost_seconds=0)
    worker.send(Run(pickle.dumps(generator_job(store, folder))))
    assert worker.receive() == Progress(TaskProgress("t1", so_far.counts))
    assert worker.receive() == Ended(so_far)


def test_a_function_that_dies_is_invoked_again(store: FolderStore, folder: Path, tmp_path: Path, serve: Serve) -> None:
    """Two deaths by a signal are survived, and the rows are there once."""
    (tmp_path / "marker").touch()
    job = generator_job(
        store, folder, reference="handler.Kills", parameters={"marker": str(tmp_path / "marker"), "deaths": 2}
    )
    with serve() as service:
        results = run([job])
    assert results["t1"].status is TaskStatus.COMPLETED
    assert len(service.failures) == 2
    assert numbers(store) == list(range(25))


def test_a_task_that_kills_every_function_is_given_up(
    store: FolderStore, folder: Path, tmp_path: Path, serve: Serve
) -> None:
    """With what Lambda said, and what may help."""
    (tmp_path / "marker").touch()
    job = generator_job(
        store, folder, reference="handler.Kills", parameters={"marker": str(tmp_path / "marker"), "deaths": 99}
    )
    with serve():
        result = run([job])["t1"]
    assert result.status is state_of(store).status is TaskStatus.FAILED
    assert result.error is not None
    assert (
        "Runtime exited with error: signal: killed; probably out of memory, raise the function's memory" in result.error
    )


def test_a_record_that_takes_too_long_is_told(store: FolderStore, folder: Path, serve: Serve) -> None:
    """Lambda ends the function in the middle of a record."""
    with serve(seconds=2.5):
        result = run([generator_job(store, folder, reference="handler.Sleeps")], max_deaths=1)["t1"]
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert "Task timed out after 2.50 seconds; a record took longer than an invocation may" in result.error


def test_a_stop_keeps_what_is_done(store: FolderStore, folder: Path, serve: Serve) -> None:
    """The function hears of it by an object in the lake, and its task can go on later."""
    job, stop = generator_job(store, folder, parameters={"count": 10_000, "seconds": 0.01}), threading.Event()

    def stop_when_there_are_rows() -> None:
        while not stored_rows(store):
            time.sleep(0.05)
        stop.set()

    with serve() as service:
        threading.Thread(target=stop_when_there_are_rows, daemon=True).start()
        results = run([job], stop=stop)
    assert results["t1"].status is state_of(store).status is TaskStatus.STOPPED
    assert 0 < len(numbers(store)) < 10_000
    assert service.invocations == 1


def test_what_handlers_log_is_logged_here(
    store: FolderStore, folder: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """With their task."""
    with serve(), caplog.at_level(logging.WARNING):
        run([generator_job(store, folder, parameters={"log": True})])
    assert [record.getMessage() for record in caplog.records if record.name.startswith("datalake.handler")] == [
        "the first row"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "other"}, "the function 'other' does not exist"),
        ({"expected": (("timeoutInSeconds", 900),)}, "computeEngine.timeoutInSeconds is 900, and the function has 60"),
        ({"expected": (("memoryLimitInMegabytes", 9),)}, "memoryLimitInMegabytes is 9, and the function has 512"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(
    store: FolderStore, folder: Path, serve: Serve, options: dict[str, Any], words: str
) -> None:
    """Before anything is read."""
    with serve() as service, pytest.raises(UsageError, match=words):
        run([generator_job(store, folder)], **options)
    assert service.invocations == 0


def test_a_missing_permission_is_told(store: FolderStore, folder: Path, serve: Serve) -> None:
    """With the permission."""
    with serve() as service:
        service.denied = True
        with pytest.raises(UsageError, match="add it to their policy") as caught:
            run([generator_job(store, folder)])
    assert "lambda:GetFunctionConfiguration" in str(caught.value)


def test_an_image_without_the_handler_is_told(store: FolderStore, folder: Path, tmp_path: Path, serve: Serve) -> None:
    """One line names the function and the module."""
    (tmp_path / "empty").mkdir()
    with serve(image=tmp_path / "empty"), pytest.raises(UsageError, match="the function 'datalake': handler") as caught:
        run([generator_job(store, folder)])
    assert "\n" not in str(caught.value)
    assert state_of(store).status is TaskStatus.CREATED


def test_a_function_that_is_not_ours_is_told(store: FolderStore, folder: Path, tmp_path: Path, serve: Serve) -> None:
    """It answers something else, or has no such handler."""
    (tmp_path / "image" / "other.py").write_text("def handler(event, context):\n    return event\n", encoding="utf-8")
    entry = (sys.executable, "-m", "awslambdaric")
    with serve(entry=(*entry, "other.handler")), pytest.raises(UsageError, match="does not answer as datalake's"):
        run([generator_job(store, folder)])
    with serve(entry=(*entry, "nothing.handler")), pytest.raises(UsageError, match="cannot start"):
        run([generator_job(store, folder, task="t2")])


def test_another_version_is_told(store: FolderStore, folder: Path, serve: Serve) -> None:
    """Python and this project have to be the same on both sides."""
    with serve() as service:
        request = request_of(generator_job(store, folder), run="r", region=None)
        event: Any = {KEY: {"job": "", "python": [3, 9], "version": request.sender.version, "run": "r", "region": None}}
        answer: Any = service.invoke(event)[0]
    assert "the run was started with Python 3.9; use the same one on both" in answer[KEY]["refusal"]


def test_a_folder_that_the_function_does_not_see_is_told(store: FolderStore, folder: Path, tmp_path: Path) -> None:
    """What it wrote into one of its own would be gone with it."""
    output = FilesOutput(store=FolderStore(tmp_path / "elsewhere"), kind=FileKind.JSONL, rows_per_file=3)
    request = request_of(generator_job(store, folder, output=output), run="r", region=None)
    answer: Any = run_request(
        json.loads(request.to_json()),
        seconds_left=60,
        folder=folder,
        open_store=lambda _region: open_store,
        tell=lambda _line: None,
        clock=SystemClock(),
    )
    assert f"does not see the folder that is written to, {tmp_path / 'elsewhere'}" in answer[KEY]["refusal"]


def test_both_kinds_of_engine_name_a_function() -> None:
    """The long names and the short ones mean the same."""
    short = {"functionName": "f", "concurrency": 3, "timeoutInSeconds": 70}
    long = {"functionName": "f", "lambdaConcurrency": 3, "lambdaTimeoutInSeconds": 70}
    both = LambdaAndSagemakerSettings.model_validate({"computeEngineType": "LAMBDA_AND_SAGEMAKER", "lambda": long})
    one = LambdaSettings.model_validate({"computeEngineType": "LAMBDA"} | short)
    expected = FunctionSettings("f", 3, 70, (("timeoutInSeconds", 70),))
    assert FunctionSettings.of(one) == FunctionSettings.of(both) == expected


def test_a_description_that_is_too_large_is_told(store: FolderStore, folder: Path, serve: Serve) -> None:
    """Lambda would refuse it."""
    with serve(), pytest.raises(UsageError, match=r"takes 10\.\d MB to describe, and Lambda takes 6"):
        run([generator_job(store, folder, parameters={"words": "x" * 7_500_000})])


def test_metrics_are_printed_in_the_embedded_format(store: FolderStore, folder: Path) -> None:
    """One line for each invocation, by the entry itself."""
    request = request_of(generator_job(store, folder), run="r", region=None)
    code = (
        "import json, sys; from datalake_service.runtime.lambda_entry import run_task;"
        "run_task(json.load(sys.stdin), seconds_left=60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=request.to_json().decode(), cwd=ROOT, text=True,
        env=os.environ | {"LAMBDA_TASK_ROOT": str(folder)}, check=True, capture_output=True,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert '"Namespace": "datalake"' in line
    assert '"documents": 25' in line


class TestLetters:
    """What travels."""

    def test_a_job_comes_as_it_went(self, store: FolderStore, folder: Path) -> None:
        """Stores by their addresses."""
        job = generator_job(store, folder, parameters={"a": [1, {"b": None}]})
        sent = unpack(pack(job), open_store=open_store)
        assert sent.store.uri == store.uri
        assert (sent.handler, sent.output, sent.stops) == (job.handler, job.output, job.stops)

    @pytest.mark.parametrize("harm", [os.system, subprocess.run, eval, open_store, pickle.loads])
    def test_nothing_is_called_that_a_caller_names(self, harm: Callable[..., object]) -> None:
        """A pickle may name any function; only classes of values are handed out."""

        class Harm:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return harm, ("touch /tmp/harm",)

        with pytest.raises(UsageError, match="is no value"):
            unpack(pickle.dumps(Harm()), open_store=open_store)

    @pytest.mark.parametrize("body", [b"", b"x", pickle.dumps(1), pickle.dumps({"a": 1})[:-3]])
    def test_what_is_no_job_is_told(self, body: bytes) -> None:
        """One line."""
        with pytest.raises(UsageError, match=KEY):
            unpack(body, open_store=open_store)

    @pytest.mark.parametrize("event", [{}, {KEY: 1}, {KEY: {"job": "%"}}, {KEY: {"python": [3]}}])
    def test_what_is_no_request_is_told(self, event: object) -> None:
        """One line."""
        with pytest.raises(UsageError, match="no request of a task"):
            TaskRequest.from_json(event)


def test_the_end_of_an_invocation_is_kept_for_the_last_checkpoint() -> None:
    """A fifth, two seconds at least, a minute at most."""
    assert [margin_of(seconds) for seconds in (3, 60, 900)] == [2.0, 12.0, 60.0]
