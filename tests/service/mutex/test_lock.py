"""The short lock over real connections: one holder at a time, and every wait has an end."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from datalake_service import WSSMutex
from datalake_service.errors import LeaseLostError, StoreError, StoreUnavailableError
from datalake_service.mutex import wire
from datalake_service.mutex.protocol import LONGEST_TTL
from datalake_utils.clock import ManualClock
from tests.support.mutex_locks import drop, mutex
from tests.support.mutex_server import mutex_server

# One holder -------------------------------------------------------------------------------------------------


def test_async_with_enters_and_tells(url: str, name: str) -> None:
    """The block runs with or without the lock; the lock says which, and is given back in the end."""

    async def fail_inside(lock: WSSMutex) -> None:
        async with lock:
            assert lock
            _ = 1 / 0

    async def run() -> None:
        async with WSSMutex(url, name, owner="the first") as first:
            assert first
            async with WSSMutex(url, name, wait_ms=0) as second:
                assert not second
                assert second.holder is not None
                assert second.holder.in_words() == "the first, for 10 s at most"
            assert first, "a lock that was not taken gives nothing back"
            await first.renew()
        assert not first
        third = WSSMutex(url, name)
        with pytest.raises(ZeroDivisionError):
            await fail_inside(third)
        assert not third
        async with WSSMutex(url, name, wait_ms=0) as fourth:
            assert fourth

    asyncio.run(run())


@pytest.mark.parametrize(("one", "other"), [("a/b", "a-b"), ("a b", "a+b"), ("a%2Fb", "a/b"), ("ä", "a"), ("A", "a")])
def test_different_names_are_different_locks(url: str, one: str, other: str) -> None:
    """Nothing is replaced in a name."""
    first, second = mutex(url, one), mutex(url, other)
    assert first.acquire()
    assert second.acquire()
    first.release()
    second.release()


def test_who_waits_gets_it_when_it_is_given_back(url: str, name: str) -> None:
    """Long before the time limit."""
    first, second = mutex(url, name), mutex(url, name)
    assert first.acquire()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.acquire, wait=timedelta(seconds=60))
        while second.holder is None:
            time.sleep(0.01)
        assert not waiting.done()
        first.release()
        assert waiting.result(30)
    second.release()


def test_of_many_threads_one_at_a_time_holds_it(url: str, name: str) -> None:
    """Each reads a number, dawdles, and writes back one more: none is lost."""
    count = 0

    def add(_: int) -> None:
        nonlocal count
        lock = mutex(url, name)
        assert lock.acquire(wait=timedelta(seconds=60))
        seen = count
        time.sleep(0.005)
        count = seen + 1
        assert lock.held
        lock.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert count == 40


# Time limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl_ms", [0, -1, 60_001])
def test_a_time_limit_is_a_minute_at_most(url: str, name: str, ttl_ms: int) -> None:
    """The client says so before it asks."""
    with pytest.raises(ValueError, match="between 1 ms and 60 s"):
        WSSMutex(url, name, ttl_ms=ttl_ms)


def test_the_server_grants_no_more_than_a_minute(url: str, name: str) -> None:
    """Whatever a client of another make asks for."""
    lock = mutex(url, name)
    lock._ttl = LONGEST_TTL * 2
    with pytest.raises(StoreError, match="ttlMs must be 1 to 60000"):
        lock.acquire()


def test_a_holder_that_sleeps_too_long_holds_nothing(name: str) -> None:
    """It knows by its own clock, the server by its own; what it does late harms nobody."""
    server, sleeper_clock = ManualClock(), ManualClock()
    with mutex_server(clock=server) as url:
        sleeper, second, third = mutex(url, name, clock=sleeper_clock), mutex(url, name), mutex(url, name)
        assert sleeper.acquire()
        sleeper_clock.advance(10)
        assert not sleeper.held
        assert not second.acquire(), "the server keeps it a little longer"
        server.advance(10.2)
        assert second.acquire()
        with pytest.raises(LeaseLostError, match="ran out"):
            sleeper.renew()
        sleeper.release()
        assert second.held
        assert not third.acquire()
        second.release()


def test_a_renewal_that_comes_too_late_is_no_renewal(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one may have had the lock between the old time limit and the answer."""
    clock = ManualClock()
    lock = mutex(url, name, clock=clock)
    assert lock.acquire()
    ask = wire.Wire.ask

    def slow(self: wire.Wire, kind: str, **arguments: Any) -> dict[str, object]:
        clock.advance(11)
        return ask(self, kind, **arguments)

    monkeypatch.setattr(wire.Wire, "ask", slow)
    with pytest.raises(LeaseLostError, match="in time"):
        lock.renew()
    assert not lock.held


def test_the_deadline_counts_from_before_the_request(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may have granted it at any time since; an answer that comes after the deadline is no lock."""
    clock, ask = ManualClock(), wire.Wire.ask
    seconds = [3.0]

    def slow(self: wire.Wire, kind: str, **arguments: Any) -> dict[str, object]:
        answer = ask(self, kind, **arguments)
        clock.advance(seconds[0])
        return answer

    monkeypatch.setattr(wire.Wire, "ask", slow)
    lock = mutex(url, name, clock=clock)
    assert lock.acquire()
    assert lock.remaining == 7
    lock.release()
    seconds[0] = 10
    assert not lock.acquire()
    assert not lock.held


def test_a_lock_is_renewed_again_and_again(name: str) -> None:
    """Its deadline counts from before each request."""
    server, mine = ManualClock(), ManualClock()
    with mutex_server(clock=server) as url:
        lock, other = mutex(url, name, clock=mine), mutex(url, name)
        assert lock.acquire()
        for _ in range(5):
            server.advance(9)
            mine.advance(9)
            lock.renew()
            assert lock.remaining == 10
            assert not other.acquire()
        lock.release()


def test_waiting_ends(url: str, name: str) -> None:
    """A lock that is never given back is not waited for longer than was said."""
    first, clock = mutex(url, name), ManualClock()
    second = mutex(url, name, clock=clock)
    assert first.acquire()
    assert not second.acquire(wait=timedelta(seconds=3))
    assert clock.monotonic() <= 3
    first.release()


# Broken connections -----------------------------------------------------------------------------------------


def test_a_connection_that_broke_ends_no_lock(url: str, name: str) -> None:
    """Its holder may be at work: it can renew, and give back, over another connection."""
    first, second = mutex(url, name), mutex(url, name)
    assert first.acquire()
    drop(first)
    assert not second.acquire(wait=timedelta(milliseconds=300))
    with pytest.raises(StoreUnavailableError, match="broke"):
        first.renew()
    assert first.held, "until its old deadline"
    first.renew()
    drop(first)
    with pytest.raises(StoreUnavailableError):
        first.renew()
    first.release()
    assert second.acquire()
    second.release()


def test_a_holder_that_vanished_is_waited_for(name: str) -> None:
    """Nobody knows what it has under way: its time limit decides."""
    clock = ManualClock()
    with mutex_server(clock=clock) as url:
        dead, next_one = mutex(url, name), mutex(url, name)
        assert dead.acquire()
        drop(dead)
        clock.advance(10)
        assert not next_one.acquire()
        clock.advance(0.2)
        assert next_one.acquire()
        next_one.release()


def test_a_broken_connection_hides_no_error(url: str, name: str) -> None:
    """Giving back fails quietly; what the body raised comes out."""

    async def run() -> None:
        async with WSSMutex(url, name) as lock:
            drop(lock._mutex)
            raise KeyError("the body's")

    with pytest.raises(KeyError, match="the body's"):
        asyncio.run(run())


def test_an_answer_that_was_lost_is_asked_for_again(url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server granted it: the same client gets it again at once, and does not wait for itself."""
    ask, asked = wire.Wire.ask, []

    def lossy(self: wire.Wire, kind: str, **arguments: Any) -> dict[str, object]:
        answer = ask(self, kind, **arguments)
        asked.append(answer["type"])
        if len(asked) == 1:
            raise StoreUnavailableError("planned: lost")
        return answer

    monkeypatch.setattr(wire.Wire, "ask", lossy)
    lock = mutex(url, name)
    assert lock.acquire(wait=timedelta(seconds=5))
    assert asked == ["granted", "granted"]
    lock.release()


def test_a_server_that_was_started_again_grants_nothing_at_first(name: str) -> None:
    """It cannot know what the one before it granted; the holder, who knows, goes on until its deadline."""
    server = ManualClock()
    with mutex_server(clock=server) as url:
        holder = mutex(url, name)
        assert holder.acquire()
    port = urlsplit(url).port or 0
    with mutex_server(clock=server, quiet=None, port=port):
        other = mutex(url, name)
        assert not other.acquire()
        assert other.holder is not None
        assert "before the server was started" in other.holder.owner
        assert holder.held
        with pytest.raises(StoreUnavailableError):  # the old connection is gone
            holder.renew()
        with pytest.raises(LeaseLostError):
            holder.renew()
        server.advance(60.1)
        assert not other.acquire()
        server.advance(0.1)
        assert other.acquire()
        other.release()


def test_a_server_that_comes_back_soon_is_waited_for(name: str) -> None:
    """A short absence is no failure."""
    with mutex_server() as url:
        pass
    lock = mutex(url, name)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lock.acquire, wait=timedelta(seconds=30))
        time.sleep(0.3)
        with mutex_server(port=urlsplit(url).port or 0):
            assert waiting.result(30)
            lock.release()


def test_a_cancelled_taker_leaves_the_lock_free(url: str, name: str) -> None:
    """It gives up at once, and gives back what it got after all."""

    async def run() -> None:
        holder = mutex(url, name)
        assert holder.acquire()
        lock = WSSMutex(url, name, wait_ms=60_000)
        task = asyncio.create_task(lock.acquire())
        while lock.holder is None:  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.01)
        task.cancel()
        holder.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not lock

    asyncio.run(run())
    after = mutex(url, name)
    assert after.acquire()
    after.release()
