"""One dataset, ten actors, one seed: a storm, then peace, then everything must be as the model says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations

import pytest

from datalake_service.catalog.leases import Lease
from datalake_service.errors import LeaseLostError, StoreError
from datalake_service.pipeline.annotation.lease import AnnotatorLease, HeldLease
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
    """Of annotators that work alone, or want to."""
    acting: list[tuple[Process, Lease, str | None]] = field(default_factory=list)
    """Annotators at work, and on which batch; ``None``: on all."""
    asked: dict[tuple[str, str], tuple[Process, Lease]] = field(default_factory=dict)
    """Who asked a row last, in this run of it."""
    weather: Weather = PEACE
    share: float = 0.7
    """How often an annotator is one of many, rather than alone."""

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

    @contextmanager
    def watched(self, process: Process, lease: HeldLease) -> Iterator[None]:
        """Look after every step that nobody else holds the lease of an annotator."""
        entry = (process, lease._lease)
        if isinstance(lease, AnnotatorLease):
            self.leases.append(entry)
        try:
            yield
        finally:
            if entry in self.leases:
                self.leases.remove(entry)
            for row in [row for row, (owner, _) in self.asked.items() if owner is process]:
                del self.asked[row]

    @contextmanager
    def acts(self, process: Process, lease: HeldLease, batch: str | None) -> Iterator[None]:
        """Look after every step that nobody else works on a batch (``None``: on any) as long as the lease holds."""
        entry = (process, lease._lease, batch)
        self.acting.append(entry)
        try:
            yield
        finally:
            self.acting.remove(entry)

    def asks(self, process: Process, lease: HeldLease, batch: str, name: str) -> None:
        """An annotator asks: nobody who lives may have an answer on its way."""
        other, its_lease = self.asked.get((batch, name), (process, None))
        in_flight = (batch, name) not in self.model.annotated and its_lease is not None and its_lease.held
        assert other is process or other.dead or not in_flight, f"{process.name} asks {name}, as {other.name} does"
        self.asked[batch, name] = (process, lease._lease)

    def _changed(self, key: str, data: bytes | None) -> None:
        try:
            self.model.changed(key, data)
        except Exception as error:  # noqa: BLE001 - not an answer of the store: the run fails with it
            self.scheduler.fail(error)

    def _check_leases(self) -> None:
        holders = [owner.name for owner, lease in self.leases if lease.held and not owner.dead]
        assert len(holders) <= 1, f"the lease is held twice: {holders}"
        at_work = [entry for entry in self.acting if entry[1].held and not entry[0].dead]
        for first, second in combinations(at_work, 2):
            apart = first[2] is not None and second[2] is not None and first[2] != second[2]
            assert apart, f"{first[0].name} and {second[0].name} work on {first[2]} and {second[2]}"


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
        actors += [(f"annotator{number}", Annotator(6)) for number in range(3)]
        actors += [("reader0", Reader(1, view=True)), ("reader1", Reader(4))]
        for name, actor in actors:
            world.start(name, actor, after=scheduler.random.uniform(0, 60))
        scheduler.drain()
        world.weather = PEACE
        scheduler.note("peace")
        last = CleanUp(1)
        peace: list[tuple[str, Actor]] = [(writer.name, writer) for writer in writers if not writer.finished]
        peace += [("merge", CleanUp(1)), ("annotate", Annotator(30, once=True)), ("merge", last), ("read", Reader(1))]
        for name, actor in peace:
            world.start(name, actor, starts=1)
            scheduler.drain()
        scheduler.run()
    assert not last.errors, last.errors
    once = {batch: {f"{writer.name}-{number}" for writer in writers for number in range(writer.rows)
                    if writer.batch == batch and writer.name != "w1"} for batch in ("b1", "b10")}  # fmt: skip
    world.model.check_end(once)
    return scheduler
