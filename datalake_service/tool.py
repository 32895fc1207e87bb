"""The Python surface: a lake, and what is done with it. Asynchronous; everything below it is not.

Examples of all of it stand in ``docs/guide/python.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from datalake_service.errors import ConfigError, UsageError
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store

if TYPE_CHECKING:
    from datalake_service.config.filters import FilterNode
    from datalake_service.config.streaming import StreamingConfigs
    from datalake_service.pipeline.annotation.view import AnnotationView
    from datalake_service.pipeline.ingest import IngestResult
    from datalake_service.pipeline.upkeep.cleanup import BatchResult

    Filter = FilterNode | Mapping[str, Any] | str


class _View(Protocol):
    def close(self) -> None: ...


_V = TypeVar("_V", bound=_View)


class _StreamingConfigs:
    """``S3DataTool.StreamingConfigs``, loaded when it is asked for: pydantic takes its time."""

    def __get__(self, instance: object, owner: type | None = None) -> type[StreamingConfigs]:
        from datalake_service.config.streaming import StreamingConfigs

        return StreamingConfigs


class S3DataTool:
    """A lake: datasets to write, to annotate and to read.

    ``S3DataTool()`` is the lake that the environment (or ``.env``) names; ``S3DataTool("s3://bucket/prefix")`` and
    ``S3DataTool("./lake")`` name it themselves. Nothing is asked of it before the first use.
    """

    StreamingConfigs = _StreamingConfigs()

    def __init__(  # noqa: PLR0913 - one keyword for each setting
        self,
        uri: str | Path | None = None,
        *,
        bucket: str | None = None,
        prefix: str | None = None,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        mutex_url: str | None = None,
        mutex_token: str | None = None,
    ) -> None:
        """Name the lake; what is not given is looked up in the environment, then in ``.env``.

        Args:
            uri: ``s3://bucket/prefix``, or a folder.
            bucket: The bucket, instead of ``uri``.
            prefix: Where in ``bucket`` the lake is.
            endpoint_url: Server of an S3-compatible store.
            access_key: Key of the store; without one, what AWS tools use.
            secret_key: Belongs to ``access_key``.
            session_token: Belongs to temporary keys.
            region: Of the bucket.
            mutex_url: Server of the mutex, for a store that ignores conditional writes.
            mutex_token: What that server wants to be shown.

        Raises:
            ConfigError: The address or the combination cannot work.
        """
        named = _address(uri, bucket, prefix)
        if named is not None and not named.lower().startswith("s3://"):
            self._store = open_store(named)  # a folder needs nothing of the environment
            return
        from datalake_service.config.settings import Settings

        settings = Settings.load(
            uri=named,
            endpoint_url=endpoint_url,
            access_key=access_key,
            secret_key=secret_key,
            mutex_url=mutex_url,
            mutex_token=mutex_token,
        )
        self._store = open_store(settings.uri, **settings.store_options(), session_token=session_token, region=region)

    def __repr__(self) -> str:
        """Show where it is."""
        return f"S3DataTool({self.uri!r})"

    @property
    def uri(self) -> str:
        """Where the lake is."""
        return self._store.uri

    @property
    def store(self) -> ObjectStore:
        """The lake's objects, for what this class does not offer."""
        return self._store

    @property
    def dataset_generator(self) -> DatasetGenerator:
        """For writing rows: ``async with tool.dataset_generator as generator``, with or without ``()``."""
        return DatasetGenerator(self._store)

    async def clean_up(
        self,
        datasets: Sequence[str] | None = None,
        annotators: Sequence[tuple[str, str]] | None = None,
    ) -> list[BatchResult]:
        """Merge everything that has chunks, as ``datalake clean-up`` does: from then on views show it.

        A batch that cannot be merged stops no other; its result holds the ``error``.

        Args:
            datasets: Only these.
            annotators: Only these, (dataset, annotator) each. Neither this nor ``datasets``: everything.

        Raises:
            NameNotAllowedError: A name is not portable; nothing was done.
            StoreError: The lake cannot be listed.
        """
        import asyncio

        from datalake_service.pipeline.upkeep.cleanup import clean_up

        wanted = None if datasets is None else dict.fromkeys(datasets)
        return await asyncio.to_thread(lambda: list(clean_up(self._store, datasets=wanted, annotators=annotators)))

    def filter_for_export(  # noqa: PLR0913 - columns, filters and versions
        self,
        name: str,
        base_columns: Sequence[str] | None = None,
        annotator_columns: Mapping[str, Sequence[str] | None] | None = None,
        filter: Filter | None = None,
        base_filter: Filter | None = None,
        annotator_filters: Mapping[str, Filter] | None = None,
        fraction: float = 1.0,
        batches: Sequence[str] | None = None,
        *,
        versions: Mapping[str, str] | None = None,
    ) -> ViewContext[DatasetView]:
        """A view of a dataset for ``async with`` or ``with``: rows as dicts, or a table.

        Args:
            name: The dataset.
            base_columns: Columns of the rows themselves; default: all.
            annotator_columns: Columns by annotator, ``None`` for all of one; default: all of all annotators.
            filter: Which rows; names base columns plain and others qualified (``lang.label``).
            base_filter: As well; names base columns.
            annotator_filters: As well, by annotator; each names its own columns plain.
            fraction: The share of the rows, the same rows each time; a larger share contains a smaller one.
            batches: Only these; default: all.
            versions: By annotator, the only version whose annotations are read: a label, or ``code:`` and a code hash.

        Raises:
            FilterError: A filter is none, or cannot be used (raised when the view is entered).
            UsageError: Another argument cannot be used.
            DatasetNotFoundError: There is no such dataset (raised when the view is entered).
            DatasetNotMergedError: Nothing of it was ever merged (raised when the view is entered).
        """
        request = ViewRequest(
            dataset=name,
            base_columns=base_columns,
            annotator_columns=annotator_columns,
            filter=_parsed(filter, "filter"),
            base_filter=_parsed(base_filter, "base_filter"),
            annotator_filters=_parsed_each(annotator_filters),
            fraction=fraction,
            batches=batches,
            versions=versions,
        )
        return ViewContext(lambda: DatasetView(self._store, request))

    def filter_for_annotation(  # noqa: PLR0913, PLR0917 - columns and filters as for an export
        self,
        name: str,
        annotator_name: str,
        base_columns: Sequence[str] | None = None,
        annotator_columns: Mapping[str, Sequence[str] | None] | None = None,
        filter: Filter | None = None,
        base_filter: Filter | None = None,
        annotator_filters: Mapping[str, Filter] | None = None,
        fraction: float = 1.0,
        batches: Sequence[str] | None = None,
        lock_ttl_ms: int = 3_600_000,
        *,
        shared: bool = False,
    ) -> ViewContext[AnnotationView]:
        """A view of a dataset for ``async with``, whose rows an annotator adds columns to.

        Args:
            name: The dataset.
            annotator_name: Under which the new columns are stored.
            base_columns: Columns that the annotator sees; default: all.
            annotator_columns: Columns of other annotators that it sees; default: none.
            filter: Which rows; names base columns plain and others qualified (``lang.label``).
            base_filter: As well; names base columns.
            annotator_filters: As well, by annotator; each names its own columns plain.
            fraction: The share of the rows, the same rows each time; a larger share contains a smaller one.
            batches: Only these; default: all.
            lock_ttl_ms: How long the annotator stays locked after this process was killed, in milliseconds; if it is
                shared, the batches that this process was working on.
            shared: Let many workers work on the annotator at once, each on batches of its own. All of them say so.

        Raises:
            AnnotationLockError: A live worker holds the annotator, and does not share it with this one (raised when
                the view is entered).
            FilterError: A filter is none, or cannot be used (raised when the view is entered).
            UsageError: Another argument cannot be used.
            DatasetNotFoundError: There is no such dataset (raised when the view is entered).
            DatasetNotMergedError: Nothing of it was ever merged (raised when the view is entered).
        """
        from datalake_service.config.names import check_name

        check_name(annotator_name, what="annotator")
        request = ViewRequest(
            dataset=name,
            base_columns=base_columns,
            annotator_columns=annotator_columns or {},
            filter=_parsed(filter, "filter"),
            base_filter=_parsed(base_filter, "base_filter"),
            annotator_filters=_parsed_each(annotator_filters),
            fraction=fraction,
            batches=batches,
        )

        def make() -> AnnotationView:
            from datalake_service.pipeline.annotation.view import AnnotationView

            return AnnotationView(self._store, request, annotator_name, lock_ttl_ms=lock_ttl_ms, shared=shared)

        return ViewContext(make)


def _address(uri: str | Path | None, bucket: str | None, prefix: str | None) -> str | None:
    if uri is not None:
        if bucket is not None or prefix is not None:
            raise ConfigError("name the lake once: either as uri, or as bucket and prefix")
        return str(uri)
    if bucket is None:
        if prefix is not None:
            raise ConfigError("a prefix needs its bucket: give both, or the uri")
        return None
    from datalake_service.config.location import join_s3

    return join_s3(bucket, prefix or "")


def _parsed(given: Filter | None, what: str) -> FilterNode | None:
    if given is None:
        return None
    from datalake_service.config.filters import parse_filter

    return parse_filter(given, what=what)


def _parsed_each(
    given: Mapping[str, Filter] | None,
) -> dict[str, FilterNode]:
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"annotator_filters must be a dict of filters by annotator, not {type(given).__name__}")
    found = {name: _parsed(node, f"annotator_filters[{name!r}]") for name, node in (given or {}).items()}
    return {name: node for name, node in found.items() if node is not None}


class DatasetGenerator:
    """Writes rows into datasets. Holds nothing open between two calls."""

    def __init__(self, store: ObjectStore) -> None:
        """Write into ``store``."""
        self._store = store

    def __call__(self) -> Self:
        """Return itself: ``dataset_generator()`` is the same as ``dataset_generator``."""
        return self

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: every row that was yielded is stored when ``from_async_iterator`` returns or raises."""

    async def from_async_iterator(
        self,
        iterator: AsyncIterable[Any] | Iterable[Any],
        *,
        name: str,
        batch: str,
        streaming_configs: StreamingConfigs | None = None,
        deduplicate_on: Sequence[str] | None = None,
    ) -> IngestResult:
        """Store every row of an iterator, asynchronous or plain, as a new run of a batch.

        Rows become durable chunk by chunk. Whatever ends the run, every row that was yielded before is stored.
        Views show rows once they are merged (``datalake clean-up``).

        Args:
            iterator: Yields dicts (or dataclasses, pydantic models) of JSON values.
            name: The dataset; it is made if there is none.
            batch: The batch; it is made if there is none.
            streaming_configs: How rows are cut into chunks.
            deduplicate_on: Columns whose equality makes two rows of the batch duplicates.

        Raises:
            NameNotAllowedError: A name is not portable; nothing was written.
            RowError: A row cannot be stored; the message names its number and column.
            StoreError: The lake cannot be written.
        """
        from datalake_service.pipeline.ingest import ingest_iterator

        configs = streaming_configs or S3DataTool.StreamingConfigs()
        return await ingest_iterator(
            self._store,
            iterator,
            dataset=name,
            batch=batch,
            chunk_size=configs.chunk_size,
            deduplicate_on=deduplicate_on,
        )


class ViewContext(Generic[_V]):
    """A view that is planned when it is entered, by ``async with`` (in a thread) or ``with``."""

    def __init__(self, make: Callable[[], _V]) -> None:
        """Plan nothing yet."""
        self._make = make
        self._view: _V | None = None

    async def __aenter__(self) -> _V:
        """Plan the view."""
        import asyncio

        self._view = await asyncio.to_thread(self._make)
        return self._view

    async def __aexit__(self, *_: object) -> None:
        """Give back what iterations that were not finished still hold."""
        if self._view is not None:
            import asyncio

            await asyncio.to_thread(self._view.close)

    def __enter__(self) -> _V:
        """Plan the view."""
        self._view = self._make()
        return self._view

    def __exit__(self, *_: object) -> None:
        """Give back what iterations that were not finished still hold."""
        if self._view is not None:
            self._view.close()
