"""A view whose rows are items for an annotator: read them, or let them be annotated."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from datalake_interfaces.annotators import DataItem
from datalake_service.catalog.makers import Maker
from datalake_service.catalog.parts import Part
from datalake_service.errors import UsageError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import (
    AnnotationJob,
    AnnotationOptions,
    AnnotationReport,
    Executor,
    Retry,
    Reuse,
)
from datalake_service.pipeline.annotation.lease import AnnotatorLease, WorkerLease
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.database.engine import EngineLimits

if TYPE_CHECKING:
    from datalake_interfaces.annotators import Annotator
    from datalake_service.annotating.calls import AnnotateFunction
    from datalake_service.annotating.policy import CallPolicy
    from datalake_service.config.streaming import StreamingConfigs


class AnnotationView:
    """The rows that a filter selects, and the annotator that adds columns to them.

    Iterating shows every selected row as a ``DataItem``, those that are annotated already included, and takes no lock.
    """

    def __init__(
        self,
        store: ObjectStore,
        request: ViewRequest,
        annotator: str,
        *,
        lock_ttl_ms: int = 3_600_000,
        shared: bool = False,
        limits: EngineLimits | None = None,
    ) -> None:
        """Plan the view.

        Args:
            store: The lake.
            request: Which rows and columns.
            annotator: Under which the new columns are stored.
            lock_ttl_ms: How long the annotator stays locked after this process was killed.
            shared: Share the annotator with other workers that do the same.
            limits: What a query may use of the machine.

        Raises:
            AnnotationLockError: A live worker holds the annotator, and does not share it with this one.
            DatasetNotFoundError: There is no such dataset.
            DatasetNotMergedError: Nothing of it was ever merged.
            FilterError: A filter cannot be used.
            UsageError: Another argument cannot be used.
            StoreError: The lake cannot be read.
        """
        self._options = AnnotationOptions(lock_ttl_ms=lock_ttl_ms, shared=shared)
        (WorkerLease if shared else AnnotatorLease)(store, request.dataset, annotator).refuse_if_held()
        self._store = store
        self._request = request
        self._view = DatasetView(store, request, limits=limits)
        self.annotator = annotator
        """The name of the annotator."""

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self._view.dataset

    @property
    def batches(self) -> tuple[str, ...]:
        """The merged batches that are read, in this order."""
        return self._view.batches

    @property
    def columns(self) -> tuple[str, ...]:
        """The keys of every item's data."""
        return self._view.columns

    def __iter__(self) -> Iterator[DataItem]:
        """Every selected row."""
        for batch in self.batches:
            for block in self.read(batch):
                yield from block

    async def __aiter__(self) -> AsyncIterator[DataItem]:
        """Every selected row; queries run in threads."""
        async for row in self._view:
            yield DataItem(dict(row), row["id"], row.batch)

    def read(
        self,
        batch: str,
        *,
        leave_out: Collection[str] = (),
        part: Part | None = None,
        left_out: Callable[[int], None] | None = None,
    ) -> Generator[list[DataItem], None, None]:
        """The selected rows of one batch, in blocks; see ``DatasetView.read``."""
        return self._view.read(batch, leave_out=leave_out, part=part, left_out=left_out)

    def size(self, batch: str) -> int:
        """About how many rows of one batch are selected; see ``DatasetView.size``."""
        return self._view.size(batch)

    def parts(self, batch: str) -> Sequence[Part]:
        """The parts of one batch; see ``DatasetView.parts``."""
        return self._view.parts(batch)

    def selection(self, batch: str) -> str:
        """What names the selected rows of one batch; see ``DatasetView.selection``."""
        return self._view.selection(batch)

    def count(self) -> int:
        """How many rows are selected, those that are annotated already included."""
        return self._view.count()

    async def annotate(  # noqa: PLR0913 - how a run is done, in keywords
        self,
        annotate_fn: AnnotateFunction | Annotator,
        max_concurrency: int = 16,
        *,
        batch: str | None = None,
        batches: Sequence[str] | None = None,
        max_batches: int | None = None,
        streaming_configs: StreamingConfigs | None = None,
        timeout_seconds: float | None = None,
        max_errors: int | None = None,
        max_error_share: float | None = None,
        calls: CallPolicy | None = None,
        executor: Executor = "threads",
        version: str | None = None,
        retry: Retry | None = None,
        reuse: Reuse | None = None,
        campaign: str | None = None,
        progress: Callable[[AnnotationReport], None] | None = None,
    ) -> AnnotationReport:
        """Ask about every selected row that is not annotated yet, and store the answers.

        A row whose answer is stored is never asked again; a row that failed is, by the next run. The lease of the
        annotator is held meanwhile and given back whatever happens. If the annotator is shared, each batch is worked
        on by one worker, and this returns when every batch was seen to its end by one of them.

        Args:
            annotate_fn: Async or plain function from a ``DataItem`` to an ``Annotation``, or an ``Annotator``.
            max_concurrency: Calls at once, at most; of a ``BatchAnnotator``, each is for many rows.
            batch: Only this batch.
            batches: Only these batches.
            max_batches: Stop after so many batches in which there was something to do for this worker.
            streaming_configs: How results are cut into chunks.
            timeout_seconds: For each row.
            max_errors: Failed rows that are tolerated; default: any number.
            max_error_share: The same as a share of the rows asked.
            calls: Attempts, limits and budget; default: one attempt for each row, and no limits.
            executor: Where a plain function runs: ``"threads"``, or ``"processes"``, as many as there are processors;
                then it has to be found by its name in a module, and a script needs ``if __name__ == "__main__":``.
            version: A label of yours for this version of the annotator, kept with what it makes.
            retry: ``"failed"``: ask only rows that failed; ``"skipped"``: also those that were skipped; ``"all"``:
                every row anew. Default: new rows and those that failed.
            reuse: Whose annotations count as done: ``"label"``, those with this ``version``; ``"code"``, those of
                this code. Default: anybody's.
            campaign: A name: runs and workers that are given the same one ask each row once, whatever comes of it.
                Needed for ``"skipped"`` and ``"all"`` if the annotator is shared.
            progress: Called a few times a second.

        Raises:
            AnnotationLockError: A live worker holds the annotator, and does not share it; nothing was read.
            LimitExceededError: More rows failed than is tolerated; ``BudgetExceededError``: the budget is used up.
            LeaseLostError: The lease could not be renewed; work was stopped before it ran out.
            UsageError: There is no such batch in the view, or a number cannot be used.
            StoreError: Reading or storing failed.
        """
        options = replace(
            self._options,
            max_concurrency=max_concurrency,
            max_batches=max_batches,
            timeout_seconds=timeout_seconds,
            max_errors=max_errors,
            max_error_share=max_error_share,
            calls=calls,
            executor=executor,
            retry=retry,
            reuse=reuse,
            campaign=campaign,
            chunk_size=self._options.chunk_size if streaming_configs is None else streaming_configs.chunk_size,
        )
        job = AnnotationJob(
            self.dataset,
            self.annotator,
            self._chosen(batch, batches),
            maker=self._maker(version),
            bases=self._view.bases,
        )
        return await annotate(self._store, job, rows=self, function=annotate_fn, options=options, progress=progress)

    def _maker(self, version: str | None) -> Maker:
        """Who annotates, as far as the view knows; the function says the rest."""
        request = self._request
        filters = {
            "filter": request.filter,
            "base_filter": request.base_filter,
            **{f"annotator_filters.{name}": one for name, one in (request.annotator_filters or {}).items()},
        }
        said = {name: one.model_dump(mode="json") for name, one in filters.items() if one is not None}
        one = said.get("filter") if list(said) == ["filter"] else said
        return Maker(version=version, filter=one or None, fraction=request.fraction, columns=self.columns)

    def _chosen(self, batch: str | None, batches: Sequence[str] | None) -> Sequence[str]:
        if batch is not None and batches is not None:
            raise UsageError("give batch or batches, not both")
        if isinstance(batches, str):
            raise UsageError(f"batches must be a list of names, not {batches!r}")
        chosen = self.batches if batches is None else batches
        chosen = chosen if batch is None else (batch,)
        for name in chosen:
            if name not in self.batches:
                raise UsageError(f"the view has no merged batch {name!r}; it has {', '.join(self.batches)}")
        return tuple(dict.fromkeys(chosen))

    def close(self) -> None:
        """Give back what iterations that were not finished still hold."""
        self._view.close()
