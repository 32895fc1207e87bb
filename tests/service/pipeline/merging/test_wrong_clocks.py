"""Two machines whose clocks are ten minutes off, each its own way, and a store with a third one: nothing goes wrong."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease, grace
from datalake_service.catalog.locks import LockStatus, find_lock
from datalake_service.catalog.manifests import claim_run
from datalake_service.errors import AnnotationLockError, LeaseLostError
from datalake_service.pipeline.annotation.lease import AnnotatorLease
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.project import Project

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OFF = timedelta(minutes=10)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class World:
    """Two machines and a store."""

    store: FolderStore
    store_clock: ManualClock
    one: ManualClock
    other: ManualClock

    def wait(self, duration: timedelta) -> None:
        """Let time pass, everywhere alike."""
        for clock in (self.store_clock, self.one, self.other):
            clock.advance(duration.total_seconds())


@pytest.fixture(params=[OFF, -OFF], ids=["ahead", "behind"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """The first machine is ahead and the second behind, or the other way round."""
    clock = ManualClock(NOON)
    store = FolderStore(tmp_path / "lake", durable=False, clock=clock)
    return World(store, clock, ManualClock(NOON + request.param), ManualClock(NOON - request.param))


def write(world: World, clock: ManualClock, *rows: dict[str, object]) -> None:
    """Store rows from a machine."""
    asyncio.run(ingest_iterator(world.store, rows, dataset="d", batch="b", deduplicate_on=["text"], clock=clock))


def ids(world: World) -> list[str]:
    """The merged rows."""
    with DatasetView(world.store, ViewRequest(dataset="d")) as rows:
        return sorted(row["id"] for row in rows)


def test_the_first_row_wins_by_the_clock_of_the_store(world: World) -> None:
    """Written first is what the store got first, whatever the writers call the time; merged by either machine."""
    write(world, world.one, {"id": "first", "text": "same"})
    world.wait(timedelta(seconds=2))
    write(world, world.other, {"id": "second", "text": "same"}, {"id": "third", "text": "other"})
    for clock in (world.other, world.one):
        assert [result.error for result in clean_up(world.store, clock=clock) if result.error] == []
        assert ids(world) == ["first", "third"]


def test_a_lease_excludes_and_ends_by_the_clock_of_the_store(world: World) -> None:
    """It is neither taken too early, nor kept for longer than its limit."""
    key = layout.annotator_lease_key("d", "a")
    mine = Lease(world.store, key, ttl=HOUR, clock=world.one)
    assert mine.acquire()
    other = AnnotatorLease(world.store, "d", "a", ttl=HOUR, clock=world.other)
    for _ in range(2):
        world.wait(HOUR - timedelta(minutes=1))
        with pytest.raises(AnnotationLockError, match=r"renewed 59m ago, runs out in 1m"):
            other.take()
        mine.renew()
    world.wait(HOUR + grace(HOUR))
    assert not mine.held
    lock = find_lock(world.store, "d", "a")
    assert lock is not None
    assert lock.status is LockStatus.HELD
    world.wait(timedelta(seconds=1))
    other.take()
    with pytest.raises(LeaseLostError):
        mine.renew()


def test_leftovers_are_as_old_as_the_store_says(world: World) -> None:
    """A run of the other machine that lives still is not taken for dead, one that is dead not for alive."""
    claim_run(
        world.store, "d/b/", kind="rows", deduplicate_on=None, chunk_size=1, now=world.one.now(), draw=lambda: "0a1b2c"
    )

    def removed(clock: ManualClock) -> int:
        results = clean_up(world.store, leftovers_older_than=timedelta(hours=2), clock=clock)
        return sum(sum((result.removed or {}).values()) for result in results)

    world.wait(timedelta(hours=2, minutes=-1))
    assert removed(world.other) == 0
    world.wait(timedelta(minutes=2))
    assert removed(world.other) == 1


def test_a_dataset_file_runs_on_either_machine(world: World, tmp_path: Path) -> None:
    """Tasks are started, resumed and finished; nothing is read twice, nothing is asked twice."""
    project = Project(tmp_path)
    project.store = world.store
    project.annotate()
    for number, clock in enumerate((world.one, world.other, world.one)):
        project.write(f"{number}.log", f"doc {number}\n")
        project.clock = clock
        assert project.run().to_dict()["records"] == 1
        world.wait(timedelta(seconds=1))
    assert project.texts() == ["0", "1", "2"]
    assert sorted(project.log.read_text(encoding="utf-8").split()) == ["0", "1", "2"]
