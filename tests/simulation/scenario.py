"""One dataset, ten actors, one seed: a storm, then peace, then everything must be as the model says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from datalake_service.catalog.leases import Lease
from datalake_service.errors import LeaseLostError, StoreError
from datalake_service.storage.retrying import RetryingStore
from datalake_utils.backoff import Backoff
from tests.simulation.actors import Actor, Annotator, CleanUp, Reader, Session, Writer
from tests.simulation.helpers import under
from tests.simulation.model import Model
from tests.simulation.scheduler import Crash, Process, Scheduler, SimClock
from tests.simulation.store import PEACE, Bucket, SimClient, Weather, storm

Plant = Callable[[pytest.MonkeyPatch, "World"], None]
"""Replaces a function of the product by a wrong one."""
_STARTS = 6
"""How often a process of the storm is started."""


@dataclass
class World:
    """What all actors share."""

    scheduler: Scheduler
    model: Model = field(default_factory=Model)
    leases: list[tuple[Process, Lease]] = field(default_factory=list)
    weather: Weather = PEACE

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.scheduler)
        self.bucket.observer = self._changed
        self.scheduler.after_step = self._check_leases
        self.weather = storm(self.scheduler.random.uniform(0.02, 0.2))

    def start(self, name: str, actor: Actor, *, after: float = 0.0, starts: int = _STARTS) -> None:
        """Run an actor in a new process; when it dies or fails, start it again some time later."""
        random = self.scheduler.random
        process = Process(name, skew=random.uniform(-600, 600), boot=random.uniform(0, 1e6))
        client = SimClient(self.bucket, self.scheduler, process, lambda: self.weather)
        clock = SimClock(self.scheduler, process)
        backoff = Backoff(first=0.3, longest=20.0, source=random.randbytes)
        store = RetryingStore(client, attempts=4, backoff=backoff, clock=clock)

        def body() -> None:
            try:
                actor(Session(self, process, store, clock))
            except (Crash, LeaseLostError, StoreError) as error:
                self.scheduler.note(f"{name} ends: {type(error).__name__}")
                if type(error) is StoreError:  # neither the weather nor a lost race: something is broken
                    raise
                process.dead = True
                if starts > 1 and not self.scheduler.stopping:
                    self.start(name, actor, after=random.uniform(0, 120), starts=starts - 1)

        self.scheduler.spawn(process, name, body, after=after)

    def acting(self, process: Process) -> None:
        """An annotator asks: nobody else may, and its lease must hold."""
        holders = [owner.name for owner, lease in self.leases if lease.held and not owner.dead]
        assert holders == [process.name], f"{process.name} asks while the lease is held by {holders}"

    def _changed(self, key: str, data: bytes | None) -> None:
        try:
            self.model.changed(key, data)
        except Exception as error:  # noqa: BLE001 - not an answer of the store: the run fails with it
            self.scheduler.fail(error)

    def _check_leases(self) -> None:
        holders = [owner.name for owner, lease in self.leases if lease.held and not owner.dead]
        assert len(holders) <= 1, f"the lease is held twice: {holders}"


def simulate(seed: int | str, plant: Plant | None = None) -> Scheduler:
    """Run one seed.

    Raises:
        AssertionError: Something was not as it must be.
    """
    scheduler = Scheduler(seed)
    world = World(scheduler)
    with under(scheduler, scheduler.random) as patch:
        if plant is not None:
            world.weather = storm(0.2)  # so that it is found sooner
            plant(patch, world)
        writers = [
            Writer("w0", "b1", 14, own_ids=True),
            Writer("w1", "b1", 14),
            Writer("w2", "b10", 14, deduplicate_on=("value",)),
        ]
        actors: list[tuple[str, Actor]] = [(writer.name, writer) for writer in writers]
        actors += [(f"clean-up{number}", CleanUp(3)) for number in range(2)]
        actors += [(f"annotator{number}", Annotator(8)) for number in range(3)]
        actors += [("reader0", Reader(1, view=True)), ("reader1", Reader(4))]
        for name, actor in actors:
            world.start(name, actor, after=scheduler.random.uniform(0, 60))
        scheduler.drain()
        world.weather = PEACE
        scheduler.note("peace")
        last = CleanUp(1)
        peace: list[tuple[str, Actor]] = [(writer.name, writer) for writer in writers if not writer.finished]
        peace += [("merge", CleanUp(1)), ("annotate", Annotator(30)), ("merge", last), ("read", Reader(1))]
        for name, actor in peace:
            world.start(name, actor, starts=1)
            scheduler.drain()
        scheduler.run()
    assert not last.errors, last.errors
    once = {batch: {f"{writer.name}-{number}" for writer in writers for number in range(writer.rows)
                    if writer.batch == batch and writer.name != "w1"} for batch in ("b1", "b10")}  # fmt: skip
    world.model.check_end(once)
    return scheduler
