"""What a generator yields, as outcomes; see ``feeds.py`` for what a feed is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, cast

from datalake_interfaces import Document, ErrorDoc, Generator, HandlerContext, SkipDoc
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.apply import Outcome, Skip
from datalake_service.handling.rows import derived_id, derived_ids, flat_row, own_id_first
from datalake_service.handling.telling import one_line, told
from datalake_service.pipeline.feeds.feed import InputFailedError
from datalake_service.pipeline.jobs.engine import HANDLER_LOGGER, TaskJob
from datalake_service.pipeline.sinks.sink import Origin, Refusal


class GeneratedRows:
    """The rows of one generator, numbered from 0.

    It cannot go on in the middle: every attempt begins at the beginning.
    """

    resumes = False
    at_rest = True
    pressing = False

    def __init__(self, generator: Generator, job: TaskJob) -> None:
        """Take a constructed generator."""
        self._generator = generator
        self._job = job
        self._folder = job.handler.folder.resolve()
        self._ids = derived_ids(job.source)
        self._documents = self._skips = self._rejections = 0
        self._opened = False
        self.took_back = False
        self.notes: tuple[str, ...] = ()
        self.version: Mapping[str, Any] | None = None

    @property
    def position(self) -> object:
        """How many rows there were; for people."""
        return {"rows": self._total}

    @property
    def _total(self) -> int:
        return self._documents + self._skips + self._rejections

    def open(self, *, checkpoint: object, version: Mapping[str, Any] | None) -> None:  # noqa: ARG002 - see resumes
        """Open the generator; what was reached before does not matter."""
        context = HandlerContext(
            dataset=self._job.dataset,
            task=self._job.task,
            parameters=self._job.handler.parameters,
            logger=logging.getLogger(HANDLER_LOGGER),
        )
        self._opened = True
        try:
            self._generator.open(context)
        except (Exception, SystemExit) as error:
            raise HandlerLoadError(f"{self._name('open')} raised {told(error, self._folder)}") from error

    def outcomes(self) -> Iterator[Outcome]:
        """Yield one outcome for each row.

        Raises:
            InputFailedError: The generator raised, or yields nothing; the rows before are good.
        """
        try:
            rows = self._rows()
            while True:
                try:
                    row = next(rows)
                except StopIteration:
                    return
                yield self._outcome(row)
        except InputFailedError:
            raise
        except (Exception, SystemExit) as error:
            raise InputFailedError(f"{self._name('generate')} raised {told(error, self._folder)}") from error

    def origin(self) -> Origin:
        """The number of the row that was yielded last."""
        return Origin(self._total - 1)

    def reject_row(self, row: Mapping[str, Any], message: str) -> Rejection:
        """The rejection of the row that was yielded last; it cannot be stored."""
        return self.reject(Refusal(self.origin(), row, message))

    def reject(self, refusal: Refusal) -> Rejection:
        """The rejection of an earlier row."""
        self._documents -= 1
        number = cast("int", refusal.origin.record)
        return self._rejected(RejectionKind.WRITE, refusal.message, document=refusal.row, number=number)

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._documents -= 1
        self._skips += 1

    def kept(self) -> None:
        """A generator cannot go on in the middle."""

    def let_go(self) -> None:
        """``close`` did."""

    def take_back(self) -> None:
        """The rejection that was yielded last does not count: the next attempt meets it again."""
        self._rejections -= 1
        self.took_back = True

    def counts(self) -> TaskCounts:
        """What became of the rows so far."""
        return TaskCounts(self._total, self._documents, self._skips, self._rejections)

    def close(self) -> None:
        """Close the generator. What it raises now is noted: the rows are safe."""
        if not self._opened:
            return
        self._opened = False
        try:
            self._generator.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
            self.notes += (f"{self._name('close')} raised {told(error, self._folder)}",)

    def _rows(self) -> Iterator[object]:
        rows: object = self._generator.generate()
        if isinstance(rows, AsyncIterable):
            return _pulled(aiter(rows))
        if isinstance(rows, Iterable) and not isinstance(rows, str | bytes | Mapping):
            return iter(rows)
        found = type(rows).__name__
        raise InputFailedError(f"{self._name('generate')} returned {found}; yield rows, or return something that does")

    def _outcome(self, row: object) -> Outcome:
        if isinstance(row, SkipDoc):
            self._skips += 1
            return Skip(None if row.skip_message is None else str(row.skip_message))
        if isinstance(row, ErrorDoc):
            return self._refused(row)
        try:
            flat = flat_row(row) if isinstance(row, Document) else _plain(row)
        except TypeError as error:
            return self._rejected(RejectionKind.TRANSFORM, str(error))
        if flat.get("id") is None:
            flat["id"] = derived_id(self._ids, self._total)
        self._documents += 1
        return flat

    def _refused(self, document: ErrorDoc) -> Rejection:
        message = str(document.error_message or "the generator yielded an error document")
        try:
            shown: Mapping[str, Any] | None = flat_row(document)
        except TypeError:
            shown = None
        return self._rejected(RejectionKind.PARSE, message, document=shown)

    def _rejected(
        self,
        kind: RejectionKind,
        message: str,
        *,
        document: Mapping[str, Any] | None = None,
        number: int | None = None,
    ) -> Rejection:
        number = self._total if number is None else number
        self._rejections += 1
        return Rejection(
            source=self._job.source,
            start_offset=str(number),
            end_offset=str(number + 1),
            kind=kind,
            message=one_line(message),
            document=document or None,
        )

    def _name(self, method: str) -> str:
        return f"{type(self._generator).__name__}.{method}"


def _plain(row: object) -> dict[str, Any]:
    if isinstance(row, Mapping):
        plain = dict(row)
        return own_id_first(plain) if "id" in plain else plain
    raise TypeError(f"generate yielded a {type(row).__name__}; yield dicts or Documents")


def _pulled(rows: AsyncIterator[object]) -> Iterator[object]:
    """Asynchronous rows, one at a time: their loop stands still while nobody asks."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                row = loop.run_until_complete(_next(rows))
            except StopAsyncIteration:
                return
            yield row
    finally:
        if isinstance(rows, AsyncGenerator):
            loop.run_until_complete(rows.aclose())
        loop.close()


async def _next(rows: AsyncIterator[object]) -> object:
    return await anext(rows)
