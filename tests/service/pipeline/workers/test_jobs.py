"""The queue of a worker among others: turns, new tasks, waiting, errors of the store."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimsBelow
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.errors import StoreUnavailableError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskResult
from datalake_service.pipeline.workers.jobs import ClaimedJobs, Fellow
from datalake_utils.clock import ManualClock
from tests.support.memory_store import MemoryStore

if TYPE_CHECKING:
    import pytest

PREFIX = layout.task_claims_prefix("d")


class Crew:
    """Workers on one store; all in ``living`` may act."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.living: set[str] = set()
        self.stopped: set[str] = set()

    def join(self, name: str, *tasks: str) -> ClaimedJobs:
        """A worker begins."""
        self.living.add(name)
        claims = ClaimsBelow(self.store, PREFIX, worker=name)
        me = Fellow("d", name, claims, lambda: self.living - {name}, lambda: name in self.stopped)
        return ClaimedJobs(me, map(job, tasks), began=claims.versions(), clock=self.clock, longest=5.0)


def job(task: str) -> TaskJob:
    """All that the queue looks at."""
    return cast("TaskJob", SimpleNamespace(task=task))


def end(queue: ClaimedJobs, task: str, status: TaskStatus = TaskStatus.COMPLETED, *, stopping: bool = False) -> None:
    """A task came to an end."""
    queue.end(TaskResult(task, status, TaskCounts()), stopping=stopping)


def name_of(taken: TaskJob | None) -> str | None:
    """Which task it is."""
    return None if taken is None else taken.task


def test_what_was_put_back_is_free_for_everybody() -> None:
    """Endless tasks take turns: also with other workers."""
    crew = Crew()
    first = crew.join("first", "shard")
    second = crew.join("second", "shard")
    shard = first.take()
    assert shard is not None
    assert second.try_to_take() == (None, 0.0)
    assert not first.others_wait()
    assert (len(first), len(second)) == (0, 1)
    first.put_back(shard)
    assert len(first) == 1
    assert name_of(second.take()) == "shard"
    assert [name_of(taken) for taken, _ in (first.try_to_take(), first.try_to_take())] == [None, None]
    crew.living.remove("second")
    assert name_of(first.take()) == "shard"
    assert crew.clock.slept  # it had looked a moment before


def test_others_wait_only_if_nobody_has_them() -> None:
    """One of three shards is nobody's; when it is somebody's, nobody has to make room."""
    crew = Crew()
    first, second = crew.join("first", "a", "b", "c"), crew.join("second", "a", "b", "c")
    mine, other = first.take(), second.take()
    assert mine is not None
    assert other is not None
    assert first.others_wait()
    third = crew.join("third", "a", "b", "c")
    while third.try_to_take()[0] is None:
        crew.clock.sleep(0.25)
    while (taken := first.try_to_take())[1] == 0.0:
        pass
    assert taken[0] is None
    crew.clock.sleep(5.0)
    assert not first.others_wait()
    assert sorted(waiting.task for waiting in first.rest()) == sorted({"a", "b", "c"} - {mine.task})


def test_a_task_that_ended_elsewhere_is_not_taken_and_is_known() -> None:
    """Whether it was completed, failed, or stopped by somebody who wanted that; not if its worker had to end."""
    crew = Crew()
    first = crew.join("first", "a", "b", "c", "d")
    second = crew.join("second", "a", "b", "c", "d")
    for _ in range(4):
        assert second.take() is not None
    end(second, "a")
    end(second, "b", TaskStatus.FAILED)
    end(second, "c", TaskStatus.STOPPED)
    end(second, "d", TaskStatus.STOPPED, stopping=True)
    assert name_of(first.take()) == "d"
    assert first.take() is None
    assert first.elsewhere == {"a", "b", "c"}
    assert first.not_mine == {"a", "b", "c"}
    later = crew.join("later", "b", "c")  # what is not completed is tried again by the next
    assert {name_of(later.take()), name_of(later.take())} == {"b", "c"}


def test_new_tasks_are_taken_and_known_ones_are_not_added_twice() -> None:
    """Children of a shard that is read to its end."""
    crew = Crew()
    queue = crew.join("only", "parent")
    assert name_of(queue.take()) == "parent"
    end(queue, "parent")
    queue.add([job("parent"), job("child")])
    assert name_of(queue.take()) == "child"
    assert queue.take() is None


def test_who_is_to_stop_takes_nothing_and_lets_everything_go() -> None:
    """Others have it at once."""
    crew = Crew()
    first = crew.join("first", "a", "b")
    assert first.take() is not None
    crew.stopped.add("first")
    assert first.take() is None
    first.let_go()
    second = crew.join("second", "a", "b")
    assert {name_of(second.take()), name_of(second.take())} == {"a", "b"}


def test_a_store_that_fails_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is kept for the thread that can tell it."""
    crew = Crew()
    queue = crew.join("only", "a", "b")
    error = StoreUnavailableError("planned")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ClaimsBelow, "take", fail)
    assert queue.take() is None
    assert (queue.error, len(queue)) == (error, 0)


def test_a_claim_that_cannot_be_given_back_is_given_back_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the latest when the worker ends."""
    crew = Crew()
    queue = crew.join("only", "a")
    queue.take()
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise StoreUnavailableError("planned")

        patch.setattr(ClaimsBelow, "give_back", fail)
        end(queue, "a")
    claims = ClaimsBelow(crew.store, PREFIX)
    held = claims.read("a")
    assert held is not None
    assert not held.record.released
    queue.let_go()
    free = claims.read("a")
    assert free is not None
    assert free.record.seen is not None
