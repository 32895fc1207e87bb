"""News: what changed in the lake, told to everybody who listens. Nobody listens, nobody looks.

One watcher for the process. It looks at what somebody listens to, and less often while nothing changes. An event's
id is made of what it says, so a page that comes back, to this server or to the next one, is told only what is new.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from starlette.concurrency import run_in_threadpool

from datalake_service.errors import DatalakeError
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.pipeline.live.overview import count_dataset
from datalake_service.viewer.cells import dump

KEEP_ALIVE_SECONDS: Final = 15.0
_SLOWER: Final = 1.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a lake is looked at while somebody listens."""

    fastest: float
    """Seconds between two looks after something changed."""
    slowest: float
    """Seconds between two looks when nothing has changed for long."""


LOCAL_PACE: Final = Pace(1.0, 10.0)
REMOTE_PACE: Final = Pace(5.0, 60.0)


@dataclass(eq=False, slots=True)
class _Listener:
    """One open connection."""

    dataset: str | None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    told: dict[str, str] | None = None
    rows: int | None = None
    closing: bool = False


class Watcher:
    """Looks at a lake for those who listen. Belongs to one event loop."""

    def __init__(
        self, lake: LiveLake, pace: Pace, *, waiting: Callable[[asyncio.Event, float], Awaitable[None]] | None = None
    ) -> None:
        """Look at ``lake`` as often as ``pace`` says.

        Args:
            lake: What is looked at.
            pace: How often.
            waiting: Waits until somebody new listens, so many seconds at most; for those who turn a clock.
        """
        self._lake = lake
        self._pace = pace
        self._waiting = waiting or _wait
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._versions: dict[str, str] = {}
        self._rows: dict[str, int] = {}
        self.looks = 0
        """How often the lake was looked at; for whoever counts requests."""

    async def listen(self, dataset: str | None, last_id: str | None) -> AsyncGenerator[bytes, None]:
        """The text of events, for as long as somebody reads it."""
        listener = _Listener(dataset)
        self._listeners.add(listener)
        self._hurry.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield b": listening\nretry: 2000\n\n"
            while not listener.closing:
                try:
                    await asyncio.wait_for(listener.changed.wait(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield b": keep-alive\n\n"
                    continue
                listener.changed.clear()
                for event in self._news(listener, last_id):
                    yield event
                last_id = None
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all connections: a server that stops does not wait for them."""
        for listener in self._listeners:
            listener.closing = True
            listener.changed.set()

    def _news(self, listener: _Listener, last_id: str | None) -> list[bytes]:
        versions = self._seen_by(listener)
        if listener.told is None and last_id is not None and last_id == _id(versions):
            listener.told = versions
        events = []
        if versions != listener.told:
            listener.told = versions
            events.append(_event("lake", {"datasets": versions}, _id(versions)))
            if listener.dataset in versions:
                rows = self._rows.get(listener.dataset, 0)
                new = 0 if listener.rows is None else rows - listener.rows
                what = {"dataset": listener.dataset, "version": versions[listener.dataset], "rows": rows}
                events.append(_event("dataset", {**what, "newRows": new}, _id(versions)))
        if listener.dataset is not None:
            listener.rows = self._rows.get(listener.dataset, 0)
        return events

    def _seen_by(self, listener: _Listener) -> dict[str, str]:
        if listener.dataset is None:
            return dict(self._versions)
        return {name: version for name, version in self._versions.items() if name == listener.dataset}

    async def _watch(self) -> None:
        """Look, tell, wait; as long as somebody listens."""
        wait = self._pace.fastest
        while self._listeners:
            self._hurry.clear()
            wanted = {listener.dataset for listener in self._listeners}
            try:
                changed = await run_in_threadpool(self._look, wanted)
            except DatalakeError:
                changed = False  # the store is away: the next look may find it again
            for listener in self._listeners:
                if changed or listener.told is None:
                    listener.changed.set()
            wait = self._pace.fastest if changed else min(wait * _SLOWER, self._pace.slowest)
            await self._waiting(self._hurry, wait)

    def _look(self, wanted: set[str | None]) -> bool:
        """Look at what somebody listens to; whether anything changed."""
        self.looks += 1
        everything = None in wanted
        names = self._lake.datasets() if everything else sorted(name for name in wanted if name is not None)
        found = {name: self._lake.look(name) for name in names}
        versions = {name: look.version for name, look in found.items() if look.objects}
        kept = {} if everything else {name: self._versions[name] for name in self._versions.keys() - set(names)}
        changed = {**kept, **versions} != self._versions
        for name in sorted(name for name in wanted if name in versions):
            if versions[name] != self._versions.get(name) or name not in self._rows:
                numbers = count_dataset(self._lake, name)
                self._rows[name] = numbers.rows + sum(batch.waiting_rows for batch in numbers.batches.values())
        self._versions = {**kept, **versions}
        return changed


async def _wait(hurry: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(hurry.wait(), seconds)


def _id(versions: Mapping[str, str]) -> str:
    return blake2b(repr(sorted(versions.items())).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _event(name: str, data: object, event_id: str) -> bytes:
    return b"event: " + name.encode() + b"\nid: " + event_id.encode() + b"\ndata: " + dump(data) + b"\n\n"
