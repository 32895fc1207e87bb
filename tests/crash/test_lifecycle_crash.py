"""Deleting, restoring and purging a dataset, with deaths at any operation: rows are there, or they were purged."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.deletions import is_deleted
from datalake_service.errors import DatalakeError, DatasetNotFoundError, UsageError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.upkeep.lifecycle import delete_dataset, purge_deleted, restore_dataset
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.crash.deaths import Death, deaths, dies, examples
from tests.support.merging import read_merged

DATASET, NEIGHBOUR = "d", "dd"
DAYS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Step:
    """What is done, after so many that died trying; some of them are left at that."""

    action: str
    deaths: Sequence[Death]
    gives_up: bool


steps = st.builds(
    Step,
    action=st.sampled_from(
        ["write", "merge", "delete", "delete", "restore", "purge early", "purge late", "purge late"]
    ),
    deaths=deaths(12),
    gives_up=st.booleans(),
)


class World:
    """A lake of two datasets. The model says in which states the first one may be, and what is in it then."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = FolderStore(folder, durable=False, clock=self.clock)
        self.may_be = {"absent"}
        """``absent``, ``alive``, ``deleted`` or ``purging``."""
        self.rows: set[int] = set()
        """That were acknowledged, if the dataset is not absent."""
        self.maybe: set[int] = set()
        """That a writer left behind."""
        self.written = 0
        ingest(self.store, NEIGHBOUR, [0])
        self.write(Step("write", (), gives_up=False))
        list(clean_up(self.store, clock=self.clock))
        self.neighbour = self.objects(NEIGHBOUR)

    def objects(self, dataset: str) -> dict[str, str]:
        """Keys and versions."""
        return {meta.key: meta.etag for meta in self.store.list(f"{dataset}/")}

    def step(self, step: Step) -> None:
        """Try, die, and in the end do it, or leave it."""
        self.clock.advance(1)
        if step.action == "write":
            self.write(step)
            self.look()
            return
        if step.action == "purge late":
            self.clock.advance(DAYS.total_seconds() + 1)
        work = self.work(step.action)
        for death in step.deaths:
            with suppress(DatalakeError):
                dies(self.store, work, death)
            self.may_be |= self.after(step.action)
            self.clock.advance(1)
        if not step.deaths or not step.gives_up:
            self.finish(step.action, work)
        self.look()
        assert self.objects(NEIGHBOUR) == self.neighbour

    def look(self) -> None:
        """Whether anything is there can be seen."""
        if self.objects(DATASET):
            self.may_be.discard("absent")
            assert self.may_be
        else:
            assert "absent" in self.may_be
            self.may_be, self.rows, self.maybe = {"absent"}, set(), set()

    def work(self, action: str) -> Callable[[ObjectStore], object]:
        actions: dict[str, Callable[[ObjectStore], object]] = {
            "merge": lambda store: list(clean_up(store, clock=self.clock)),
            "delete": lambda store: delete_dataset(store, DATASET),
            "restore": lambda store: restore_dataset(store, DATASET),
        }
        return actions.get(action, self.purge)

    def purge(self, store: ObjectStore) -> None:
        for result in purge_deleted(store, grace=DAYS):
            assert result.error is None

    def after(self, action: str) -> set[str]:
        """The states that may be reached by a process that dies, or does it all."""
        reached: set[str] = set()
        for state in self.may_be:
            match (action, state):
                case ("delete", "alive"):
                    reached.add("deleted")
                case ("restore", "deleted"):
                    reached.add("alive")
                case ("purge late", "deleted" | "purging") | ("purge early", "purging"):
                    reached |= {"purging", "absent"}
        return reached

    def finish(self, action: str, work: Callable[[ObjectStore], object]) -> None:
        """Do it in peace; what is answered tells more about the state."""
        states = self.may_be
        try:
            answer = work(self.store)
        except DatasetNotFoundError:
            assert action in {"delete", "restore"}
            assert "absent" in states
            self.may_be = {"absent"}
            return
        except UsageError:
            assert action == "restore"
            assert "purging" in states
            self.may_be = {"purging"}
            return
        match action:
            case "delete":
                assert states - {"absent"}
                self.may_be = {"purging", "deleted"} & states | ({"deleted"} if "alive" in states else set())
            case "restore":
                assert states & {"alive", "deleted"}
                assert answer or "alive" in states
                self.may_be = {"alive"}
            case "purge late":
                self.may_be = states - {"deleted", "purging"} | (
                    {"absent"} if states & {"deleted", "purging"} else set()
                )
            case "purge early":
                self.may_be = states - {"purging"} | ({"absent"} if "purging" in states else set())

    def write(self, step: Step) -> None:
        """Rows for a dataset that is there, or not yet; nobody writes to one that is deleted."""
        if not self.may_be <= {"alive", "absent"}:
            return
        rows = list(range(self.written, self.written + 5))
        self.written += 5
        for death in step.deaths:
            dies(self.store, lambda store: ingest(store, DATASET, rows), death)
        self.maybe.update(rows)
        self.may_be = {"alive"} if not (step.deaths and step.gives_up) else self.may_be | {"alive"}
        if not step.deaths or not step.gives_up:
            ingest(self.store, DATASET, rows)
            self.rows.update(rows)

    def check(self) -> None:
        """Bring it back if it is deleted; then every row is there, once."""
        self.clock.advance(1)
        if not self.objects(DATASET):
            assert "absent" in self.may_be
            return
        if is_deleted(self.store, DATASET):
            try:
                restore_dataset(self.store, DATASET)
            except UsageError:
                assert "purging" in self.may_be
                return
            assert "deleted" in self.may_be
        list(clean_up(self.store, clock=self.clock))
        list(clean_up(self.store, clock=self.clock))
        found = sorted(row["n"] for row in read_merged(self.store, f"{DATASET}/b/merged.parquet"))
        assert len(found) == len(set(found))
        assert self.rows <= set(found) <= self.rows | self.maybe


def ingest(store: ObjectStore, dataset: str, rows: list[int]) -> None:
    """Rows with their own ids, two in a chunk."""
    items = [{"id": str(number), "n": number} for number in rows]
    asyncio.run(ingest_iterator(store, items, dataset=dataset, batch="b", chunk_size=2))


@settings(max_examples=examples(20))
@given(st.lists(steps, min_size=2, max_size=8))
def test_rows_are_there_unless_they_were_purged(planned: list[Step]) -> None:
    """Whoever died at what: never half a dataset that can be seen, and never a neighbour's object."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        for step in planned:
            world.step(step)
        world.check()
