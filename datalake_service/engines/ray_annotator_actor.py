"""The actor that has an annotator: constructs it, opens it once, calls it. The class knows nothing of Ray.

What the annotator raises goes back as a value; an exception that cannot be pickled as one of the same name.
"""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from datalake_interfaces import Annotator, DataItem, HandlerContext
from datalake_interfaces.annotators import BatchAnnotator
from datalake_interfaces.attempts import Usage
from datalake_service.annotating.calls import ThreadCaller, Threads, failure_of, is_async
from datalake_service.engines.code import Code, code_here
from datalake_service.engines.parcels import Origin, check_origin, check_visible
from datalake_service.errors import HandlerLoadError, UsageError
from datalake_service.pipeline.runs.annotators import AnnotatorWork, make_annotator
from datalake_utils.clock import SystemClock

_OF_BATCHES: Final = ("max_batch_size", "max_wait_seconds", "max_batch_weight", "split_failed")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an annotator is."""

    error: UsageError | None = None
    """Why there is none."""
    takes_batches: bool = False
    batches: Mapping[str, Any] = field(default_factory=dict)
    """How it wants them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call answered, and what it cost."""

    value: object = None
    error: Exception | None = None
    usages: tuple[Usage, ...] = ()

    def result(self) -> Any:  # noqa: ANN401 - what the user's class answers
        """Return what was answered, or raise what was raised."""
        if self.error is not None:
            raise self.error
        return self.value


class AnnotatorActor:
    """One annotator. All methods run on one event loop."""

    def __init__(self, sender: Origin, work: bytes, code: Code) -> None:
        """Construct it; what is wrong with that is told by ``facts``."""
        self._error: UsageError | None = None
        self._annotator: Annotator | None = None
        self._idle: list[ThreadCaller] = []
        try:
            check_origin(sender)
            found: AnnotatorWork = pickle.loads(work)  # noqa: S301 - our own engine packed it
            check_visible(found.store, "the lake")
            config = found.config.in_folder(code_here(found.config.folder, code))
            self._annotator = make_annotator(config, found.annotator, clock=SystemClock())
            self._threads = Threads(self._annotator.annotate, workers=found.annotator.max_concurrency)
        except UsageError as error:
            self._error = error

    async def facts(self) -> Facts:
        """What it is."""
        if not isinstance(self._annotator, BatchAnnotator):
            return Facts(self._error)
        return Facts(takes_batches=True, batches={name: getattr(self._annotator, name) for name in _OF_BATCHES})

    async def open(self, context: HandlerContext) -> Answer:
        """Open it."""
        return await self._answer(self._opened(context))

    async def close(self) -> Answer:
        """Close it."""
        return await self._answer(self._closed())

    async def annotate(self, item: DataItem) -> Answer:
        """Ask about one row."""
        return await self._answer(self._one(item), item)

    async def annotate_batch(self, items: Sequence[DataItem]) -> Answer:
        """Ask about several rows."""
        return await self._answer(self._several(items), *items)

    async def _answer(self, call: Awaitable[object], *items: DataItem) -> Answer:
        try:
            value, error = await call, None
        except Exception as raised:  # noqa: BLE001 - user code; it is raised again where the call was made
            value, error = None, sendable(raised)
        return Answer(value, error, tuple(item.usage for item in items))

    async def _opened(self, context: HandlerContext) -> None:
        annotator = self._have()
        if inspect.iscoroutinefunction(annotator.open):
            opened: object = annotator.open(context)
        else:
            opened = await asyncio.to_thread(annotator.open, context)
        if inspect.isawaitable(opened):
            await opened

    async def _closed(self) -> None:
        closed = self._have().close()
        if inspect.isawaitable(closed):
            await closed

    async def _one(self, item: DataItem) -> object:
        annotate = self._have().annotate
        if is_async(annotate):
            return await annotate(item)  # type: ignore[misc]  # a coroutine, as was just found
        caller = self._idle.pop() if self._idle else ThreadCaller(annotate, self._threads)
        answer = await caller(item)
        self._idle.append(caller)
        return answer

    async def _several(self, items: Sequence[DataItem]) -> object:
        annotator = self._have()
        assert isinstance(annotator, BatchAnnotator)  # facts said so
        call = annotator.annotate_batch
        answers = call(items) if inspect.iscoroutinefunction(call) else await asyncio.to_thread(call, items)
        if inspect.isawaitable(answers):
            answers = await answers
        if not isinstance(answers, Sequence):
            return answers  # the run says what is wrong with it
        return [sendable(answer) if isinstance(answer, Exception) else answer for answer in answers]

    def _have(self) -> Annotator:
        if self._annotator is None:
            raise self._error or HandlerLoadError("no annotator")
        return self._annotator


def sendable(error: Exception) -> Exception:
    """An exception that the other side can open: itself, or one of the same name that says the same."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - just made
    except Exception:  # noqa: BLE001 - the user's class: anything may happen
        failure = failure_of(error)
        return named(failure.kind, failure.message)
    return error


class Named(Exception):  # noqa: N818 - it stands for others
    """Stands for an exception that cannot travel; made by ``named``."""

    kind = "Exception"

    def __reduce__(self) -> tuple[Callable[[str, str], Exception], tuple[str, str]]:
        """Travel as its name and what it says."""
        return named, (self.kind, str(self))


def named(kind: str, message: str) -> Exception:
    """An exception whose class has the name ``kind``, because that is told of it."""
    of_kind: type[Exception] = type(kind, (Named,), {"kind": kind})
    return of_kind(message)
