"""Writing a merged object: tables in, a local Parquet file out, in bounded memory.

Encoding and compression run on a thread of their own while the caller prepares the next rows. The file is a local
one; nothing here knows where it goes.
"""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datalake_service.errors import MergeError
from datalake_service.tables.formats.schema import METADATA_KEY, MergedMetadata, TableSchema

GROUP_BYTES = 16 << 20
"""Bytes of Arrow data after which a row group is written; also what a reader of one group holds. See 004-merge.md."""
GROUP_ROWS = 50_000
COMPRESSION_LEVEL = 1
"""Zstandard 3 takes 1.8 times the processor time of 1 and saves 7 % of the size."""

_PAGE_BYTES = 16 << 10
"""Before compression. A reader of chosen rows reads their pages: 1 MiB is 2 to 8 % smaller, and all or nothing."""
_PAGE_CHECK_ROWS = 64
"""Most values between two looks at the size of a page; fewer of large ones, so that they don't pile up in a page."""
_SAMPLE_ROWS = 2_000
_SHORT_BYTES = 100
"""Bytes that values take on average, up to which their smallest and largest are kept for each row group."""
_REPEATED = 0.5
"""A dictionary pays if at most this share of the values is distinct; trying it on unique text costs a sixth."""


class MergedWriter:
    """Writes tables of one schema to a file. One thread calls it; leave it by ``finish`` or ``abort``."""

    def __init__(
        self,
        path: Path,
        schema: TableSchema,
        *,
        group_bytes: int = GROUP_BYTES,
        group_rows: int = GROUP_ROWS,
        level: int = COMPRESSION_LEVEL,
    ) -> None:
        """Write to ``path``, which must not exist."""
        self._path = path
        self._schema = schema.arrow()
        self._group_bytes = group_bytes
        self._group_rows = group_rows
        self._level = level
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._pending_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._queue: queue.Queue[pa.Table | None] = queue.Queue(1)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.rows = 0
        """Rows added so far."""

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema that every table must have."""
        return self._schema

    def add(self, table: pa.Table) -> None:
        """Add rows; blocks while the file cannot keep up.

        Raises:
            MergeError: The file cannot be written (no space, for instance).
        """
        if not len(table):
            return
        self.rows += len(table)
        for piece in self._pieces(table):
            size, rows = piece.nbytes, len(piece)
            if self._pending and not self._fits(size, rows):
                self._hand_over()
            self._pending.append(piece)
            self._pending_bytes += size
            self._pending_rows += rows
            del piece
            if not self._fits(0, 1):
                self._hand_over()

    def _fits(self, size: int, rows: int) -> bool:
        return self._pending_bytes + size < self._group_bytes and self._pending_rows + rows <= self._group_rows

    def _pieces(self, table: pa.Table) -> list[pa.Table]:
        """Cut a table into pieces that fit into a row group, as far as its rows do."""
        per_row = max(1, table.nbytes // len(table))
        step = max(1, min(self._group_rows, self._group_bytes // per_row))
        if len(table) <= step:
            return [table]
        return [table.slice(start, step) for start in range(0, len(table), step)]

    def finish(self, metadata: MergedMetadata) -> None:
        """Write what is left, the commit record and the footer, and check the file.

        Raises:
            MergeError: The file cannot be written, or does not hold what was added.
        """
        if self._pending or self._thread is None:
            self._hand_over()
        self._stop()
        self._raise_error()
        assert self._writer is not None  # the thread made it for the first table
        try:
            self._writer.add_key_value_metadata({METADATA_KEY: metadata.to_json()})
            self._writer.close()
        except (OSError, pa.ArrowException) as error:
            raise self._failed(error) from error
        self._verify(metadata)

    def abort(self) -> None:
        """Stop the thread; the file is worthless."""
        self._stop()
        if self._writer is not None:
            try:
                self._writer.close()
            except (OSError, pa.ArrowException):
                return

    def _hand_over(self) -> None:
        table = pa.concat_tables(self._pending) if self._pending else self._schema.empty_table()
        self._pending, self._pending_bytes, self._pending_rows = [], 0, 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="parquet", daemon=True)
            self._thread.start()
        self._queue.put(table)
        if table.nbytes > 2 * self._group_bytes:
            # Few large rows: encoding them takes a multiple of their size, so that nothing else should be there.
            del table
            self._queue.join()
        self._raise_error()

    def _stop(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._failed(self._error) from self._error

    def _failed(self, error: BaseException) -> MergeError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return MergeError(f"cannot write the temporary file {self._path}: {reason.splitlines()[0]}")

    def _run(self) -> None:
        while (table := self._queue.get()) is not None:
            try:
                if self._error is None:  # else the queue is only emptied, so that the caller never blocks
                    self._write(table)
            except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
                self._error = error
            finally:
                large = table.nbytes > 2 * self._group_bytes
                del table
                if large:
                    pa.default_memory_pool().release_unused()
                self._queue.task_done()

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="zstd",
                compression_level=self._level,
                use_dictionary=repeating_columns(table),
                write_statistics=short_columns(table),
                data_page_size=_PAGE_BYTES,
                write_batch_size=min(_PAGE_CHECK_ROWS, max(1, _PAGE_BYTES * len(table) // max(1, table.nbytes))),
                write_page_index=True,
            )
        if len(table):
            self._writer.write_table(table, row_group_size=len(table))

    def _verify(self, metadata: MergedMetadata) -> None:
        """Read the footer back: what is put in place of the old version must hold everything."""
        try:
            with pq.ParquetFile(self._path) as file:
                footer = file.metadata
                rows = footer.num_rows
                groups = sum(footer.row_group(number).num_rows for number in range(footer.num_row_groups))
                record = MergedMetadata.from_json((footer.metadata or {})[METADATA_KEY], key=str(self._path))
        except (OSError, KeyError, pa.ArrowException) as error:
            raise self._failed(error) from error
        if rows != self.rows or groups != self.rows or record.attempt != metadata.attempt:
            msg = f"{self._path} holds {rows} rows after {self.rows} were written; the batch was left as it was"
            raise MergeError(msg)


def short_columns(table: pa.Table) -> list[str]:
    """The columns with values that somebody may look for in a range; comparing long texts is work for nothing."""
    limit = len(table) * _SHORT_BYTES
    return [name for name, column in zip(table.column_names, table.columns, strict=True) if column.nbytes <= limit]


def repeating_columns(table: pa.Table) -> list[str]:
    """The columns in whose first values many repeat."""
    sample = table.slice(0, _SAMPLE_ROWS)
    limit = len(sample) * _REPEATED
    return [
        name
        for name, column in zip(sample.column_names, sample.columns, strict=True)
        if not pa.types.is_boolean(column.type) and len(set(column.to_pylist())) <= limit
    ]
