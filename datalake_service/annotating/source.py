"""Rows read in a thread for workers on the event loop, a bounded number of blocks ahead.

Knows nothing of what is read. The rows before an error of the reader are handed out, then the error is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from threading import Semaphore, Thread

from datalake_interfaces.annotators import DataItem

AHEAD = 2
"""Blocks that wait while another one is being worked on, at least."""
_BLOCK_ROWS = 256
"""Rows in most blocks."""
_MOST_AHEAD = 64


def blocks_ahead(rows_at_once: int, *, least: int = AHEAD) -> int:
    """How many blocks wait for workers that ask about so many rows at once.

    Calls that took equally long end together: then as many rows have to be there, because the reader's thread gets
    the interpreter only every few milliseconds while the event loop is busy.
    """
    return min(_MOST_AHEAD, least + 2 * rows_at_once // _BLOCK_ROWS)


Block = Sequence[DataItem]


class BlockSource:
    """The blocks of a generator, which runs in a thread of its own from start to end.

    Make it on the event loop that calls its methods.
    """

    def __init__(self, blocks: Generator[Block, None, None], *, ahead: int = AHEAD) -> None:
        """Start to read ``blocks``, never more than ``ahead`` of them before they are asked for."""
        self._blocks = blocks
        self._room = Semaphore(ahead)
        self._ready: deque[Block] = deque()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._thread = Thread(target=self._read, name="rows", daemon=True)
        self._thread.start()

    async def has_rows(self) -> bool:
        """Whether ``next`` would answer a block; waits until that is known.

        Raises:
            Exception: What the generator raised.
        """
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self._ended:
                return False
            self._arrived.clear()
            await self._arrived.wait()
        return True

    async def next(self) -> Block | None:
        """The next block, which has at least one row; ``None``: that was all. Called by one at a time.

        Raises:
            Exception: What the generator raised.
        """
        if not await self.has_rows():
            return None
        self._room.release()
        return self._ready.popleft()

    async def stop(self, *, patience: float) -> bool:
        """End reading and close the generator; returns whether it ended within ``patience`` seconds.

        A query cannot be interrupted; the thread that waits for it ends after it.
        """
        self._stopped = True
        self._room.release()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not self._ended:
                    self._arrived.clear()
                    await self._arrived.wait()
        return self._ended

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            with closing(self._blocks):
                while self._wait_for_room() and (block := next(self._blocks, None)) is not None:
                    if block:
                        self._tell(block)
                    else:
                        self._room.release()
        except BaseException as raised:  # noqa: BLE001 - raised again where the blocks are awaited
            error = raised
        self._tell(error)

    def _wait_for_room(self) -> bool:
        self._room.acquire()
        return not self._stopped

    def _tell(self, news: Block | BaseException | None) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._hear, news)

    def _hear(self, news: Block | BaseException | None) -> None:
        if news is None or isinstance(news, BaseException):
            self._error, self._ended = news, True
        else:
            self._ready.append(news)
        self._arrived.set()
