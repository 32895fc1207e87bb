from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.engines.local import LocalEngine
from datalake_service.engines.loop import TaskLoop
from datalake_service.engines.messages import Broken, FromWorker, Run
from datalake_service.errors import HandlerLoadError
from datalake_service.events import FIELDS
from datalake_service.pipeline.jobs.engine import GeneratorInput, TaskProgress, TaskResult
from datalake_service.storage import FolderStore
from tests.support.repository import ROOT
from tests.support.tasks import (
    Listener,
    generator_job,
    merged_rows,
    run_jobs,
    state_of,
    stored_rows,
    write_module,
)

ROWS = """
class Rows(Generator):
    def __init__(self, count=25):
        self.count = count

    def generate(self):
        for number in range(self.count):
            yield {"n": number}
"""
DIES = """
class Rows(Generator):
    def __init__(self, marker, deaths, how):
        self.marker, self.deaths, self.how = Path(marker), deaths, how

    def generate(self):
        for number in range(25):
            if number == 15 and self.marker.stat().st_size < self.deaths:
                with self.marker.open("a") as file:
                    file.write("+")
                exec(self.how)
            yield {"n": number}
"""


def numbers(store: FolderStore) -> list[int]:
    """The column ``n`` of the rows that a merge would keep."""
    return sorted(row["n"] for row in merged_rows(store).values())


def test_every_task_runs(store: FolderStore, tmp_path: Path) -> None:
    """More tasks than processes, one result for each."""
    folder = write_module(tmp_path / "code", ROWS)
    jobs = [generator_job(store, folder, task=f"t{number}") for number in range(5)]
    results = run_jobs(jobs, concurrency=2)
    assert {task: result.status for task, result in results.items()} == dict.fromkeys(results, TaskStatus.COMPLETED)
    assert len(results) == 5
    assert len(stored_rows(store)) == 125


def test_processes_are_reused(store: FolderStore, tmp_path: Path) -> None:
    """A process for each task would cost more than most tasks."""
    code = "class Rows(Generator):\n    def generate(self):\n        yield {'pid': os.getpid()}\n"
    folder = write_module(tmp_path / "code", code)
    run_jobs([generator_job(store, folder, task=f"t{number}") for number in range(4)], concurrency=1)
    assert len({row["pid"] for row in stored_rows(store)}) == 1


def test_a_task_that_fails_leaves_the_others_alone(store: FolderStore, tmp_path: Path) -> None:
    """Its reason is told, and kept in its object."""
    bad_rows = "\nclass Bad(Rows):\n    def generate(self):\n        raise OSError('no')\n"
    folder = write_module(tmp_path / "code", ROWS + bad_rows)
    good, bad = generator_job(store, folder), generator_job(store, folder, task="t2", reference="handler.Bad")
    results = run_jobs([bad, good])
    assert results["t1"].status is TaskStatus.COMPLETED
    assert results["t2"].status is state_of(store, "t2").status is TaskStatus.FAILED
    assert results["t2"].error == state_of(store, "t2").error == "Bad.generate raised OSError: no (handler.py:16)"


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(7)", "os.abort()"])
def test_a_dead_worker_is_replaced(store: FolderStore, tmp_path: Path, how: str) -> None:
    """Killed, gone or crashed in the middle of a task: another process runs the task again."""
    folder = write_module(tmp_path / "code", DIES)
    (marker := tmp_path / "deaths").touch()
    parameters = {"marker": str(marker), "deaths": 2, "how": how}
    results = run_jobs([generator_job(store, folder, parameters=parameters)])
    assert results["t1"].status is TaskStatus.COMPLETED
    assert state_of(store).attempt == 3
    assert numbers(store) == list(range(25))


def test_a_task_that_kills_every_worker_is_given_up(store: FolderStore, tmp_path: Path) -> None:
    """After the third; what it did to its workers is told, the other task does not suffer."""
    folder = write_module(tmp_path / "code", ROWS + DIES.replace("class Rows", "class Deadly"))
    (marker := tmp_path / "deaths").touch()
    parameters = {"marker": str(marker), "deaths": 99, "how": "os.kill(os.getpid(), signal.SIGKILL)"}
    deadly = generator_job(store, folder, task="t2", reference="handler.Deadly", parameters=parameters)
    results = run_jobs([deadly, generator_job(store, folder)])
    assert results["t1"].status is TaskStatus.COMPLETED
    assert results["t2"].status is state_of(store, "t2").status is TaskStatus.FAILED
    assert results["t2"].error == (
        "the worker process was killed by signal 9 (SIGKILL); often that means: out of memory; so did 2 more that tried"
    )
    assert marker.read_text(encoding="utf-8") == "+++"


def test_a_handler_that_interrupts_is_told_in_one_line(
    store: FolderStore, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its worker ends as if it had died, without a traceback of ours."""
    folder = write_module(
        tmp_path / "code", "class Rows(Generator):\n    def generate(self):\n        raise KeyboardInterrupt\n"
    )
    sent: list[FromWorker] = []
    loop = TaskLoop(sent.append)
    loop.hear(Run(pickle.dumps(generator_job(store, folder))))
    assert not loop.run()
    assert sent == [Broken("the handler raised KeyboardInterrupt")]
    assert capfd.readouterr() == ("", "")


def test_a_handler_that_cannot_be_loaded_ends_the_run(store: FolderStore, tmp_path: Path) -> None:
    """It is the dataset file that is wrong, not a task: nothing is read, and the tasks are as before."""
    folder = write_module(tmp_path / "code", ROWS)
    jobs = [generator_job(store, folder, task=f"t{number}", reference="handler.Nothing") for number in range(3)]
    with pytest.raises(HandlerLoadError, match=r"handler\.Nothing: handler\.py has no Nothing; it has Rows"):
        run_jobs(jobs, concurrency=2)
    assert {state_of(store, job.task).status for job in jobs} == {TaskStatus.CREATED}


def test_progress_comes_while_a_task_runs(store: FolderStore, tmp_path: Path) -> None:
    """From the worker, through the engine, to the thread that waits."""
    code = """
    class Rows(Generator):
        def generate(self):
            for n in range(20):
                time.sleep(0.05)
                yield {"n": n}
    """
    job = generator_job(store, write_module(tmp_path / "code", code))
    threads: set[int] = set()
    heard = Listener()

    def listen(event: TaskProgress | TaskResult) -> None:
        threads.add(threading.get_ident())
        heard(event)

    LocalEngine(concurrency=1).run([job], on_event=listen, stop=threading.Event())
    counts = [event.counts.records for event in heard.events if isinstance(event, TaskProgress)]
    assert counts == sorted(counts)
    assert 0 < len(counts) < 20
    assert isinstance(heard.events[-1], TaskResult)
    assert threads == {threading.get_ident()}


def test_a_stop_keeps_what_is_done(store: FolderStore, tmp_path: Path) -> None:
    """The task that runs is stopped in order, the one that waits is not begun, and both can go on."""
    code = """
    class Rows(Generator):
        def __init__(self, marker, endless):
            self.marker, self.endless = Path(marker), endless

        def generate(self):
            yield from ({"n": n} for n in range(13))
            self.marker.touch()
            while self.endless:
                time.sleep(0.01)
                yield SkipDoc()
    """
    folder = write_module(tmp_path / "code", code)
    marker = tmp_path / "reached"
    jobs = [
        generator_job(store, folder, task=task, parameters={"marker": str(marker), "endless": True})
        for task in ("t1", "t2")
    ]
    stop = threading.Event()

    def listen(_event: object) -> None:
        if marker.exists():
            stop.set()

    results = LocalEngine(concurrency=1).run(jobs, on_event=listen, stop=stop)
    assert [(result.task, result.status) for result in results] == [
        ("t1", TaskStatus.STOPPED),
        ("t2", TaskStatus.CREATED),
    ]
    assert numbers(store) == list(range(13))
    assert state_of(store).counts.documents == 13
    assert state_of(store).counts.balanced


def test_what_handlers_print_goes_to_standard_error(tmp_path: Path) -> None:
    """Standard output belongs to the report, whoever writes to it and however."""
    write_module(
        tmp_path,
        """
        print("on import")

        class Rows(Generator):
            def generate(self):
                print("from python")
                os.write(1, b"from below\\n")
                os.system("echo from a child")
                assert sys.stdin.read() == ""
                yield {"n": 1}
        """,
    )
    program = f"""
from pathlib import Path
from datalake_service.storage import FolderStore
from tests.support.tasks import generator_job, run_jobs
if __name__ == "__main__":
    store = FolderStore({str(tmp_path / "lake")!r})
    print(run_jobs([generator_job(store, Path({str(tmp_path)!r}))])["t1"].status)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, input="not for handlers"
    )
    assert done.stdout == "COMPLETED\n"
    assert done.stderr.splitlines() == ["on import", "from python", "from below", "from a child"]


def test_what_handlers_log_is_logged_here(store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the level that the dataset file asks for, with the task that it happened in."""
    code = """
    class Rows(Generator):
        def open(self, context):
            self.logger = context.logger

        def generate(self):
            self.logger.info("no %s", "need")
            self.logger.error("no %s", "good")
            yield {"n": 1}
    """
    folder = write_module(tmp_path / "code", code)
    run_jobs([generator_job(store, folder), generator_job(store, folder, task="t2", log_level="INFO")])
    told = [(record.name, record.levelname, record.getMessage(), vars(record)[FIELDS]) for record in caplog.records]
    assert told == [
        ("datalake.handler", "ERROR", "no good", {"task": "t1"}),
        ("datalake.handler", "INFO", "no need", {"task": "t2"}),
        ("datalake.handler", "ERROR", "no good", {"task": "t2"}),
    ]


def test_a_script_without_a_main_guard_is_not_started_again(tmp_path: Path) -> None:
    """Workers do not import the main module of their parent."""
    write_module(tmp_path, ROWS)
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pathlib import Path
from datalake_service.storage import FolderStore
from tests.support.tasks import generator_job, run_jobs
print("started")
store = FolderStore({str(tmp_path / "lake")!r})
print(run_jobs([generator_job(store, Path({str(tmp_path)!r}))])["t1"].status)
""",
        encoding="utf-8",
    )
    program = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); runpy.run_path(sys.argv[1], run_name='__main__')"
    command = [sys.executable, "-c", program, str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "started\nCOMPLETED\n"


def test_a_worker_starts_light() -> None:
    """It is started for every run, however short: it loads nothing that only the command needs."""
    program = "import json, sys, datalake_service.engines.worker; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"boto3", "click", "duckdb", "numpy", "pandas", "pyarrow", "pydantic", "structlog", "yaml"}


def test_no_jobs_is_no_work(store: FolderStore) -> None:
    """And starts no process."""
    assert LocalEngine().run([], on_event=Listener(), stop=threading.Event()) == []


# Tasks that do not end ------------------------------------------------------------------------------------------------

ENDLESS = """
class Rows(Generator):
    def generate(self):
        number = 0
        while True:
            yield {"n": number}
            number += 1
            time.sleep(0.005)
"""


class EndlessInput(GeneratorInput):
    """A generator of which the engine knows that it does not end."""

    endless: ClassVar[bool] = True


def test_tasks_that_do_not_end_take_turns(store: FolderStore, tmp_path: Path) -> None:
    """Three of them and one process: each one works, none is lost, and a stop ends them all."""
    folder = write_module(tmp_path / "code", "import time\n" + ENDLESS)
    jobs = [replace(generator_job(store, folder, task=f"t{n}"), input=EndlessInput()) for n in range(3)]
    turns: list[str] = []
    stop = threading.Event()

    def listen(event: TaskProgress | TaskResult) -> None:
        if isinstance(event, TaskProgress) and event.counts.records and turns[-1:] != [event.task]:
            turns.append(event.task)
            if len(turns) == 5:
                stop.set()

    engine = LocalEngine(concurrency=1, turn_seconds=0.1)
    results = {result.task: result for result in engine.run(jobs, on_event=listen, stop=stop)}
    assert turns[:3] == ["t0", "t1", "t2"]
    assert turns[3:5] == ["t0", "t1"]
    assert results.keys() == {"t0", "t1", "t2"}
    assert {result.status for result in results.values()} == {TaskStatus.STOPPED}
    assert {state_of(store, task).status for task in results} == {TaskStatus.STOPPED}


def test_a_result_may_make_more_tasks_possible(store: FolderStore, tmp_path: Path) -> None:
    """A shard is read when its parents are; the processes that had nothing to do are used again."""
    folder = write_module(tmp_path / "code", ROWS)
    jobs = [generator_job(store, folder, task=f"t{number}") for number in range(4)]
    following = {"t0": jobs[1:3], "t2": jobs[3:]}
    results = LocalEngine(concurrency=2).run(
        jobs[:1],
        on_event=Listener(),
        stop=threading.Event(),
        more=lambda result: following.get(result.task, []),
    )
    assert results[0].task == "t0"
    assert {result.task: result.status for result in results} == dict.fromkeys(
        ["t0", "t1", "t2", "t3"], TaskStatus.COMPLETED
    )
