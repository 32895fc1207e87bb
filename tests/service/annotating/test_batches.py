"""Batches: who is in one, and when it is made; nobody waits for rows that will not come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_interfaces import BatchAnnotator, BatchAnswers, DataItem, spend_together
from datalake_service.annotating.batches import BatchLimits, Gathering, RowBatch, answers_of
from datalake_service.annotating.results import Failure
from datalake_service.errors import HandlerLoadError
from tests.support.virtual_time import LoopClock, run


def item(number: int, text: str = "") -> DataItem:
    """Any row."""
    return DataItem({"text": text}, f"r{number}", "b")


@dataclass
class Blocks:
    """A source: blocks, each some time after the one before was taken."""

    blocks: list[tuple[float, list[DataItem]]]
    end_after: float = 0.0

    async def next(self) -> Sequence[DataItem] | None:
        if not self.blocks:
            await asyncio.sleep(self.end_after)
            return None
        wait, block = self.blocks.pop(0)
        await asyncio.sleep(wait)
        return block


def gathering(source: Blocks, limits: BatchLimits) -> Gathering:
    """Of a source that is none of ours."""
    given: Any = source
    return Gathering(given, limits, monotonic=LoopClock().monotonic)


async def gathered(source: Blocks, limits: BatchLimits) -> list[tuple[float, list[str]]]:
    """All batches: when each was made, and its rows."""
    made = []
    began = asyncio.get_running_loop().time()
    batches = gathering(source, limits)
    while (batch := await batches.next()) is not None:
        made.append((asyncio.get_running_loop().time() - began, [row.id for row in batch.rows]))
    return made


def test_a_full_batch_waits_for_nobody() -> None:
    """Rows that are there make full batches at once, whatever blocks they came in; the last one goes at the end."""
    source = Blocks([(0.0, [item(0), item(1)]), (0.0, [item(number) for number in range(2, 7)])])
    made = run(gathered(source, BatchLimits(rows=3, seconds=60.0)))
    assert made == [(0.0, ["r0", "r1", "r2"]), (0.0, ["r3", "r4", "r5"]), (0.0, ["r6"])]


def test_a_batch_that_is_not_full_goes_when_its_first_row_has_waited() -> None:
    """The wait is counted from the first row, not from the last one."""
    source = Blocks([(0.0, [item(0)]), (0.4, [item(1)]), (0.4, [item(2)]), (9.0, [item(3)])])
    made = run(gathered(source, BatchLimits(rows=8, seconds=1.0)))
    assert [rows for _, rows in made] == [["r0", "r1", "r2"], ["r3"]]
    assert made[0][0] == pytest.approx(1.0)
    assert made[1][0] == pytest.approx(9.8)


def test_weight_cuts_a_batch_and_a_heavy_row_goes_alone() -> None:
    """No batch weighs more than it may, but for one row that does so by itself."""
    rows = [item(0, "aa"), item(1, "aa"), item(2, "a" * 9), item(3, "a"), item(4, "aaaa")]
    limits = BatchLimits(rows=10, seconds=0.0, weight=5, weigh=lambda row: len(row.data["text"]))
    assert [names for _, names in run(gathered(Blocks([(0.0, rows)]), limits))] == [
        ["r0", "r1"],
        ["r2"],
        ["r3", "r4"],
    ]


def test_rows_that_come_back_are_waited_for_only_when_nothing_else_is_there() -> None:
    """A batch at the end of the source does not wait for one that comes back later than it may wait."""

    async def work() -> list[tuple[float, list[str]]]:
        batches = gathering(Blocks([(0.0, [item(0)])]), BatchLimits(rows=4, seconds=1.0))
        batches.come_back(item(7), after=30.0)
        batches.come_back(item(8), after=0.5)
        made = []
        began = asyncio.get_running_loop().time()
        while (batch := await batches.next()) is not None:
            made.append((asyncio.get_running_loop().time() - began, [row.id for row in batch.rows]))
        return made

    made = run(work())
    assert [(round(when, 3), rows) for when, rows in made] == [(0.5, ["r0", "r8"]), (30.0, ["r7"])]


@dataclass
class Simulation:
    """Workers that gather, ask and sometimes let rows come back; what was asked, and how long batches had waited."""

    limits: BatchLimits
    workers: int
    seconds: float
    troubles: dict[str, list[float]]
    """By row, after how long it comes back, each time."""
    asked: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    async def play(self, source: Blocks) -> None:
        batches = gathering(source, self.limits)

        async def worker() -> None:
            while (batch := await batches.next()) is not None:
                self.sizes.append(len(batch.rows))
                self.asked += [row.id for row in batch.rows]
                await asyncio.sleep(self.seconds)
                for row in batch.rows:
                    if self.troubles.get(row.id):
                        batches.come_back(row, after=self.troubles[row.id].pop(0))

        await asyncio.gather(*(worker() for _ in range(self.workers)))


short = st.floats(0, 3, allow_nan=False)


@given(
    sizes=st.lists(st.tuples(short, st.integers(1, 9)), max_size=6),
    most=st.integers(1, 5),
    patience=short,
    workers=st.integers(1, 4),
    seconds=short,
    troubles=st.dictionaries(st.integers(0, 30), st.lists(short, max_size=3), max_size=6),
    end_after=short,
)
def test_every_row_is_asked_and_nobody_waits_for_ever(
    sizes: list[tuple[float, int]],
    most: int,
    patience: float,
    workers: int,
    seconds: float,
    troubles: dict[int, list[float]],
    end_after: float,
) -> None:
    """Whatever comes when: each row once, and once more for each time that it came back; no batch is too large.

    The loop raises when all wait and nothing will ever happen.
    """
    numbers = iter(range(1_000))
    blocks = [(wait, [item(next(numbers)) for _ in range(size)]) for wait, size in sizes]
    rows = [row.id for _, block in blocks for row in block]
    returns = {f"r{number}": list(waits) for number, waits in troubles.items()}
    expected = sorted([*rows, *(name for name in rows for _ in returns.get(name, ()))])
    simulation = Simulation(BatchLimits(rows=most, seconds=patience), workers, seconds, returns)
    run(simulation.play(Blocks(blocks, end_after)))
    assert sorted(simulation.asked) == expected
    assert max(simulation.sizes, default=1) <= most


@given(count=st.integers(1, 200), most=st.integers(1, 40), workers=st.integers(1, 6), seconds=short)
def test_batches_are_full_while_rows_are_there(count: int, most: int, workers: int, seconds: float) -> None:
    """However many workers gather: as few batches as there can be, and no time is spent on waiting."""
    simulation = Simulation(BatchLimits(rows=most, seconds=5.0), workers, seconds, {})
    began_ended: list[float] = []

    async def play() -> None:
        loop = asyncio.get_running_loop()
        began_ended.append(loop.time())
        await simulation.play(Blocks([(0.0, [item(number)]) for number in range(count)]))
        began_ended.append(loop.time())

    run(play())
    batches = -(-count // most)
    assert len(simulation.sizes) == batches
    began, ended = began_ended
    # A billionth of a second is below what a loop tells apart.
    assert ended - began == pytest.approx(-(-batches // workers) * seconds, abs=1e-9)


def test_what_happens_to_a_batch_happens_to_its_rows() -> None:
    """Attempts and errors are those of all rows; what they cost is added up, the same object as long as it is equal."""
    rows = [item(0), item(1), item(2)]
    batch = RowBatch(rows)
    rows[1].attempt = 3
    assert batch.attempt == 3
    batch.attempt += 1
    assert [row.attempt for row in rows] == [2, 4, 2]
    error = ValueError("no")
    batch.error = error
    assert {row.error for row in rows} == {error} == {batch.error}
    before = batch.usage
    assert batch.usage is before
    spend_together(rows, input_tokens=10, output_tokens=2, cost=0.5)
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (10, 2)
    assert batch.usage is batch.usage is not before


@given(tokens=st.integers(0, 10_000), rows=st.integers(1, 50))
def test_what_a_call_has_cost_is_spread_evenly_and_exactly(tokens: int, rows: int) -> None:
    """The shares add up, and differ by one at most."""
    items = [item(number) for number in range(rows)]
    spend_together(items, input_tokens=tokens, cost=1.0)
    shares = sorted(one.usage.input_tokens for one in items)
    assert sum(shares) == tokens
    assert shares[-1] - shares[0] <= 1
    assert sum(one.usage.cost for one in items) == pytest.approx(1.0)
    assert all(one <= other for one, other in pairwise(shares))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([{}], "annotate_batch answered 1 for 2 rows; answer one for each row, in their order"),
        ([{}] * 3, "annotate_batch answered 3 for 2 rows; answer one for each row, in their order"),
        ({"r0": {}, "r1": {}}, "annotate_batch answered dict; answer a list, one for each row"),
        (None, "annotate_batch answered NoneType; answer a list, one for each row"),
        ("ab", "annotate_batch answered str; answer a list, one for each row"),
    ],
)
def test_an_answer_is_one_for_each_row(answer: object, message: str) -> None:
    """Anything else says what is wrong with it."""
    found = answers_of(RowBatch([item(0), item(1)]), answer)
    assert isinstance(found, Failure)
    assert found.message == message


class Sized(BatchAnnotator):
    """Says sizes."""

    def __init__(self, **sizes: Any) -> None:
        for name, value in sizes.items():
            setattr(self, name, value)

    def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
        return [{"n": len(items)} for _ in items]

    def weigh(self, item: DataItem) -> int:
        raise KeyError(item.id)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"max_batch_size": 0}, "Sized.max_batch_size must be a whole number, at least 1, not 0"),
        ({"max_batch_size": 1.5}, "Sized.max_batch_size must be a whole number, at least 1, not 1.5"),
        ({"max_batch_weight": -1}, "Sized.max_batch_weight must be a whole number, at least 1, not -1"),
        ({"max_wait_seconds": -1}, "Sized.max_wait_seconds must be between 0 and 3600, not -1"),
        ({"max_wait_seconds": None}, "Sized.max_wait_seconds must be between 0 and 3600, not None"),
        ({"max_wait_seconds": float("nan")}, "Sized.max_wait_seconds must be between 0 and 3600, not nan"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: dict[str, Any], message: str) -> None:
    """One line that names the class and the attribute."""
    with pytest.raises(HandlerLoadError) as caught:
        BatchLimits.of(Sized(**sizes))
    assert str(caught.value) == message


def test_a_row_that_cannot_be_weighed_goes_alone() -> None:
    """The annotator's own mistake in ``weigh`` ends no run."""
    limits = BatchLimits.of(Sized(max_batch_weight=10, max_wait_seconds=0))
    made = run(gathered(Blocks([(0.0, [item(0), item(1)])]), limits))
    assert [rows for _, rows in made] == [["r0"], ["r1"]]


def test_one_row_is_a_batch_of_its_own() -> None:
    """A batch annotator can be called like any other, plain or async."""
    assert Sized().annotate(item(0)) == {"n": 1}

    class Waits(Sized):
        async def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:  # type: ignore[override]  # may be async as well
            await asyncio.sleep(0)
            return [ValueError("this row") for _ in items]

    waiting: Any = Waits().annotate(item(0))
    with pytest.raises(ValueError, match="this row"):
        asyncio.run(waiting)
