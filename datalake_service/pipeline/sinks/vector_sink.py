"""A sink in front of a sink: documents get vectors on their way. Their order is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from datalake_interfaces import ErrorDoc, SkipDoc
from datalake_service.catalog.rejections import RejectionKind
from datalake_service.errors import RowError
from datalake_service.handling.rows import flat_row
from datalake_service.pipeline.sinks.delivery_sink import outgoing
from datalake_service.pipeline.sinks.sink import Origin, Refusal, Sink
from datalake_service.pipeline.vectorizing import Unusable, Vectorizer
from datalake_utils.clock import Clock

LINGER_SECONDS: Final = 1.0
"""A batch that is not full after so long is one of a slow source."""

_Waiting = tuple[dict[str, Any], Origin]
_Result = dict[str, Any] | SkipDoc | Unusable


class VectorSink:
    """Makes vectors for rows, a batch in each of a few threads, and hands on what comes out; see ``Sink``."""

    needs_origins = True

    def __init__(self, inner: Sink, vectorizer: Vectorizer, *, batch_size: int, concurrency: int, clock: Clock) -> None:
        """Take an open vectorizer; it is closed with this."""
        self._clock = clock
        self._since = 0.0  # when the oldest row of the buffer came
        self._inner = inner
        self._vectorizer = vectorizer
        self._batch_size = batch_size
        self._concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="vectors")
        self._buffer: list[_Waiting] = []
        self._running: deque[tuple[list[_Waiting], Future[list[_Result]]]] = deque()
        self._refused: list[Refusal] = []

    @property
    def run(self) -> str | None:
        """That of the destination."""
        return self._inner.run

    @property
    def saturated(self) -> bool:
        """Whether as many batches as allowed are with the model, or the destination has no room."""
        return len(self._running) > self._concurrency or self._inner.saturated

    @property
    def rows_buffered(self) -> int:
        """Rows of a batch that is being filled, and what the destination holds back.

        A batch that nobody fills any more does not count: nothing is won by waiting for it.
        """
        filling = bool(self._buffer) and self._clock.monotonic() - self._since < LINGER_SECONDS
        return (len(self._buffer) if filling else 0) + self._inner.rows_buffered

    def add(self, row: dict[str, Any], origin: Origin | None) -> None:
        """Take a row; a full batch goes to the model."""
        assert origin is not None  # needs_origins
        if not self._buffer:
            self._since = self._clock.monotonic()
        self._buffer.append((row, origin))
        if len(self._buffer) >= self._batch_size:
            self._submit()
        while self._running and self._running[0][1].done():
            self._hand_on()

    def wait_for_room(self) -> None:
        """Block while too much is with the model or on its way."""
        while len(self._running) > self._concurrency:
            self._hand_on()
        self._inner.wait_for_room()

    def flush(self) -> None:
        """Block until every row has its vectors and is accepted, or is refused for good."""
        self._submit()
        while self._running:
            self._hand_on()
        self._inner.flush()

    def refused(self) -> Sequence[Refusal]:
        """What got no vectors, and what the destination refused."""
        refused, self._refused = self._refused, []
        return [*refused, *self._inner.refused()]

    def close(self) -> None:
        """Flush, close handler and model, and end the threads."""
        try:
            self._submit()
            while self._running:
                self._hand_on()
        finally:
            self._vectorizer.give_up()  # of no effect, unless a batch has failed and the others are waited for
            self._pool.shutdown(cancel_futures=True)
            self._vectorizer.close()
            self._inner.close()

    def _submit(self) -> None:
        if self._buffer:
            batch, self._buffer = self._buffer, []
            self._running.append((batch, self._pool.submit(self._work, [row for row, _ in batch])))

    def _work(self, rows: list[dict[str, Any]]) -> list[_Result]:
        """On a thread of the pool: from rows to rows."""
        answers = self._vectorizer.vectorize([outgoing(row, None).record for row in rows])
        results: list[_Result] = []
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, Unusable):
                results.append(answer)
            elif isinstance(answer, ErrorDoc):
                results.append(
                    Unusable(str(answer.error_message or "construct_vector_doc answered with an error document"))
                )
            elif isinstance(answer, SkipDoc):
                results.append(answer)
            else:
                made = flat_row(answer)
                if "id" not in made:
                    made["id"] = row["id"]
                results.append(made)
        return results

    def _hand_on(self) -> None:
        """Give the results of the oldest batch to the destination; a failure of the model is raised here."""
        batch, future = self._running.popleft()
        results = future.result()
        for (row, origin), result in zip(batch, results, strict=True):
            if isinstance(result, SkipDoc):
                message = str(result.skip_message or "no reason given")
                self._refused.append(Refusal(origin, row, message, kind=None))
                continue
            if isinstance(result, Unusable):
                self._refused.append(Refusal(origin, row, result.message, RejectionKind.TRANSFORM))
                continue
            try:
                self._inner.add(result, origin)
            except RowError as error:
                self._refused.append(Refusal(origin, result, str(error)))
            if self._inner.saturated:
                self._inner.wait_for_room()
