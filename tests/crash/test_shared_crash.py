"""Shared workers die at any operation of the store, again and again; the others finish, and nobody pays twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import DataItem
from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimRecord
from datalake_service.chunks import writer
from datalake_service.errors import StoreError
from datalake_service.pipeline.annotation import output as annotation_output
from datalake_service.pipeline.annotation import rows_to_ask
from datalake_service.pipeline.annotation import run as annotation_run
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.base import ObjectMeta, PutMode
from datalake_service.storage.folder import FolderStore
from tests.crash.deaths import examples
from tests.support.annotations import ANNOTATOR, DATASET, FINISHED, Asked, ListRows, chunk_rows, merged_rows, start
from tests.support.faulty_store import Crash, Fault, FaultyStore

CONCURRENCY = 2


@pytest.fixture(autouse=True, scope="module")
def _impatient() -> Iterator[None]:
    """Workers that wait look again soon, and give back soon what is complete."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_to_ask, "_LOOK_AGAIN_SECONDS", 0.005)
        patch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 0.01)
        patch.setattr(annotation_run, "TICK", 0.005)
        yield


@dataclass(frozen=True)
class Scenario:
    """What is annotated, and what befalls whom."""

    batches: dict[str, list[str]]
    chunk_size: int
    deaths: Sequence[tuple[int, Fault] | None]
    """For each worker that starts at once or in place of a dead one: at which operation what happens to it."""
    workers: int
    merges: bool
    """Whether somebody merges whenever a worker died."""


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A few batches with equal ids, two or three workers at once, up to five deaths."""
    fault = st.tuples(st.integers(1, 40), st.sampled_from(Fault))
    return Scenario(
        batches={f"b{number}": [f"r{row}" for row in range(draw(st.integers(0, 9)))] for number in range(4)},
        chunk_size=draw(st.integers(1, 8)),
        deaths=draw(st.lists(st.one_of(st.none(), fault), max_size=5)),
        workers=draw(st.integers(2, 3)),
        merges=draw(st.booleans()),
    )


class Watched(FaultyStore):
    """Sees to it that a batch is given back after its answers are stored."""

    lake: Lake

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        if key.startswith(layout.claims_prefix(DATASET, ANNOTATOR)) and isinstance(body, bytes):
            batch = layout.parse_claim(key.rpartition("/")[2]) or ""
            if ClaimRecord.from_json(body, key=key).seen is not None:
                missing = {(batch, name) for name in self.lake.scenario.batches[batch]} - set(self.lake.finished())
                self.lake.early.update(missing)
        return super().put(key, body, mode=mode)


class Lake:
    """A lake, and the workers on it."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.store = FolderStore(folder / "lake", durable=False)
        self.scenario = scenario
        self.asked: Counter[tuple[str, str]] = Counter()
        self.early: set[tuple[str, str]] = set()
        self.lost = 0

    def finished(self) -> Counter[tuple[str, str]]:
        """How many finished rows each row of the dataset has, wherever they are."""
        merged = [row for batch in self.scenario.batches for row in merged_rows(self.store, batch)]
        rows = [*chunk_rows(self.store), *merged]
        return Counter((row["_batch"], row["id"]) for row in rows if row["_status"] in FINISHED)

    async def worker(self, death: tuple[int, Fault] | None) -> AnnotationReport | None:
        """One process. When it is dead, its lease runs out (here: is taken away as if it had)."""
        asked: list[tuple[str, str]] = []

        def rule(item: DataItem) -> object:
            asked.append((item.batch, item.id))
            return {"n": 1}

        store = Watched(self.store, {} if death is None else dict([death]))
        store.lake = self
        rows = ListRows(self.scenario.batches, block=3)
        report = None
        with suppress(Crash, StoreError):
            report = await start(
                store, rows, Asked(rule), shared=True, chunk_size=self.scenario.chunk_size, max_concurrency=CONCURRENCY
            )
        prefix = layout.worker_leases_prefix(DATASET, ANNOTATOR)
        assert max(Counter(asked).values(), default=1) == 1, "one process asks a row once"
        self.asked.update(asked)
        if report is None:
            own = {one.key for one in store.operations if one.verb == "put" and one.key.startswith(prefix)}
            stored = self.finished()
            lost = [row for row in asked if row not in stored]
            assert len(lost) <= CONCURRENCY + (writer._UPLOADS + 2) * self.scenario.chunk_size
            self.lost += len(lost)
            for key in own:
                self.store.delete(key)
            if self.scenario.merges:
                merge_annotator(self.store, DATASET, ANNOTATOR)
        return report

    async def run(self) -> list[AnnotationReport | None]:
        """Some workers at once; in place of each that died another one starts, until there are no more deaths."""
        deaths = list(self.scenario.deaths)

        async def place() -> AnnotationReport | None:
            report = None
            while report is None:
                report = await self.worker(deaths.pop() if deaths else None)
            return report

        return await asyncio.gather(*(place() for _ in range(self.scenario.workers)))


def check(scenario: Scenario, folder: Path) -> None:
    """Nothing is missing, nothing twice, nothing paid twice but what was in flight."""
    lake = Lake(folder, scenario)
    reports = asyncio.run(lake.run())
    rows = {(batch, name) for batch, names in scenario.batches.items() for name in names}
    assert not lake.early, "a batch was given back before its answers were stored"
    merge_annotator(lake.store, DATASET, ANNOTATOR)
    assert lake.finished() == Counter(dict.fromkeys(rows, 1))
    assert sum(lake.asked.values()) == len(rows) + lake.lost
    for report in reports:
        assert report is not None
        assert (report.annotated + report.already_done, report.remaining, report.batches_left) == (len(rows), 0, 0)


@given(scenarios())
@settings(max_examples=examples(20))
def test_workers_that_die_anywhere_are_taken_over(scenario: Scenario) -> None:
    """Two or three at once, up to five deaths at any operation, merges between."""
    with tempfile.TemporaryDirectory() as folder:
        check(scenario, Path(folder))


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_death_at_every_operation_once(fault: Fault, tmp_path: Path) -> None:
    """One operation after the other, so that none is left to chance."""
    batches = {"b1": ["r1", "r2", "r3"], "b2": ["r1", "r2"]}
    for number in range(1, 26):
        check(Scenario(batches, 2, [(number, fault)], 2, merges=False), tmp_path / str(number))
