"""A view: the filtered, joined reading of a dataset's merged rows.

What is read was decided by ``plan.py``, how by ``reading.py``; here it becomes rows, items and tables.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar
from weakref import WeakSet

from datalake_service.catalog.columns import ColumnType
from datalake_service.catalog.parts import Part, parts_of
from datalake_service.pipeline.views.plan import ViewPlan, ViewPlanner, ViewRequest
from datalake_service.pipeline.views.reading import CREATED_AT, Answer, Ask, BatchPass, Wanted
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.database.engine import EngineLimits
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.formats.rows import ExportRow, ItemMaker, LineMaker, RowMaker
from datalake_service.tables.queries.query import count_rows, fetch_arrow, fetch_rows
from datalake_service.tables.queries.reading import PlannedBatch, Version

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from datalake_interfaces.annotators import DataItem

_BLOCK_BYTES, _TABLE_BYTES = 1 << 20, 8 << 20
"""About as much is made at once: of Python rows, which fit a processor's cache, and of Arrow."""
_MIN_ROWS, _MAX_ROWS, _MAX_TABLE_ROWS = 16, 256, 16_384
_EXPANSION = 4
"""A row takes about this many times its compressed size in memory."""

_T = TypeVar("_T")


class _Closable(Protocol):
    def close(self) -> None: ...


class DatasetView:
    """Rows that a filter selects, with the columns of annotators beside them.

    Can be iterated any number of times, plainly or with ``async for`` (then nothing blocks the event loop). Rows come
    batch by batch, each in the order of its merged object. An error is raised, never taken for the end. A merge
    that replaces an object meanwhile loses and repeats no row. Iterating takes no lock.
    """

    def __init__(self, store: ObjectStore, request: ViewRequest, *, limits: EngineLimits | None = None) -> None:
        """Plan the view.

        Args:
            store: The lake.
            request: What is wanted.
            limits: What a query may use of the machine.

        Raises:
            DatasetNotFoundError: There is no such dataset.
            DatasetNotMergedError: Nothing of it was ever merged.
            FilterError: A filter cannot be used.
            UsageError: A batch does not exist, or two columns would have the same name.
            StoreError: The lake cannot be read.
        """
        self._store = store
        self._request = request
        self._limits = limits or EngineLimits()
        self._planner = ViewPlanner(store, request, limits=self._limits)
        self._plan = self._planner.plan()
        self._passes: WeakSet[_Closable] = WeakSet()
        self._last_read: Mapping[str, PlannedBatch] = {}
        self.dataset = request.dataset
        """The name of the dataset."""

    @property
    def batches(self) -> tuple[str, ...]:
        """The merged batches that are read, in this order."""
        return tuple(batch.name for batch in self._plan.batches)

    @property
    def bases(self) -> dict[str, str]:
        """The ETag of the merged rows of each batch, as they were planned."""
        return {batch.name: batch.base.meta.etag for batch in self._plan.batches}

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of every row."""
        return tuple(reference.label for reference in self._plan.row_columns)

    # Rows --------------------------------------------------------------------------------------------

    @property
    def unknown_columns(self) -> tuple[str, ...]:
        """Columns that were asked for by name and exist nowhere: they are null in every row."""
        known = set(self._plan.schema.labels())
        return tuple(label for label in self.columns if label not in known)

    def __iter__(self) -> Iterator[ExportRow]:
        """Every selected row."""
        return self.rows()

    def __aiter__(self) -> AsyncIterator[ExportRow]:
        """Every selected row; queries run in threads."""
        return _AsyncRows(self.blocks())

    def rows(self) -> Generator[ExportRow, None, None]:
        """Every selected row; the same as iterating the view."""
        for block in self.blocks():
            yield from block

    def blocks(self) -> Generator[list[ExportRow], None, None]:
        """The same in lists of a few thousand rows at most, none of them empty."""
        with closing(self._pass(self._plan.batches, Wanted(columns=_row_values), _row_blocks)) as blocks:
            yield from blocks

    def read(
        self,
        batch: str,
        *,
        leave_out: Collection[str] = (),
        part: Part | None = None,
        left_out: Callable[[int], None] | None = None,
    ) -> Generator[list[DataItem], None, None]:
        """The selected rows of one batch as items for an annotator, in blocks; none if it is not in the view.

        Args:
            batch: Its name.
            leave_out: Ids of rows that are not wanted.
            part: Only rows of this part of it.
            left_out: Told how many rows were left out because of their ids, selected or not, before the first block.

        Raises:
            FilterError: The user's SQL fails on some row.
            StoreError: Reading fails.
        """
        chosen = [planned for planned in self._plan.batches if planned.name == batch]
        wanted = Wanted(columns=_item_values, leave_out=leave_out, part=part, left_out=left_out)
        with closing(self._pass(chosen, wanted, _item_blocks)) as blocks:
            yield from blocks

    def size(self, batch: str) -> int:
        """About how many rows of a batch are selected: all of the sample, whether filters hold for them or not."""
        return round(self._rows_in(batch) * self._plan.fraction)

    def _rows_in(self, batch: str) -> int:
        return sum(planned.base.footer.rows for planned in self._plan.batches if planned.name == batch)

    def parts(self, batch: str) -> list[Part]:
        """The parts in which workers that share an annotator read a batch."""
        return parts_of(batch, self._rows_in(batch), share=self._plan.fraction)

    def selection(self, batch: str) -> str:
        """What names the selected rows of one batch: views that say the same select the same rows."""
        from hashlib import blake2b

        request = self._request
        filters = (request.filter, request.base_filter, sorted((request.annotator_filters or {}).items()))
        versions = [
            (batch, planned.base.meta.etag, sorted((name, one.meta.etag) for name, one in planned.annotations.items()))
            for planned in self._plan.batches
            if planned.name == batch
        ]
        return blake2b(
            repr((filters, self._plan.fraction, versions, request.versions)).encode(), digest_size=16
        ).hexdigest()

    def count(self) -> int:
        """How many rows are selected; reads only the columns that the filters need."""
        with closing(self._pass(self._plan.batches, Wanted(columns=_nothing), _counts)) as counts:
            return sum(counts)

    def lines(self) -> Generator[tuple[int, bytes], None, None]:
        """Every selected row as one JSON object a line, system columns too unless columns were chosen; in blocks.

        Each block is (number of rows, their lines). Faster than encoding the rows of ``blocks``.
        """
        with closing(self._pass(self._plan.batches, Wanted(columns=_table_values), _line_blocks)) as blocks:
            yield from blocks

    def csv(self) -> Generator[tuple[int, bytes], None, None]:
        """Every selected row as a line of CSV, with the columns of ``lines``; first (0, the line with their names)."""
        from datalake_service.tables.formats.delimited import header_line

        yield 0, header_line([reference.label for reference in self._plan.table_columns])
        with closing(self._pass(self._plan.batches, Wanted(columns=_table_values), _csv_blocks)) as blocks:
            yield from blocks

    def parquet(self) -> Generator[bytes, None, None]:
        """One Parquet file of all selected rows, piece by piece, like ``to_parquet``."""
        from datalake_service.tables.formats.output import parquet_pieces

        with closing(self._arrow()) as batches:
            yield from parquet_pieces(self._table_columns(), batches)

    # Tables ------------------------------------------------------------------------------------------

    def to_arrow(self) -> pa.Table:
        """All selected rows as an Arrow table. Mixed and nested columns are JSON text, and marked so."""
        from datalake_service.tables.formats.output import table_of

        with closing(self._arrow()) as batches:
            return table_of(self._table_columns(), batches)

    def to_pandas(self) -> pd.DataFrame:
        """All selected rows as a data frame of pandas."""
        from datalake_service.tables.formats.output import pandas_of

        return pandas_of(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """All selected rows as a data frame of Polars."""
        from datalake_service.tables.formats.output import polars_of

        return polars_of(self.to_arrow())

    def to_parquet(self, path: str | Path, *, metadata: Callable[[], Mapping[str, str]] | None = None) -> int:
        """Write all selected rows to one Parquet file, which appears when it is complete; returns their number.

        Memory does not grow with the rows. ``metadata`` is asked in the end for what the file says of itself.

        Raises:
            UsageError: The file cannot be written.
        """
        from datalake_service.tables.formats.output import write_parquet

        with closing(self._arrow()) as batches:
            return write_parquet(Path(path), self._table_columns(), batches, metadata=metadata)

    def to_parquet_shards(self, name: Callable[[int], Path], *, shard_bytes: int) -> Generator[int, None, None]:
        """Write all selected rows to Parquet files of about so many bytes before compression; yields rows of each.

        ``name`` says the path of file 0, 1, …; there is one at least. They are not hidden while they are written.
        """
        from datalake_service.tables.formats.output import write_parquet_shards

        with closing(self._arrow()) as batches:
            yield from write_parquet_shards(name, self._table_columns(), batches, shard_bytes=shard_bytes)

    def _table_columns(self) -> list[tuple[str, ColumnType]]:
        return [(reference.label, self._plan.schema.type_of(reference)) for reference in self._plan.table_columns]

    def _arrow(self) -> BatchPass[pa.RecordBatch]:
        return self._pass(self._plan.batches, Wanted(columns=_table_values, typed=True), _arrow_batches)

    def lineage(self) -> dict[str, Any]:
        """What the rows come from: versions of objects as they were read last (planned, if none was), and how."""
        request = self._request
        filters = {"filter": request.filter, "baseFilter": request.base_filter}
        filters |= {f"annotatorFilters.{name}": one for name, one in (request.annotator_filters or {}).items()}
        read = [self._last_read.get(batch.name, batch) for batch in self._plan.batches]
        return {
            "uri": self._store.uri,
            "dataset": self.dataset,
            "filters": {name: one.model_dump(mode="json") for name, one in filters.items() if one is not None},
            "fraction": self._plan.fraction,
            "columns": list(self.columns),
            "batches": [{"batch": batch.name, **_object(batch.base)} for batch in read],
            "annotators": [_annotator_lineage(name, read, request) for name in self._plan.schema.annotators],
        }

    # Life --------------------------------------------------------------------------------------------

    def _pass(self, batches: Sequence[PlannedBatch], wanted: Wanted, answer: Answer[_T]) -> BatchPass[_T]:
        made = BatchPass(
            self._store, self._planner, self._plan, batches, wanted=wanted, answer=answer, limits=self._limits
        )
        self._passes.add(made)
        self._last_read = made.read
        return made

    def close(self) -> None:
        """Give back what iterations that were not finished still hold. They cannot be continued; new ones can begin."""
        for one in list(self._passes):
            one.close()
        self._planner.databases.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class _AsyncRows(AsyncIterator[ExportRow]):
    """Rows of blocks that are read in threads, one block at a time."""

    def __init__(self, blocks: Generator[list[ExportRow], None, None]) -> None:
        self._blocks = blocks
        self._rows: Iterator[ExportRow] = iter(())

    async def __anext__(self) -> ExportRow:
        for row in self._rows:
            return row
        import asyncio

        block = await asyncio.to_thread(next, self._blocks, None)
        if block is None:
            raise StopAsyncIteration
        self._rows = iter(block)
        return next(self._rows)


def _object(version: Version) -> dict[str, Any]:
    return {"key": version.meta.key, "etag": version.meta.etag, "rows": version.footer.rows}


def _annotator_lineage(name: str, batches: Sequence[PlannedBatch], request: ViewRequest) -> dict[str, Any]:
    read = {batch.name: batch.annotations[name] for batch in batches if name in batch.annotations}
    versions = {key for version in read.values() for key in version.footer.versions}
    return {
        "annotator": name,
        "pinned": (request.versions or {}).get(name),
        "versions": [
            {"version": label, "code": code}
            for label, code in sorted(versions, key=lambda key: (key[0] or "", key[1] or ""))
        ],
        "batches": [
            {"batch": batch, **_object(version), "older": None if version.older is None else _object(version.older)}
            for batch, version in read.items()
        ],
    }


def _nothing(_plan: ViewPlan) -> tuple[()]:
    return ()


def _row_values(plan: ViewPlan) -> tuple[Reference, ...]:
    return (*plan.row_columns, CREATED_AT)


def _item_values(plan: ViewPlan) -> tuple[Reference, ...]:
    return plan.row_columns


def _table_values(plan: ViewPlan) -> tuple[Reference, ...]:
    return plan.table_columns


def _row_blocks(ask: Ask) -> Iterator[list[ExportRow]]:
    """Python rows of one batch."""
    keys = ask.columns[:-1]
    make = RowMaker([key.label for key in keys], [ask.batch.stored_type(key) for key in keys], batch=ask.batch.name)
    for tuples in _tuples(ask):
        yield make(tuples)


def _item_blocks(ask: Ask) -> Iterator[list[DataItem]]:
    """Items of one batch."""
    kinds = [ask.batch.stored_type(column) for column in ask.columns]
    make = ItemMaker([column.label for column in ask.columns], kinds, batch=ask.batch.name)
    for tuples in _tuples(ask):
        yield make(tuples)


def _line_blocks(ask: Ask) -> Iterator[tuple[int, bytes]]:
    """Lines of JSON of one batch, and how many."""
    make = LineMaker([key.label for key in ask.columns], [ask.batch.stored_type(key) for key in ask.columns])
    for tuples in _tuples(ask):
        yield len(tuples), make(tuples)


def _csv_blocks(ask: Ask) -> Iterator[tuple[int, bytes]]:
    """Lines of CSV of one batch, and how many rows."""
    from datalake_service.tables.formats.delimited import CsvMaker

    make = CsvMaker([ask.batch.stored_type(key) for key in ask.columns])
    for tuples in _tuples(ask):
        yield len(tuples), make(tuples)


def _tuples(ask: Ask) -> Iterator[list[tuple[Any, ...]]]:
    size = max(_MIN_ROWS, min(_MAX_ROWS, _BLOCK_BYTES // _row_bytes(ask.batch)))
    return fetch_rows(ask.engine.connection, ask.query, size=size, doing=_doing(ask))


def _arrow_batches(ask: Ask) -> Iterator[pa.RecordBatch]:
    size = max(_MIN_ROWS, min(_MAX_TABLE_ROWS, _TABLE_BYTES // _row_bytes(ask.batch)))
    return fetch_arrow(ask.engine.connection, ask.query, size=size, doing=_doing(ask))


def _counts(ask: Ask) -> Iterator[int]:
    yield count_rows(ask.engine.connection, ask.query, doing=_doing(ask))


def _doing(ask: Ask) -> str:
    return f"read batch {ask.batch.name!r}"


def _row_bytes(batch: PlannedBatch) -> int:
    """About what a row takes in memory."""
    return 1 + _EXPANSION * batch.size // max(1, batch.base.footer.rows)
