"""Annotation dies at any operation of the store, again and again: what is stored is neither lost nor paid for twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import DataItem, SkipDoc
from datalake_service.chunks import writer
from datalake_service.errors import StoreError
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.crash.deaths import examples
from tests.support.annotations import (
    ANNOTATOR,
    DATASET,
    FINISHED,
    Asked,
    ListRows,
    chunk_rows,
    merge_by_hand,
    merged_rows,
    run,
    start,
)
from tests.support.faulty_store import Crash, Fault, FaultyStore

TTL_SECONDS = 3_600


@dataclass(frozen=True)
class Scenario:
    """What is annotated, how, and what goes wrong in each attempt."""

    batches: dict[str, list[str]]
    chunk_size: int
    concurrency: int
    block: int
    faults: Sequence[tuple[int, Fault]]
    """For each attempt: at which operation what happens."""
    merges: Sequence[bool]
    """Before each attempt: whether everything is merged."""
    by_hand: bool = True
    """Whether the merges are those of the model, or the product's."""


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Two batches with partly equal ids, small chunks, up to five attempts that fail."""
    faults = draw(st.lists(st.tuples(st.integers(1, 30), st.sampled_from(Fault)), max_size=5))
    return Scenario(
        batches={
            "b1": [f"r{number}" for number in range(draw(st.integers(0, 25)))],
            "b10": [f"r{number}" for number in range(draw(st.integers(0, 10)))],
        },
        chunk_size=draw(st.integers(1, 8)),
        concurrency=draw(st.integers(1, 4)),
        block=draw(st.integers(1, 9)),
        faults=faults,
        merges=draw(st.lists(st.booleans(), min_size=len(faults) + 1, max_size=len(faults) + 1)),
        by_hand=draw(st.booleans()),
    )


def answer(item: DataItem) -> object:
    """Every fifth row is left out, the others get a column."""
    return SkipDoc() if item.id.endswith(("0", "5")) else {"n": len(item.id)}


class Lake:
    """A lake whose clock is turned by hand, and the attempts on it."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.clock = ManualClock()
        self.store = FolderStore(folder / "lake", durable=False, clock=self.clock)
        self.folder = folder
        self.scenario = scenario
        self.paid: Counter[tuple[str, str]] = Counter()

    def finished(self) -> Counter[tuple[str, str]]:
        """How many finished rows each row of the dataset has, wherever they are."""
        rows = chunk_rows(self.store) + [
            row for batch in self.scenario.batches for row in merged_rows(self.store, batch)
        ]
        return Counter((row["_batch"], row["id"]) for row in rows if row["_status"] in FINISHED)

    def merge(self) -> None:
        """Bring chunks into merged objects."""
        if self.scenario.by_hand:
            merge_by_hand(self.store, self.folder)
        else:
            merge_annotator(self.store, DATASET, ANNOTATOR)

    def attempt(self, plan: dict[int, Fault]) -> int:
        """One process; returns how many answers it lost."""
        before = self.finished()
        asked: list[tuple[str, str]] = []

        def rule(item: DataItem) -> object:
            asked.append((item.batch, item.id))
            return answer(item)

        scenario = self.scenario
        with suppress(Crash, StoreError):
            run(
                FaultyStore(self.store, plan, clock=self.clock),
                ListRows(scenario.batches, block=scenario.block),
                Asked(rule),
                chunk_size=scenario.chunk_size,
                max_concurrency=scenario.concurrency,
                lock_ttl_ms=TTL_SECONDS * 1_000,
            )
        self.clock.advance(TTL_SECONDS + 10)  # a dead worker's lease runs out
        after = self.finished()
        assert all(after[row] == count for row, count in before.items()), "what was stored stays, once"
        assert not set(asked) & set(before), "a stored answer is never paid for again"
        assert max(Counter(asked).values(), default=1) == 1, "one process asks a row once"
        self.paid.update(asked)
        return len(asked) - (sum(after.values()) - sum(before.values()))


@given(scenarios())
@settings(max_examples=examples(25))
def test_killed_anywhere_it_finishes_without_paying_twice(scenario: Scenario) -> None:
    """After any faults, one run without faults completes: each row has exactly one finished annotation."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder), scenario)
        lost = 0
        for (number, fault), merge in zip(scenario.faults, scenario.merges, strict=False):
            if merge:
                lake.merge()
            lost_now = lake.attempt({number: fault})
            # In flight, in the chunk being filled, in chunks on their way or refused because one of those failed.
            assert lost_now <= scenario.concurrency + (writer._UPLOADS + 2) * scenario.chunk_size
            lost += lost_now
        if scenario.merges[-1]:
            lake.merge()
        assert lake.attempt({}) == 0
        rows = {(batch, name) for batch, names in scenario.batches.items() for name in names}
        assert lake.finished() == Counter(dict.fromkeys(rows, 1))
        assert sum(lake.paid.values()) == len(rows) + lost
        lake.merge()
        assert lake.finished() == Counter(dict.fromkeys(rows, 1))
        assert chunk_rows(lake.store) == []


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
def test_killed_at_every_operation_once(fault: Fault, tmp_path: Path) -> None:
    """The same, one operation after the other, so that none is left to chance."""
    scenario = Scenario({"b1": [f"r{number}" for number in range(12)]}, 3, 2, 4, [], [False])
    clean = FaultyStore(FolderStore(tmp_path / "clean", durable=False))
    run(clean, ListRows(scenario.batches, block=4), Asked(answer), chunk_size=3, max_concurrency=2)
    assert len(clean.operations) > 8
    for number in range(1, len(clean.operations) + 1):
        lake = Lake(tmp_path / str(number), scenario)
        lake.attempt({number: fault})
        assert lake.attempt({}) == 0
        assert lake.finished() == Counter(dict.fromkeys((("b1", name) for name in scenario.batches["b1"]), 1))


def test_a_merge_in_the_middle_hides_nothing(tmp_path: Path) -> None:
    """Chunks are merged and deleted after they were listed: their rows are found in the merged object."""
    store = FolderStore(tmp_path / "lake", durable=False)
    rows = ListRows({"b1": [f"r{number}" for number in range(20)]})
    run(store, rows, Asked(answer), chunk_size=4)

    class MergesMeanwhile(FaultyStore):
        merged = False

        def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
            if not self.merged and key.endswith(".jsonl"):
                self.merged = True
                merge_by_hand(store, tmp_path)
            return super().open(key, start=start, end=end, etag=etag)

    asked = Asked(answer)
    report = run(MergesMeanwhile(store), rows, asked)
    assert (asked.ids, report.already_done) == ([], 20)


def test_two_workers_at_once_pay_once(tmp_path: Path) -> None:
    """One of them is refused; together they ask each row once."""
    store = FolderStore(tmp_path / "lake", durable=False)
    rows = ListRows({"b1": [f"r{number}" for number in range(50)]})
    asked = [Asked(answer) for _ in range(4)]

    async def both() -> list[object]:
        return await asyncio.gather(*(start(store, rows, one) for one in asked), return_exceptions=True)

    outcomes = [type(outcome).__name__ for outcome in asyncio.run(both())]
    assert outcomes.count("AnnotationReport") >= 1
    assert set(outcomes) <= {"AnnotationReport", "AnnotationLockError"}
    assert sorted(name for one in asked for name in one.ids) == sorted(rows.batches["b1"])
