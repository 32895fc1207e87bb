"""Everything that waits for a merge, one batch after the other; a bad one never stops the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import list_datasets
from datalake_service.catalog.deletions import is_deleted
from datalake_service.config.names import check_name
from datalake_service.errors import DatalakeError, DatasetNotFoundError
from datalake_service.pipeline.merge import merge_annotator, merge_batch
from datalake_service.pipeline.merge_result import MergeLimits, MergeResult
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.probe import require_conditions
from datalake_utils.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of one batch, or of one annotator's rows of it."""

    dataset: str
    batch: str | None = None
    """``None``: the error, or the warning, is about all batches."""
    annotator: str | None = None
    """``None``: the rows themselves."""
    result: MergeResult | None = None
    warnings: tuple[str, ...] = ()
    """Beside those of ``result``."""
    error: str | None = None
    """Why it could not be merged, in one line; nothing was replaced then."""


@dataclass(slots=True)
class _Waiting:
    """What one listing of a dataset found to do."""

    batches: set[str] = field(default_factory=set)
    annotators: set[str] = field(default_factory=set)
    anything: bool = False


def clean_up(
    store: ObjectStore,
    *,
    datasets: Mapping[str, Collection[str] | None] | None = None,
    annotators: Collection[tuple[str, str]] | None = None,
    limits: MergeLimits | None = None,
    clock: Clock | None = None,
) -> Iterator[BatchResult]:
    """Merge everything that has chunks, and say of each batch what became of it, as it happens.

    Args:
        store: The lake.
        datasets: Only these, each with all that is in it (``None``) or with the named batches.
        annotators: Only these, (dataset, annotator) each. Neither this nor ``datasets``: the whole lake.
        limits: What each merge may use of this machine.
        clock: Time source.

    Raises:
        NameNotAllowedError: A name is not portable; nothing was done.
        StoreError: The lake cannot be listed, or its store ignores conditional writes.
    """
    _check_names(datasets or {}, annotators or ())
    require_conditions(store)
    merges = _Merges(store, limits or MergeLimits(), clock)
    everything = datasets is None and annotators is None
    wanted = dict.fromkeys(list_datasets(store)) if everything else dict(datasets or {})
    return merges.run(wanted, annotators or (), everything=everything)


def _check_names(datasets: Mapping[str, Collection[str] | None], annotators: Collection[tuple[str, str]]) -> None:
    for dataset, batches in datasets.items():
        check_name(dataset, what="dataset")
        for batch in batches or ():
            check_name(batch, what="batch")
    for dataset, annotator in annotators:
        check_name(dataset, what="dataset")
        check_name(annotator, what="annotator")


class _Merges:
    """Merges one after the other."""

    def __init__(self, store: ObjectStore, limits: MergeLimits, clock: Clock | None) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock

    def run(
        self,
        datasets: Mapping[str, Collection[str] | None],
        annotators: Collection[tuple[str, str]],
        *,
        everything: bool,
    ) -> Iterator[BatchResult]:
        for dataset, batches in datasets.items():
            try:
                if is_deleted(self._store, dataset):
                    if not everything:
                        yield BatchResult(dataset=dataset, error="the dataset was deleted; restore it first")
                    continue
                waiting = self._waiting(dataset)
                if not waiting.anything:
                    msg = f"no dataset {dataset!r} in {self._store.uri}; see: datalake datasets list"
                    raise DatasetNotFoundError(msg)
            except DatalakeError as error:
                yield BatchResult(dataset=dataset, error=str(error))
                continue
            for batch in sorted(waiting.batches if batches is None else batches):
                if batch in waiting.batches or self._exists(dataset, batch):
                    yield self._batch(dataset, batch)
                else:
                    yield BatchResult(dataset=dataset, batch=batch, error=f"dataset {dataset!r} has no such batch")
            for annotator in sorted(waiting.annotators if batches is None else ()):
                yield from self._annotator(dataset, annotator)
        for dataset, annotator in annotators:
            yield from self._annotator(dataset, annotator)

    def _waiting(self, dataset: str) -> _Waiting:
        waiting = _Waiting()
        for meta in self._store.list(layout.dataset_prefix(dataset)):
            waiting.anything = True
            found = layout.parse_unmerged(dataset, meta.key)
            if found is not None and found.batch is not None:
                waiting.batches.add(found.batch)
            elif found is not None and found.annotator is not None:
                waiting.annotators.add(found.annotator)
        return waiting

    def _exists(self, dataset: str, batch: str) -> bool:
        return next(iter(self._store.list(layout.batch_prefix(dataset, batch))), None) is not None

    def _batch(self, dataset: str, batch: str) -> BatchResult:
        try:
            result = merge_batch(self._store, dataset, batch, limits=self._limits, clock=self._clock)
        except (DatalakeError, OSError, MemoryError) as error:
            return BatchResult(dataset=dataset, batch=batch, error=_one_line(error))
        return BatchResult(dataset=dataset, batch=batch, result=result)

    def _annotator(self, dataset: str, annotator: str) -> Iterator[BatchResult]:
        failures: dict[str, DatalakeError] = {}
        try:
            merged = merge_annotator(
                self._store,
                dataset,
                annotator,
                limits=self._limits,
                clock=self._clock,
                on_failure=failures.__setitem__,
            )
        except (DatalakeError, OSError, MemoryError) as error:
            yield BatchResult(dataset=dataset, annotator=annotator, error=_one_line(error))
            return
        for batch, result in sorted(merged.batches.items()):
            yield BatchResult(dataset=dataset, batch=batch, annotator=annotator, result=result)
        for batch, failure in sorted(failures.items()):
            yield BatchResult(dataset=dataset, batch=batch, annotator=annotator, error=_one_line(failure))
        warnings = merged.warnings
        if merged.rejected:
            kept = layout.annotator_rejected_prefix(dataset, annotator)
            warnings = (f"{merged.rejected} lines are no annotation rows; they were moved to {kept}", *warnings)
        if warnings:
            yield BatchResult(dataset=dataset, annotator=annotator, warnings=warnings)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, DatalakeError) else f"{type(error).__name__}: {text}"
