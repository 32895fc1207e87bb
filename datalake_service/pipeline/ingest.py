"""Rows from any iterator into the chunks of a batch: the first of the four operations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.deletions import require_not_deleted
from datalake_service.catalog.manifests import claim_run
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.config.names import check_name
from datalake_service.errors import RowError, UsageError
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

RUN_DIGITS = 6


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What one run stored."""

    run: str
    """Name of the run, six hexadecimal digits."""
    rows: int
    chunks: int
    size: int
    """Bytes of all chunks."""


async def ingest_iterator(
    store: ObjectStore,
    rows: Iterable[Any] | AsyncIterable[Any],
    *,
    dataset: str,
    batch: str,
    chunk_size: int = 100,
    deduplicate_on: Sequence[str] | None = None,
    clock: Clock | None = None,
    draw: Callable[[], str] | None = None,
) -> IngestResult:
    """Store every row that ``rows`` yields in a new run of the batch.

    Rows become durable chunk by chunk. Whatever ends the run (the iterator's end, an exception in it, a row that
    cannot be stored, cancellation), all rows yielded before are stored before this returns or raises; a crash
    loses at most the rows of the chunk being filled and of the few on their way. Running the same iterator again stores
    its rows again, in another run: give rows an ``id``, or deduplicate.

    Args:
        store: The lake.
        rows: Plain or asynchronous. A plain iterator runs on the event loop's thread.
        dataset: Its name.
        batch: Its name.
        chunk_size: Rows in a chunk, at least 1.
        deduplicate_on: Columns whose equality makes two rows of the batch duplicates.
        clock: Time source.
        draw: Returns six random hexadecimal digits.

    Raises:
        NameNotAllowedError: A name is not portable; nothing was written.
        DatasetNotFoundError: The dataset was deleted; nothing was written, and the message says how to get it back.
        RowError: A row cannot be stored; the message names its number and column.
        StoreError: The lake cannot be written.
    """
    prefix = layout.batch_prefix(check_name(dataset, what="dataset"), check_name(batch, what="batch"))
    clock = clock or SystemClock()
    await asyncio.to_thread(require_not_deleted, store, dataset)
    manifest = await asyncio.to_thread(
        claim_run,
        store,
        prefix,
        kind="rows",
        deduplicate_on=check_columns(deduplicate_on),
        chunk_size=_check_chunk_size(chunk_size),
        now=clock.now(),
        draw=draw or (lambda: random_hex(RUN_DIGITS)),
    )
    writer = ChunkWriter(store, prefix, manifest, clock=clock)
    try:
        await _write_all(rows, writer)
    finally:
        await _close(writer)
    return IngestResult(writer.run, writer.rows_added, writer.chunks_sealed, writer.bytes_added)


def check_columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the dedup columns as given by a caller; an empty list says nothing, like ``None``.

    Raises:
        UsageError: Not a list of texts.
    """
    if columns is None:
        return None
    if isinstance(columns, str) or not all(isinstance(column, str) for column in columns):
        msg = f"deduplicate_on must be a list of column names, not {columns!r}"
        raise UsageError(msg)
    return tuple(dict.fromkeys(columns)) or None


def _check_chunk_size(chunk_size: object) -> int:
    if isinstance(chunk_size, int) and chunk_size >= 1:
        return chunk_size
    msg = f"chunk_size must be a whole number of rows, at least 1, not {chunk_size!r}"
    raise UsageError(msg)


async def _write_all(rows: Iterable[Any] | AsyncIterable[Any], writer: ChunkWriter) -> None:
    # What can be iterated both ways (a view) is iterated without blocking the event loop.
    add = _write_async(rows, writer) if isinstance(rows, AsyncIterable) else _write_plain(_iterable(rows), writer)
    try:
        await add
    except RowError as error:
        msg = f"row {writer.rows_added + writer.rows_buffered} (counted from 0): {error}"
        raise RowError(msg) from error


async def _write_async(rows: AsyncIterable[Any], writer: ChunkWriter) -> None:
    async with AsyncExitStack() as stack:
        if isinstance(rows, AsyncGenerator):  # its cleanup runs now, not when the garbage collector finds it
            await stack.enter_async_context(aclosing(rows))
        async for row in rows:
            writer.add(row)
            if writer.saturated:
                await asyncio.to_thread(writer.wait_for_room)


async def _write_plain(rows: Iterable[Any], writer: ChunkWriter) -> None:
    for row in rows:
        writer.add(row)
        if writer.saturated:
            await asyncio.to_thread(writer.wait_for_room)


def _iterable(rows: object) -> Iterable[Any]:
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, dict)):
        return rows
    msg = f"rows must be an iterator or an async iterator of rows, not {type(rows).__name__}"
    raise UsageError(msg)


async def _close(writer: ChunkWriter) -> None:
    """Close the writer even while this task is being cancelled: rows that were yielded are kept."""
    closing = asyncio.ensure_future(asyncio.to_thread(writer.close))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await closing
        raise
