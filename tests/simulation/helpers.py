"""What stands in for the product's helper threads during a simulation, so that the scheduler decides about them."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Self

import pytest

from datalake_service.catalog import lease_keeper
from datalake_service.chunks import writer
from datalake_service.pipeline.annotation import finished_rows
from datalake_service.pipeline.merging import merge
from tests.simulation.scheduler import Crash, Scheduler, Signal, Thread, running


class Pool:
    """An executor whose threads are tasks of the scheduler, one for each call."""

    def __init__(self, *_limits: object, thread_name_prefix: str = "pool") -> None:
        self._name = thread_name_prefix
        self._futures: list[Future[Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.shutdown()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start a call."""
        owner, future = running(), Future[Any]()
        self._futures.append(future)

        def body() -> None:
            try:
                future.set_result(function(*arguments))
            except Crash:
                raise
            except Exception as error:  # noqa: BLE001 - as an executor does
                future.set_exception(error)
            _changed(owner.scheduler).set()

        owner.scheduler.spawn(owner.process, f"{owner.name}/{self._name}", body)
        return future

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        """Call for each item at once; the results in order."""
        futures = [self.submit(function, item) for item in items]
        for future in futures:
            wait([future])
            yield future.result()

    def shutdown(self) -> None:
        """Wait for all calls."""
        for future in self._futures:
            wait([future])


_SIGNALS: dict[int, Signal] = {}


def _changed(scheduler: Scheduler) -> Signal:
    """Set when some call has ended; whoever waited looks again."""
    known = _SIGNALS.pop(id(scheduler), None)
    return known if known is not None else Signal(scheduler)


def wait(
    futures: Collection[Future[Any]], timeout: float | None = None, return_when: str = ""
) -> tuple[set[Future[Any]], set[Future[Any]]]:
    """Wait for the first of ``futures``, like ``concurrent.futures.wait``."""
    scheduler = running().scheduler
    while timeout is None and not any(future.done() for future in futures):
        _SIGNALS.setdefault(id(scheduler), Signal(scheduler)).wait()
    done = {future for future in futures if future.done()}
    return done, set(futures) - done


@contextmanager
def under(scheduler: Scheduler, source: random.Random) -> Iterator[pytest.MonkeyPatch]:
    """Let threads and random names of the product come from the simulation."""
    threading = SimpleNamespace(
        Event=lambda: Signal(scheduler), Thread=lambda *, target, name, daemon: Thread(target, name)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ThreadPoolExecutor", Pool)
        patch.setattr(writer, "wait", wait)
        patch.setattr(finished_rows, "ThreadPoolExecutor", Pool)
        patch.setattr(lease_keeper, "threading", threading)
        patch.setattr(merge, "_random_attempt", lambda: f"{source.getrandbits(48):012x}")
        try:
            yield patch
        finally:
            _SIGNALS.pop(id(scheduler), None)
