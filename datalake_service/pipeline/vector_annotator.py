"""Vectors for rows that exist: the step of ``vectorizing.py`` as an annotator. Rows that wait at once share a call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from datalake_interfaces import (
    Annotation,
    AnnotationResult,
    Annotator,
    DataItem,
    Document,
    ErrorDoc,
    HandlerContext,
    SkipDoc,
)
from datalake_service.errors import StoreError
from datalake_service.pipeline.vectorizing import Unusable, Vectorizer

GATHER_SECONDS: Final = 0.02
"""How long a batch waits for more rows."""

_Answer = Document | ErrorDoc | SkipDoc | Unusable
_Waiting = tuple[dict[str, Any], "asyncio.Future[_Answer]"]


class VectorAnnotator(Annotator):
    """Annotates a row with what ``construct_vector_doc`` makes of it: the keys of its map are the columns."""

    def __init__(self, vectorizer: Vectorizer, *, batch_size: int, concurrency: int) -> None:
        """Take a vectorizer that is not open; at most ``concurrency`` batches are with the model."""
        self._vectorizer = vectorizer
        self._batch_size = batch_size
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, context: HandlerContext) -> None:
        """Open handler and model."""
        self._vectorizer.open(dataset=context.dataset, task=context.task)

    async def annotate(self, item: DataItem) -> AnnotationResult:
        """Wait for the vectors of this row's texts."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Answer] = loop.create_future()
        self._waiting.append((item.data, future))
        if len(self._waiting) >= self._batch_size:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(GATHER_SECONDS, self._start)
        answer = await future
        if isinstance(answer, Unusable):
            return ErrorDoc(error_message=answer.message)
        if isinstance(answer, ErrorDoc | SkipDoc):
            return answer
        metadata = answer.document_metadata
        return Annotation(dict(answer.document_key_values_map), None if metadata is None else dict(metadata))

    def close(self) -> None:
        """Close handler and model."""
        self._vectorizer.close()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        async with self._slots:
            try:
                answers = await asyncio.to_thread(self._vectorizer.vectorize, [record for record, _ in batch])
            except StoreError as error:  # no row is at fault; each is asked again by the next run
                answers = [Unusable(str(error))] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():  # given up by its caller
                future.set_result(answer)
