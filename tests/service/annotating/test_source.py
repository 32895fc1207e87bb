"""Blocks of rows from a thread: in order, a few ahead, closed, and errors are not the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Sequence

import pytest

from datalake_interfaces import DataItem
from datalake_service.annotating.source import Block, BlockSource, blocks_ahead


class Blocks:
    """Numbered blocks of one row, and what happened to their generator."""

    def __init__(self, count: int, *, error: Exception | None = None, empty: Sequence[int] = ()) -> None:
        self.count = count
        self.error = error
        self.empty = empty
        self.made = 0
        self.closed_in: threading.Thread | None = None

    def read(self) -> Generator[Block, None, None]:
        try:
            for number in range(self.count):
                self.made += 1
                yield [] if number in self.empty else [DataItem({}, str(number), "b")]
            if self.error is not None:
                raise self.error
        finally:
            self.closed_in = threading.current_thread()


async def take_all(source: BlockSource) -> list[str]:
    """The ids of all rows."""
    found: list[str] = []
    while (block := await source.next()) is not None:
        found += [item.id for item in block]
    return found


def test_all_blocks_in_order_empty_ones_left_out() -> None:
    """A batch without rows is not the end."""

    async def main() -> None:
        blocks = Blocks(50, empty=(0, 7, 49))
        source = BlockSource(blocks.read())
        assert await source.has_rows()
        assert await take_all(source) == [str(number) for number in range(50) if number not in (0, 7, 49)]
        assert not await source.has_rows()
        assert await source.next() is None

    asyncio.run(main())


def test_reading_stays_a_few_blocks_ahead() -> None:
    """However slow the workers are."""

    async def main() -> None:
        blocks = Blocks(100)
        source = BlockSource(blocks.read(), ahead=3)
        for taken in range(1, 20):
            await source.next()
            await asyncio.sleep(0.001)
            assert blocks.made <= taken + 3
        assert await source.stop(patience=60)
        assert blocks.made <= 23

    asyncio.run(main())


def test_an_error_comes_after_the_rows_before_it() -> None:
    """And again, for whoever asks."""

    async def main() -> None:
        source = BlockSource(Blocks(5, error=ValueError("the query failed")).read())
        for number in range(5):
            block = await source.next()
            assert block is not None
            assert block[0].id == str(number)
        for _ in range(2):
            with pytest.raises(ValueError, match="the query failed"):
                await source.next()
            with pytest.raises(ValueError, match="the query failed"):
                await source.has_rows()

    asyncio.run(main())


def test_stopping_closes_the_generator_in_its_own_thread() -> None:
    """A database connection is not handed from thread to thread."""

    async def main() -> None:
        blocks = Blocks(100)
        source = BlockSource(blocks.read())
        await source.next()
        assert await source.stop(patience=60)
        assert blocks.closed_in not in (None, threading.main_thread())

    asyncio.run(main())


def test_a_reader_that_does_not_end_is_left_behind() -> None:
    """A query that cannot be interrupted holds nobody up for longer than patience."""
    go_on = threading.Event()

    def stuck() -> Generator[Block, None, None]:
        go_on.wait()
        yield []

    async def main() -> None:
        source = BlockSource(stuck())
        assert not await source.stop(patience=0.01)

    asyncio.run(main())
    go_on.set()


@pytest.mark.parametrize(("rows", "least", "ahead"), [(1, 2, 2), (16, 1, 1), (1_000, 2, 9), (10**6, 2, 64)])
def test_as_many_rows_are_ahead_as_workers_ask_about(rows: int, least: int, ahead: int) -> None:
    """Twice as many, in blocks; not more than a machine holds."""
    assert blocks_ahead(rows, least=least) == ahead
