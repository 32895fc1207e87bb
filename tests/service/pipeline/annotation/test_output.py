"""Results on their way to the store: what is left to do in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from datalake_service.catalog.parts import Part
from datalake_service.pipeline.annotation.batch_turns import OpenTurns, Turn
from datalake_service.pipeline.annotation.output import AnnotationOutput
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.leftovers import claim


class ByHand(Executor):
    """What is to run in threads runs when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Future[Any]()
        self.waiting.append((future, partial(fn, *args, **kwargs)))
        return future

    def finish(self, number: int = 0) -> None:
        future, call = self.waiting.pop(number)
        future.set_result(call())

    async def has(self, count: int) -> None:
        """Let the event loop turn until so many wait."""
        for _ in range(100):
            if len(self.waiting) == count:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{len(self.waiting)} wait, not {count}")


def test_a_batch_that_is_given_back_in_the_last_moment_holds_up_no_end(folder_store: FolderStore) -> None:
    """The end finds it given back in that turn of the event loop in which who notes it has not been told yet."""
    clock, threads, given = ManualClock(), ByHand(), list[str]()

    def give_back(turns: Sequence[Turn]) -> None:
        given.extend(turn.part.name for turn in turns)

    def replace(row: dict[str, Any], _: object) -> dict[str, Any]:
        return row

    async def play() -> None:
        turns = OpenTurns(give_back)
        output = AnnotationOutput(
            claim(folder_store), {}, replace=replace, max_age=30, threads=threads, clock=clock, turns=turns
        )
        turns.begin(Turn(Part("b1", rows=0), all_read=True))
        clock.advance(60)
        output.tick()
        await threads.has(1)
        threads.finish()  # the chunk is stored, so the batch is given back
        await threads.has(1)
        closing = asyncio.create_task(output.close())
        await threads.has(2)
        threads.finish(1)  # the manifest is complete
        await asyncio.sleep(0)
        threads.finish()
        await closing

    asyncio.run(play())
    assert given == ["b1"]
