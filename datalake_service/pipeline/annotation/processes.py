"""An annotator whose calls are made in other processes: asked for by the options of a run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

from datalake_interfaces.context import HandlerContext
from datalake_service.annotating.process_worker import Recipe
from datalake_service.annotating.processes import Processes, is_plain, same
from datalake_service.errors import UsageError

T = TypeVar("T")


@asynccontextmanager
async def in_processes(
    function: object,
    context: HandlerContext,
    *,
    make: Callable[[], object] | None,
    workers: int,
    monotonic: Callable[[], float],
    in_thread: Callable[[Callable[[], None]], Awaitable[None]],
) -> AsyncGenerator[Processes, None]:
    """Processes in which ``function``, or what ``make`` makes there, is open; closed in the end.

    Raises:
        UsageError: It is async.
        HandlerLoadError: It cannot be made or opened in another process.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    if not is_plain(function):
        raise UsageError(
            f"executor 'processes' is for plain functions, and {name} is async: use 'threads', where async code runs "
            "on one event loop"
        )
    recipe = Recipe(make or partial(same, function), replace(context, parameters=dict(context.parameters)))
    processes = Processes(name, recipe, workers=workers, clock=monotonic)
    try:
        await in_thread(processes.open)
        yield processes
    finally:
        await in_thread(processes.close)
