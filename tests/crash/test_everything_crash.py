"""Writers, tasks, clean-ups and annotators of one dataset, one after the other, each of which may die anywhere.

The model is that of the processes that are really killed (``tests/processes/model.py``): it knows what was said.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import Annotation, DataItem, SkipDoc
from datalake_service.catalog.tasks import TaskState, TaskStatus, create_task
from datalake_service.errors import DatasetNotFoundError, DatasetNotMergedError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.crash.deaths import KINDS, Death, examples
from tests.processes.journal import Life
from tests.processes.model import verify
from tests.support.faulty_store import Crash, FaultyStore
from tests.support.tasks import LINES, file_job, run_here, write_module

DATASET, ANNOTATOR = "posts", "lang"
TTL_SECONDS = 100
DAYS = 3 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Step:
    """One process: what it does, and where it dies, if it does."""

    actor: str
    death: Death | None
    size: int


steps = st.builds(
    Step,
    actor=st.sampled_from(["ids", "values", "tasks", "clean", "annotator"]),
    death=st.none() | st.tuples(st.integers(1, 40), st.sampled_from(KINDS)),
    size=st.integers(1, 25),
)


@dataclass
class World:
    """A lake, and everything that was said about it."""

    folder: Path
    clock: ManualClock = field(default_factory=ManualClock)
    lives: list[Life] = field(default_factory=list)
    unfinished: dict[str, Step] = field(default_factory=dict)
    """By writer: what it goes on with."""
    numbers: dict[str, int] = field(default_factory=dict)
    """By writer: how much it has finished."""
    moment: int = 0

    def __post_init__(self) -> None:
        self.store = FolderStore(self.folder / "lake", durable=False, clock=self.clock)
        self.code = write_module(self.folder / "code", LINES.replace('"text"', '"value"'))
        (self.code / "input").mkdir()

    def say(self, event: str, **fields: object) -> None:
        """What the process of this moment says."""
        self.moment += 1
        self.lives[-1].said.append({"event": event, "at": self.moment, **fields})

    def live(self, step: Step) -> None:
        """One process."""
        self.clock.advance(1)
        self.lives.append(Life("annotator" if step.actor == "annotator" else step.actor, len(self.lives), []))
        plan = {} if step.death is None else dict([step.death])
        store = FaultyStore(self.store, plan)
        actors: dict[str, Callable[[ObjectStore, Step], None]] = {
            "ids": self.write, "values": self.write, "tasks": self.run_task, "clean": self.clean, "annotator": self.ask,
        }  # fmt: skip
        with suppress(Crash):
            actors[step.actor](store, step)
            return
        self.clock.advance(TTL_SECONDS + 10)  # the lease of the dead runs out

    def write(self, store: ObjectStore, step: Step) -> None:
        step = self.unfinished.setdefault(step.actor, step)
        own, number = step.actor == "ids", self.numbers.get(step.actor, 0)
        batch = "b1" if own or number % 2 else "b10"
        again = "" if own or batch == "b10" else f"-{len(self.lives)}"
        values = [f"{step.actor}-{number}-{row}{again}" for row in range(step.size)]
        self.say("offered", batch=batch, values=values)

        def rows() -> Iterator[dict[str, Any]]:
            for value in values:
                yield {"id": value, "value": value} if own else {"value": value}
                if batch == "b10":
                    yield {"value": value}

        columns = ["value"] if batch == "b10" else None
        asyncio.run(ingest_iterator(store, rows(), dataset=DATASET, batch=batch, chunk_size=4, deduplicate_on=columns))
        self.say("acknowledged", batch=batch, values=values)
        self.numbers[step.actor] = number + 1
        del self.unfinished[step.actor]

    def run_task(self, store: ObjectStore, step: Step) -> None:
        step = self.unfinished.setdefault(step.actor, step)
        number = self.numbers.get("tasks", 0)
        values = [f"task-{number}-{line}" for line in range(step.size)]
        (self.code / f"input/{number}.log").write_text("".join(f"doc {value}\n" for value in values), encoding="utf-8")
        self.say("offered", batch="b10", values=values)
        assert run_here(self.job(store, number)).status is TaskStatus.COMPLETED
        self.say("acknowledged", batch="b10", values=values)
        self.numbers["tasks"] = number + 1
        del self.unfinished["tasks"]

    def job(self, store: ObjectStore, number: int) -> TaskJob:
        name, task = f"{number}.log", f"t{number}"
        create_task(self.store, DATASET, TaskState(id=task, item=name, batch="b10", created_at=self.clock.now()))
        elsewhere = FolderStore(self.folder / "elsewhere", durable=False)
        made = file_job(elsewhere, self.code, name=name, task=task, chunk_size=3, dataset=DATASET, batch="b10")
        return replace(made, store=store)

    def clean(self, store: ObjectStore, _step: Step) -> None:
        results = list(clean_up(store, thorough=True, clock=self.clock))
        errors = [result.error for result in results if result.error is not None]
        assert not errors, errors
        self.say("cleaned", merged=sum(result.result is not None for result in results))

    def ask(self, store: ObjectStore, step: Step) -> None:
        dice = random.Random(step.size)

        async def answer(item: DataItem) -> Annotation | SkipDoc:
            row = [item.batch, item.id]
            self.say("asked", row=row)
            if step.death is not None and dice.random() < 0.1:
                self.say("failed", row=row)
                raise ValueError("no answer today")
            return SkipDoc() if item.data["value"].endswith("7") else Annotation({"length": len(item.data["value"])})

        try:
            view = DatasetView(store, ViewRequest(dataset=DATASET, base_columns=["value"], annotator_columns={}))
        except (DatasetNotFoundError, DatasetNotMergedError):
            return
        self.say("session")
        options = AnnotationOptions(chunk_size=3, max_concurrency=3, lock_ttl_ms=TTL_SECONDS * 1_000)
        job = AnnotationJob(DATASET, ANNOTATOR, list(view.batches))
        asyncio.run(annotate(store, job, rows=view, function=answer, options=options))
        self.say("session ended")

    def finish(self) -> None:
        """Let everybody come to an end, and days pass."""
        for actor in ("ids", "values", "values", "tasks"):
            self.live(Step(actor, None, 3))
        for actor in ("clean", "annotator", "clean"):
            self.live(Step(actor, None, 3))
        self.clock.advance(DAYS)
        self.live(Step("clean", None, 3))

    def objects(self) -> dict[str, bytes]:
        """Everything that is there."""
        own = self.store.root / ".tmp"
        files = [path for path in self.store.root.rglob("*") if path.is_file() and not path.is_relative_to(own)]
        return {path.relative_to(self.store.root).as_posix(): path.read_bytes() for path in files}


@settings(max_examples=examples(5))
@given(st.lists(steps, min_size=5, max_size=16))
def test_whoever_dies_in_the_end_everything_is_there_once(planned: list[Step]) -> None:
    """Rows, annotations and calls are as the model says; a check finds nothing, and nothing is left over."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in planned:
            world.live(step)
        world.finish()
        verify(world.lives, world.objects(), kills={}, left=0, weather={})
        assert [str(found.to_dict()) for found in check_dataset(world.store, DATASET, clock=world.clock)] == []
