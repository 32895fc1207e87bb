"""Workers of one dataset file in one process: whose task is whose, limits over all of them, what is refused."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimsBelow, Seen
from datalake_service.catalog.datasets import RunStatus, load_dataset
from datalake_service.catalog.leases import Lease
from datalake_service.catalog.tasks import TaskStatus, load_tasks
from datalake_service.config.load import load_dataset as read_config
from datalake_service.errors import AccessDeniedError, ConfigError, DatalakeError, LeaseLostError
from datalake_service.pipeline.tasks.stopping import running_runs, with_deaths
from datalake_service.pipeline.workers import place as worker_place
from datalake_service.pipeline.workers.place import WorkerPlace
from datalake_service.storage.base import CreateOnly, ObjectMeta, Overwrite, PutMode
from tests.support.project import Project
from tests.support.workers import InlineDrain, held_claims, leases, work


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three files of two rows each."""
    project = Project(tmp_path)
    for name in ("a", "b", "c"):
        project.write(f"{name}.log", f"doc {name}1\ndoc {name}2\n")
    return project


def another_in_the_middle(project: Project, *, after: int = 1) -> tuple[InlineDrain, InlineDrain]:
    """The first worker begins the second one before its ``after``-th task, which it has claimed."""
    first, second = InlineDrain(), InlineDrain()

    def begin(_source: str) -> None:
        if len(first.ran) == after:
            stop = threading.Event()
            second.before = lambda _: stop.set() if len(second.ran) == 2 else None
            work(project, engine=second, stop=stop)

    first.before = begin
    return first, second


def test_a_task_that_another_one_has_is_left_to_it(project: Project) -> None:
    """The second one does other tasks; the first believes what it says, and reports the whole."""
    first, second = another_in_the_middle(project)
    report = work(project, engine=first)
    assert (report.status, report.rows, report.tasks.completed) == (RunStatus.COMPLETED, {"b": 6}, 3)
    assert report.tasks.counts.documents == 6
    assert second.ran
    assert set(first.ran) | set(second.ran) == {"a.log", "b.log", "c.log"}
    assert first.ran[0] not in second.ran
    assert (held_claims(project.store), leases(project.store)) == ([], [])
    assert project.texts() == ["a1", "a2", "b1", "b2", "c1", "c2"]


def test_a_claim_of_a_dead_worker_is_taken_over(project: Project) -> None:
    """Of a name that has no lease: at the first look."""
    work(project)
    (task, *_) = [stored.state.id for stored in load_tasks(project.store, "d")]
    project.write("d.log", "doc d\n")
    dead = ClaimsBelow(project.store, layout.task_claims_prefix("d"), worker="f" * 32)
    claim = dead.read(task)
    assert claim is not None
    assert claim.record.seen == Seen("COMPLETED", 2, 0)
    project.write("a.log", "doc new\n")
    project.write("b.log", "doc new\n")
    project.write("c.log", "doc new\n")
    assert dead.take(task, over=claim) is not None
    report = work(project)
    assert (report.status, report.own and report.own.tasks) == (RunStatus.COMPLETED, 4)
    assert held_claims(project.store) == []


def test_limits_hold_over_all_workers(project: Project) -> None:
    """What the other one rejected counts; both fail, and nothing is merged."""
    for name in ("a", "b", "c"):
        project.write(f"{name}.log", "doc x\nbad y\n")
    project.document["onError"] = {"policy": "continue", "maxErrors": 2}
    first, second = another_in_the_middle(project)
    report = work(project, engine=first)
    assert len(second.ran) == 2
    assert report.status is RunStatus.FAILED
    assert report.limit is not None
    assert report.merged == ()
    assert report.tasks.counts.rejections == 3


def test_a_failed_task_is_tried_once_more_by_who_starts_later(project: Project) -> None:
    """Not again by who was there when it failed."""
    project.document["onError"] = {"policy": "fail"}
    project.write("b.log", "bad\n")
    first = InlineDrain()
    assert work(project, engine=first).status is RunStatus.FAILED
    assert sorted(first.ran) == ["a.log", "b.log", "c.log"]
    later = InlineDrain()
    report = work(project, engine=later)
    assert later.ran == ["b.log"]
    assert (report.status, report.tasks.failed, report.tasks.already_done) == (RunStatus.FAILED, 1, 2)


def test_a_stop_gives_everything_back(project: Project) -> None:
    """As free, not as ended: the next one goes on."""
    engine, stop = InlineDrain(), threading.Event()
    engine.before = lambda _: stop.set() if len(engine.ran) == 2 else None
    report = work(project, engine=engine, stop=stop)
    assert (report.status, report.merged) == (RunStatus.STOPPED, ())
    assert (held_claims(project.store), leases(project.store)) == ([], [])
    following = InlineDrain()
    assert work(project, engine=following).rows == {"b": 6}
    assert len(following.ran) >= 2


def test_a_lost_lease_ends_the_worker(project: Project) -> None:
    """With what it has stored; its tasks are others'."""
    engine = InlineDrain()

    def lose(_source: str) -> None:
        project.clock.advance(100)

    engine.before = lose
    with pytest.raises(LeaseLostError, match="could not be renewed in time"):
        work(project, engine=engine)
    assert len(engine.ran) < 3
    (run,) = load_dataset(project.store, "d").runs
    assert run.status is RunStatus.FAILED
    assert work(project).rows == {"b": 6}


def config_of(project: Project, **changes: Any) -> Any:
    """The dataset file, with changes."""
    return read_config(project.document | changes, folder=project.folder)


def test_another_file_of_the_same_name_is_refused_while_a_worker_lives(project: Project) -> None:
    """Whoever comes later; when the first is gone, any file may come."""
    ttl = timedelta(minutes=1)
    with WorkerPlace(project.store, config_of(project), ttl=ttl, clock=project.clock):
        with WorkerPlace(project.store, config_of(project), ttl=ttl, clock=project.clock):
            pass  # the same file
        project.document["writeConnector"]["chunkSize"] = 7
        with pytest.raises(ConfigError, match="a worker with another dataset file works on it"):
            work(project)
    assert work(project).rows == {"b": 6}


def test_another_engine_is_refused(project: Project) -> None:
    """Those spread tasks themselves."""
    project.document["computeEngine"] = {"computeEngineType": "RAY"}
    with pytest.raises(ConfigError, match="use: datalake datasets create"):
        work(project)
    assert list(project.store.list("d/")) == []


class ReadOnly:
    """A lake that may be read."""

    def __init__(self, project: Project) -> None:
        self._inner = project.store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        raise AccessDeniedError(f"cannot write {key}: no permission")


def test_a_lake_that_may_only_be_read_is_told_before_anything_is_done(project: Project) -> None:
    """In one line that names what is missing."""
    engine = InlineDrain()
    with pytest.raises(DatalakeError, match="no permission"):
        work(project, cast("Any", ReadOnly(project)), engine=engine)
    assert engine.ran == []


def test_planning_waits_for_the_one_that_plans_and_for_no_dead_one(project: Project) -> None:
    """A lease that was given back is a plan; one that ran out is none."""
    store = project.store
    key = layout.planning_lease_key("d")
    other = Lease(store, key, ttl=timedelta(seconds=60), clock=project.clock)
    assert other.acquire()
    place = WorkerPlace(store, config_of(project), ttl=timedelta(seconds=60), clock=project.clock)
    with place.planning():  # the clock of the wait is the store's: the lease runs out
        assert project.clock.slept
        holder = Lease(store, key, ttl=timedelta(seconds=60), clock=project.clock).find_holder()
        assert holder is not None
        assert holder.owner.startswith("worker of d")
    assert other.remaining <= 0


def test_planning_is_over_when_the_other_one_gives_its_lease_back(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nobody has to take it."""
    key = layout.planning_lease_key("d")
    other = Lease(project.store, key, ttl=timedelta(hours=1), clock=project.clock)
    assert other.acquire()
    take = WorkerPlace._take

    def and_then(self: WorkerPlace, lease: Lease, key: str) -> bool:
        taken = take(self, lease, key)
        other.release()
        return taken

    monkeypatch.setattr(worker_place.WorkerPlace, "_take", and_then)
    place = WorkerPlace(project.store, config_of(project), ttl=timedelta(seconds=60), clock=project.clock)
    with place.planning():
        assert other.find_holder() is None


def test_a_run_whose_process_is_gone_has_died(project: Project) -> None:
    """Of this machine by its process, of another one only if it is a worker without a lease."""
    work(project)
    state = load_dataset(project.store, "d")
    (run,) = state.runs
    assert (run.status, run.host is None, run.worker is None) == (RunStatus.COMPLETED, False, False)
    text = project.store.get(layout.dataset_state_key("d"))[0].decode()
    text = text.replace('"status": "COMPLETED"', '"status": "RUNNING"', 1)
    project.store.put(layout.dataset_state_key("d"), text.encode(), mode=Overwrite())
    assert running_runs(project.store, "d") == []
    assert [one.status for one in with_deaths(project.store, load_dataset(project.store, "d")).runs] == [RunStatus.DIED]
    worker = load_dataset(project.store, "d").runs[0].worker
    assert worker is not None
    lease = Lease(project.store, layout.task_worker_key("d", worker), ttl=timedelta(hours=1), clock=project.clock)
    assert lease.acquire()
    assert [one.id for one in running_runs(project.store, "d")] == [run.id]


def test_tasks_have_claims_of_their_own(project: Project) -> None:
    """A batch of an annotator that is called like a task is another claim."""
    claims = ClaimsBelow(project.store, layout.task_claims_prefix("d"), worker="a" * 32)
    assert claims.take("t1", over=None) is not None
    assert claims.take("t1", over=None) is None
    assert set(claims.versions()) == {"t1"}
    project.store.put(layout.claim_key("d", "lang", "t1"), b"{}", mode=CreateOnly())
    assert {stored.state.status for stored in load_tasks(project.store, "d")} <= {TaskStatus.CREATED}
