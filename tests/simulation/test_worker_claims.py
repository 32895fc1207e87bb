"""Workers that share tasks, under the weather of the simulation: claims and leases are the product's own code.

A task here is a time during which its worker acts. ``docs/design/022-workers.md`` has the rules that are looked after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from datalake_service.catalog import fencing, leases
from datalake_service.catalog.claims import Claim, ClaimsBelow
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.config.load import load_dataset as read_config
from datalake_service.errors import LeaseLostError, StoreError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskResult
from datalake_service.pipeline.workers import place as worker_place
from datalake_service.pipeline.workers.jobs import ClaimedJobs, Fellow
from datalake_service.pipeline.workers.place import WorkerPlace
from datalake_service.storage.base import Overwrite
from datalake_service.storage.retrying import RetryingStore
from datalake_utils.backoff import Backoff
from tests.simulation.helpers import under
from tests.simulation.scheduler import Crash, Process, Scheduler, SimClock
from tests.simulation.store import PEACE, Bucket, SimClient, Weather, storm

SEEDS = 80
TASKS = [f"t{number}" for number in range(20)]
TTL = timedelta(seconds=120)
STARTS = 4
CONFIG = read_config(
    {
        "datasetName": "d",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
    },
    folder=Path(),
)


@dataclass
class World:
    """What workers share, and what must be true of it."""

    scheduler: Scheduler
    weather: Weather
    acting: list[tuple[Process, WorkerPlace, str]] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    """What the tasks' objects would say."""
    begun: Counter[str] = field(default_factory=Counter)
    cut_short: Counter[str] = field(default_factory=Counter)
    """How often a task's worker died, lost its lease or got no answer while it had the task."""
    ended: int = 0

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.scheduler)
        self.scheduler.after_step = self.check

    def check(self) -> None:
        """No two workers that may act have one task."""
        at_work = [entry for entry in self.acting if entry[1]._lease.held and not entry[0].dead]
        for first, second in combinations(at_work, 2):
            assert first[2] != second[2], f"{first[0].name} and {second[0].name} both have {first[2]}"

    def start(self, name: str, *, after: float = 0.0, starts: int = STARTS) -> None:
        """Start a worker; when it dies or fails, start another one some time later."""
        random = self.scheduler.random
        process = Process(name, skew=random.uniform(-600, 600), boot=random.uniform(0, 1e6))
        clock = SimClock(self.scheduler, process)
        client = SimClient(self.bucket, self.scheduler, process, lambda: self.weather)
        backoff = Backoff(first=0.3, longest=20.0, source=random.randbytes)
        store = RetryingStore(client, attempts=4, backoff=backoff, clock=clock)

        def body() -> None:
            try:
                self.work(process, WorkerPlace(store, CONFIG, ttl=TTL, clock=clock), clock)
                self.ended += 1
            except (Crash, LeaseLostError, StoreError) as error:
                if type(error) is StoreError:
                    raise
                process.dead = True
                if starts > 1 and not self.scheduler.stopping:
                    self.start(name, after=random.uniform(0, 120), starts=starts - 1)

        self.scheduler.spawn(process, name, body, after=after)

    def work(self, process: Process, place: WorkerPlace, clock: SimClock) -> None:
        """What a worker does with one slot: take a task, act, say how it ended."""
        with place:
            jobs = [cast("TaskJob", SimpleNamespace(task=task)) for task in TASKS if task not in self.done]
            me = Fellow("d", place.worker, place.claims, place.live, lambda: place.must_stop() is not None)
            queue = ClaimedJobs(me, jobs, began=place.began, clock=clock, longest=5.0)
            while (job := queue.take()) is not None:
                self.cut_short[job.task] += 1  # unless all of it comes to its end
                self.act(process, place, clock, job.task)
                queue.end(TaskResult(job.task, TaskStatus.COMPLETED, TaskCounts()), stopping=False)
                self.cut_short[job.task] -= not queue._doubtful
            if (error := place.must_stop() or queue.error) is not None:
                raise error
            assert self.done == set(TASKS), "a worker ends although there is something left"

    def act(self, process: Process, place: WorkerPlace, clock: SimClock, task: str) -> None:
        """Have a task for a while; looks up every second, as a tick does."""
        entry = (process, place, task)
        self.acting.append(entry)
        self.begun[task] += 1
        try:
            for _ in range(self.scheduler.random.randrange(1, 60)):
                if (lost := place.must_stop()) is not None:
                    raise lost
                clock.sleep(1.0)
            self.done.add(task)
        finally:
            self.acting.remove(entry)


Plant = Callable[[pytest.MonkeyPatch], None]


def simulate(seed: int, *, stormy: bool = True, plant: Plant | None = None) -> World:
    """Four workers; the storm ends, the others finish."""
    scheduler = Scheduler(f"workers {seed}")
    random = scheduler.random
    world = World(scheduler, storm(random.uniform(0.05, 0.3)) if stormy else PEACE)
    with under(scheduler, random) as patch:
        for module in (fencing, leases, worker_place):
            patch.setattr(module, "random_hex", lambda digits: f"{random.getrandbits(4 * digits):0{digits}x}")
        if plant is not None:
            plant(patch)
        for number in range(4):
            world.start(f"worker{number}", after=random.uniform(0, 60))
        scheduler.drain()
        world.weather = PEACE
        world.start("last")
        scheduler.drain()
        scheduler.run()
    assert world.done == set(TASKS)
    again = {task: times for task, times in world.begun.items() if times > 1 + world.cut_short[task]}
    assert not again, "begun again although their workers came to an end"
    return world


@pytest.mark.parametrize("start", range(0, SEEDS, 40))
def test_no_task_has_two_workers_and_none_is_left(start: int) -> None:
    """Whoever dies, whatever answer is lost, however late a request comes."""
    died = 0
    for seed in range(start, start + 40):
        try:
            died += sum(simulate(seed).cut_short.values())
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    assert died > 20  # else nothing was tried


def test_in_peace_each_task_is_begun_once() -> None:
    """And each worker waits until the last one is done."""
    for seed in range(20):
        world = simulate(seed, stormy=False)
        assert world.begun == Counter(TASKS)
        assert world.ended == 5


def claims_of_the_living_are_free(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: nobody looks whether a claim's worker lives."""
    patch.setattr(ClaimedJobs, "_is_free", lambda _self, _claim: True)


def look_before_the_claims_are_read(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: who lives is looked up once, and believed of claims that were read later."""
    seen: dict[int, object] = {}

    def stale(self: ClaimedJobs, claim: Claim | None) -> bool:
        live = seen.setdefault(id(self), self._me.live())
        if claim is None or claim.record.released or claim.record.worker == self._me.name:
            return True
        return claim.record.worker not in cast("dict[str, object]", live)

    patch.setattr(ClaimedJobs, "_is_free", stale)


def claim_without_condition(patch: pytest.MonkeyPatch) -> None:
    """Rule 4: whoever writes a claim has it."""
    write = ClaimsBelow._write
    patch.setattr(ClaimsBelow, "_write", lambda self, name, record, _mode: write(self, name, record, Overwrite()))


@pytest.mark.parametrize(
    "plant", [claims_of_the_living_are_free, look_before_the_claims_are_read, claim_without_condition]
)
def test_a_planted_bug_is_found(plant: Plant) -> None:
    """The simulation would notice if this rule were broken."""
    for seed in range(100):
        try:
            simulate(seed, plant=plant)
        except AssertionError:
            return
    pytest.fail("the planted bug was not found")
