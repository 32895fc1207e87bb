from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.handling.policy import OnError
from datalake_service.storage import FolderStore
from tests.support.tasks import (
    TickingClock,
    after,
    generator_job,
    merged_rows,
    run_here,
    state_of,
    stored_rejections,
    write_module,
)


def numbers(store: FolderStore) -> list[Any]:
    """The column ``n`` of the rows that a merge would keep, in the order of their ids."""
    return [row["n"] for _, row in sorted(merged_rows(store).items())]


def body(*lines: str, kind: str = "def") -> str:
    """A generator with this body."""
    return f"class Rows(Generator):\n    {kind} generate(self):\n" + "".join(f"        {line}\n" for line in lines)


SOURCES = {
    "a generator function": body("yield from ({'n': n} for n in range(25))"),
    "a list": body("return [{'n': n} for n in range(25)]"),
    "documents": body("yield from (Document({'n': n}) for n in range(25))"),
    "an async generator": body("for n in range(25):", "    yield {'n': n}", kind="async def"),
    "an async generator that waits": body(
        "import asyncio", "for n in range(25):", "    await asyncio.sleep(0)", "    yield {'n': n}", kind="async def"
    ),
}


@pytest.mark.parametrize("code", SOURCES.values(), ids=SOURCES)
def test_rows_come_from_anything_that_can_be_iterated(store: FolderStore, tmp_path: Path, code: str) -> None:
    """In their order, with ids that depend on the class and their number only."""
    job = generator_job(store, write_module(tmp_path / "code", code))
    result = run_here(job)
    assert (result.status, result.counts) == (TaskStatus.COMPLETED, TaskCounts(25, 25))
    assert numbers(store) == list(range(25))


def test_every_answer_is_accounted_for(store: FolderStore, tmp_path: Path) -> None:
    """Rows with ids of their own, skips, errors, and what is no row at all."""
    code = body(
        "yield {'n': 0, 'id': 'mine'}",
        "yield Document({'n': 1}, document_id='other')",
        "yield SkipDoc()",
        "yield ErrorDoc({'n': 3}, error_message='no good')",
        "yield [4]",
        "yield {'n': object()}",
        "yield {'n': type('Odd', (dict,), {'items': lambda self: 1 / 0})(a=1)}",
    )
    result = run_here(generator_job(store, write_module(tmp_path / "code", code)))
    assert result.counts == TaskCounts(7, 2, 1, 4)
    assert list(merged_rows(store)) == ["mine", "other"]
    (lines,) = stored_rejections(store).values()
    assert [(line["startOffset"], line["kind"], line["message"]) for line in lines] == [
        ("3", "parse", "no good"),
        ("4", "transform", "generate yielded a list; yield dicts or Documents"),
        ("5", "write", "column 'n': a value of type object cannot be stored as JSON"),
        ("6", "write", "its values cannot be stored: ZeroDivisionError"),
    ]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_rows_before_an_exception_are_safe(store: FolderStore, tmp_path: Path, kind: str) -> None:
    """The task fails with the line that raised."""
    code = body("for n in range(13):", "    yield {'n': n}", "raise OSError('gone')", kind=kind)
    result = run_here(generator_job(store, write_module(tmp_path / "code", code)))
    assert (result.status, result.error) == (TaskStatus.FAILED, "Rows.generate raised OSError: gone (handler.py:9)")
    assert numbers(store) == list(range(13))
    assert state_of(store).counts == TaskCounts(13, 13)


def test_every_attempt_begins_at_the_beginning(store: FolderStore, tmp_path: Path) -> None:
    """Counts, rejections and rows are those of one attempt, whatever the others left behind."""
    code = body("for n in range(30):", "    yield {'n': n} if n % 3 else ErrorDoc(error_message=str(n))")
    job = generator_job(store, write_module(tmp_path / "code", code))
    for looks in (5, 20, 12):
        assert run_here(job, stop=after(looks), clock=TickingClock(3.0)).status is TaskStatus.STOPPED
    result = run_here(job)
    assert (result.status, result.counts) == (TaskStatus.COMPLETED, TaskCounts(30, 20, 0, 10))
    assert numbers(store) == [n for n in range(30) if n % 3]
    assert [line["message"] for _, file in sorted(stored_rejections(store).items()) for line in file] == [
        str(n) for n in range(0, 30, 3)
    ]


def test_the_policy_fail_stops_a_generator(store: FolderStore, tmp_path: Path) -> None:
    """The rows before the bad one are kept."""
    code = body("yield {'n': 1}", "yield 2", "yield {'n': 3}")
    job = replace(generator_job(store, write_module(tmp_path / "code", code)), on_error=OnError("fail"))
    result = run_here(job)
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert result.error.startswith("generate yielded a int; yield dicts or Documents (t1 at 1;")
    assert (numbers(store), result.counts) == ([1], TaskCounts(1, 1))


def test_a_generator_is_opened_and_closed(store: FolderStore, tmp_path: Path) -> None:
    """Also when it is stopped in the middle; what it set up in ``generate`` is cleaned up before ``close``."""
    code = """
    class Rows(Generator):
        def __init__(self, log):
            self.log = Path(log)

        def note(self, word):
            with self.log.open("a") as file:
                file.write(word + " ")

        def open(self, context):
            self.note(f"open({context.dataset},{context.task},{sorted(context.parameters)})")

        def generate(self):
            try:
                yield from ({"n": n} for n in range(100))
            finally:
                self.note("cleaned")

        def close(self):
            self.note("close")
    """
    log = tmp_path / "log"
    job = generator_job(store, write_module(tmp_path / "code", code), parameters={"log": str(log)})
    run_here(job, stop=after(3), clock=TickingClock())
    assert log.read_text(encoding="utf-8").split() == ["open(d,t1,['log'])", "cleaned", "close"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("'text'", "Rows.generate returned str; yield rows, or return something that does"),
        ("None", "Rows.generate returned NoneType; yield rows, or return something that does"),
    ],
)
def test_an_answer_that_yields_nothing_is_named(store: FolderStore, tmp_path: Path, answer: str, message: str) -> None:
    """A forgotten yield is a common mistake."""
    result = run_here(generator_job(store, write_module(tmp_path / "code", body(f"return {answer}"))))
    assert (result.status, result.error) == (TaskStatus.FAILED, message)


def test_what_close_raises_is_a_note(store: FolderStore, tmp_path: Path) -> None:
    """The rows are safe by then."""
    code = body("yield {'n': 1}") + "    def close(self):\n        raise OSError('late')\n"
    result = run_here(generator_job(store, write_module(tmp_path / "code", code)))
    assert (result.status, result.counts) == (TaskStatus.COMPLETED, TaskCounts(1, 1))
    assert result.notes == ("Rows.close raised OSError: late (handler.py:9)",)


def test_a_generator_that_cannot_be_opened_fails_its_task(store: FolderStore, tmp_path: Path) -> None:
    """Nothing was read, and the next run tries again."""
    code = body("yield {'n': 1}") + "    def open(self, context):\n        raise OSError('early')\n"
    result = run_here(generator_job(store, write_module(tmp_path / "code", code)))
    assert (result.status, result.error) == (TaskStatus.FAILED, "Rows.open raised OSError: early (handler.py:9)")
