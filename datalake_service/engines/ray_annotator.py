"""An annotator in actors of Ray: constructed and opened once in each, its calls made from the run.

Lease, reading, limits and chunks stay with the run (``pipeline/annotation/annotate.py``); to it, what stands here looks
like the annotator. When an actor dies, another one takes its place, and the calls that were under way are made again.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from datalake_interfaces import Annotator, DataItem, HandlerContext
from datalake_interfaces.annotators import AnnotationResult, BatchAnnotator, BatchAnswers
from datalake_service.config.compute import ActorResources
from datalake_service.engines.parcels import origin
from datalake_service.engines.ray_annotator_actor import AnnotatorActor, Answer, Facts, sendable
from datalake_service.engines.ray_cluster import RayCluster, missing_project, needs_of, told
from datalake_service.errors import HandlerLoadError, UsageError
from datalake_service.pipeline.runs.annotators import AnnotatorWork

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_TRIES: Final = 3
"""So many actors may die under one row."""
_MOST_LOST: Final = 50
"""So many actors may die in all, for each that there is, before the cluster is taken for broken."""


class ActorDiedError(Exception):
    """The actor that had the row died, and so did those that tried after it."""


@dataclass(slots=True, eq=False)
class _Seat:
    """One place of an actor; whoever sits there."""

    actor: ActorHandle
    ready: asyncio.Future[None] | None = None
    """Done when it is open; ``None``: nobody has opened it."""
    calls: int = field(default=0)


class Actors:
    """The actors of one annotator. Used on one event loop, but for ``start`` and ``end``."""

    def __init__(self, cluster: RayCluster, work: AnnotatorWork, resources: ActorResources, *, code: object) -> None:
        """Ask for nothing yet; ``code`` is a reference to a ``Code``."""
        self._cluster = cluster
        self._work = work
        self._code = code
        self._count = resources.actors
        self._needs = needs_of(
            cpus=resources.num_cpus, gpus=resources.num_gpus, megabytes=resources.memory_in_megabytes
        )
        self._seats: list[_Seat] = []
        self._context: HandlerContext | None = None
        self._lost = 0

    def start(self) -> Facts:
        """Construct the annotator in every actor; returns what it is.

        Raises:
            UsageError: It cannot be constructed there.
        """
        self._seats = [_Seat(self._new()) for _ in range(self._count)]
        ray = self._cluster.connect()
        try:
            facts: list[Facts] = ray.get([seat.actor.facts.remote() for seat in self._seats])
        except ray.exceptions.RayError as error:
            raise _refused(error) from error
        for found in facts:
            if found.error is not None:
                raise found.error
        return facts[0]

    async def open(self, context: HandlerContext) -> None:
        """Open all of them.

        Raises:
            Exception: What the annotator raised.
        """
        self._context = context
        await asyncio.gather(*map(self._begin_to_open, self._seats))

    async def close(self) -> None:
        """Close all that live."""
        ray = self._cluster.connect()
        for seat in self._seats:
            if seat.ready is None or not seat.ready.done():
                continue  # it still waits for a machine
            try:
                answer: Answer = await seat.actor.close.remote()
            except ray.exceptions.RayError:
                continue
            answer.result()

    def end(self) -> None:
        """End all of them."""
        ray = self._cluster.connect()
        for seat in self._seats:
            ray.kill(seat.actor)

    async def call(self, method: str, argument: object) -> Answer:
        """Call a method of the least busy one.

        Raises:
            ActorDiedError: It died, and so did the others that tried.
        """
        ray = self._cluster.connect()
        for tried in range(_TRIES):
            seat = await self._free()
            actor = seat.actor
            seat.calls += 1
            try:
                answer: Answer = await getattr(actor, method).remote(argument)
            except ray.exceptions.RayError as error:
                self._replace(seat, actor, error)
                if tried == _TRIES - 1:
                    raise ActorDiedError(f"the actor died: {told(error)}; so did {tried} more that tried") from None
            else:
                return answer
            finally:
                seat.calls -= 1
        raise AssertionError  # the loop returns or raises

    def _new(self) -> ActorHandle:
        arguments = (origin(), pickle.dumps(self._work), self._code)
        needs = self._needs | {"max_concurrency": self._work.annotator.max_concurrency + 2}
        return self._cluster.actor(AnnotatorActor, *arguments, needs=needs)

    async def _free(self) -> _Seat:
        """The least busy of those that are open: who takes the place of a dead one may wait long for a machine.

        Raises:
            Exception: What its ``open`` raised.
        """
        while True:
            opening = [self._begin_to_open(seat) for seat in self._seats]
            found = [seat for seat, ready in zip(self._seats, opening, strict=True) if ready.done()]
            if found:
                seat = min(found, key=lambda one: one.calls)
                self._begin_to_open(seat).result()
                return seat
            await asyncio.wait(opening, return_when=asyncio.FIRST_COMPLETED)

    def _begin_to_open(self, seat: _Seat) -> asyncio.Future[None]:
        """When the actor of a place is open; the first who asks opens it."""
        if seat.ready is None:
            seat.ready = asyncio.ensure_future(self._open(seat.actor))
        return seat.ready

    async def _open(self, actor: ActorHandle) -> None:
        ray = self._cluster.connect()
        try:
            answer: Answer = await actor.open.remote(self._context)
        except ray.exceptions.RayError:
            return  # that it is dead shows in the call
        answer.result()

    def _replace(self, seat: _Seat, died: ActorHandle, error: BaseException) -> None:
        """Put another actor into a place, once for each that died."""
        if seat.actor is died:
            self._lost += 1
            if self._lost > _MOST_LOST * self._count:
                raise UsageError(f"{self._lost} actors of {self._work.annotator.annotator_name} died: {told(error)}")
            seat.actor, seat.ready = self._new(), None


class RemoteAnnotator(Annotator):
    """Stands for an annotator that takes row by row."""

    def __init__(self, actors: Actors) -> None:
        """Make calls of ``actors``."""
        self._actors = actors

    async def open(self, context: HandlerContext) -> None:
        """Open it in every actor."""
        await self._actors.open(context)

    async def annotate(self, item: DataItem) -> AnnotationResult:
        """Ask one of the actors."""
        answer = await self._actors.call("annotate", _sendable(item))
        item.usage = answer.usages[0]
        result: AnnotationResult = answer.result()
        return result

    async def close(self) -> None:
        """Close it in every actor."""
        await self._actors.close()


class RemoteBatchAnnotator(BatchAnnotator):
    """Stands for an annotator that takes many rows at once. Rows are weighed here, by their characters."""

    def __init__(self, actors: Actors, facts: Facts) -> None:
        """Make calls of ``actors``, with batches as the annotator wants them."""
        self._actors = actors
        for name, value in facts.batches.items():
            setattr(self, name, value)

    async def open(self, context: HandlerContext) -> None:
        """Open it in every actor."""
        await self._actors.open(context)

    async def annotate(self, item: DataItem) -> AnnotationResult:
        """Ask one of the actors about one row."""
        (answer,) = await self.annotate_batch([item])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
        """Ask one of the actors."""
        answer = await self._actors.call("annotate_batch", [_sendable(item) for item in items])
        for item, usage in zip(items, answer.usages, strict=True):
            item.usage = usage
        results: BatchAnswers = answer.result()
        return results

    async def close(self) -> None:
        """Close it in every actor."""
        await self._actors.close()


def _sendable(item: DataItem) -> DataItem:
    return item if item.error is None else replace(item, error=sendable(item.error))


def _refused(error: BaseException) -> UsageError:
    return missing_project(str(error)) or HandlerLoadError(f"no actor for the annotator: {told(error)}")
