"""Everything that waits for a merge, batch by batch, and what dead processes left; a bad one never stops the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import list_datasets
from datalake_service.catalog.deletions import is_deleted
from datalake_service.config.names import check_name
from datalake_service.errors import AccessDeniedError, DatalakeError, DatasetNotFoundError, NotSupportedError
from datalake_service.pipeline.merging.merge import merge_annotator, merge_batch
from datalake_service.pipeline.merging.result import MergeLimits, MergeResult
from datalake_service.pipeline.upkeep.leftovers import (
    OLDER_THAN,
    Age,
    Suspects,
    check_age,
    remove_from_store,
    remove_leftovers,
)
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.probe import require_conditions
from datalake_service.storage.store_time import store_time
from datalake_utils.clock import Clock

_DELETED = "the dataset was deleted; restore it first"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of one batch, of one annotator's rows of it, or of what was left over in a dataset or in the lake."""

    dataset: str | None
    """``None``: it is about the lake."""
    batch: str | None = None
    """``None``: the error, or the warning, is about all batches."""
    annotator: str | None = None
    """``None``: the rows themselves."""
    result: MergeResult | None = None
    warnings: tuple[str, ...] = ()
    """Beside those of ``result``."""
    removed: Mapping[str, int] | None = None
    """Leftovers that were removed, by kind (``LeftoverKind``)."""
    error: str | None = None
    """Why it could not be merged, in one line; nothing was replaced then."""


@dataclass(slots=True)
class _Waiting:
    """What one listing of a dataset found to do."""

    suspects: Suspects
    batches: set[str] = field(default_factory=set)
    annotators: set[str] = field(default_factory=set)
    anything: bool = False


def clean_up(
    store: ObjectStore,
    *,
    datasets: Mapping[str, Collection[str] | None] | None = None,
    annotators: Collection[tuple[str, str]] | None = None,
    limits: MergeLimits | None = None,
    leftovers_older_than: timedelta = OLDER_THAN,
    replaced_older_than: timedelta | None = None,
    thorough: bool = False,
    clock: Clock | None = None,
) -> Iterator[BatchResult]:
    """Merge everything that has chunks, remove what dead processes left, and say what became of it, as it happens.

    An unchanged batch costs nothing but its part of a listing.

    Args:
        store: The lake.
        datasets: Only these, each with all that is in it (``None``) or with the named batches.
        annotators: Only these, (dataset, annotator) each. Neither this nor ``datasets``: the whole lake.
        limits: What each merge may use of this machine.
        leftovers_older_than: Younger leftovers stay, by the store's clock; two hours at least.
        replaced_older_than: Remove annotations that newer versions have replaced, of versions that made nothing for so
            long; ``None``: none. Costs a request or two for each annotated batch.
        thorough: Also look at every batch and task that may have leftovers although its listing looks well.
        clock: Time source.

    Raises:
        NameNotAllowedError: A name is not portable; nothing was done.
        UsageError: ``leftovers_older_than`` is too short; nothing was done.
        StoreError: The lake cannot be listed, or its store ignores conditional writes.
    """
    _check_names(datasets or {}, annotators or ())
    age = Age(check_age(leftovers_older_than), thorough, cache(lambda: store_time(store)))
    require_conditions(store)
    forget_before = None if replaced_older_than is None else age.store_now() - replaced_older_than
    merges = _CleanUp(store, limits or MergeLimits(), age, clock, forget_before=forget_before)
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


class _CleanUp:
    """Merges one after the other, then the leftovers of each dataset."""

    def __init__(
        self,
        store: ObjectStore,
        limits: MergeLimits,
        age: Age,
        clock: Clock | None,
        *,
        forget_before: datetime | None = None,
    ) -> None:
        self._store = store
        self._limits = limits
        self._age = age
        self._clock = clock
        self._forget_before = forget_before

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
                        yield BatchResult(dataset=dataset, error=_DELETED)
                    continue
                waiting = self._waiting(dataset, batches)
                if not waiting.anything:
                    msg = f"no dataset {dataset!r} in {self._store.uri}; see: datalake datasets list"
                    raise DatasetNotFoundError(msg)
            except DatalakeError as error:
                yield BatchResult(dataset=dataset, error=str(error))
                continue
            yield from self._dataset(dataset, batches, waiting)
        for dataset, annotator in annotators:
            yield from self._chosen_annotator(dataset, annotator)
        if everything:
            yield from self._leftovers_of_the_lake()

    def _chosen_annotator(self, dataset: str, annotator: str) -> Iterator[BatchResult]:
        try:
            if is_deleted(self._store, dataset):
                yield BatchResult(dataset=dataset, annotator=annotator, error=_DELETED)
                return
        except DatalakeError as error:
            yield BatchResult(dataset=dataset, annotator=annotator, error=str(error))
            return
        yield from self._annotator(dataset, annotator)

    def _dataset(self, dataset: str, batches: Collection[str] | None, waiting: _Waiting) -> Iterator[BatchResult]:
        for batch in sorted(waiting.batches if batches is None else batches):
            if batch in waiting.batches or self._exists(dataset, batch):
                yield self._batch(dataset, batch)
            else:
                yield BatchResult(dataset=dataset, batch=batch, error=f"dataset {dataset!r} has no such batch")
        for annotator in sorted(waiting.annotators if batches is None else ()):
            yield from self._annotator(dataset, annotator)
        yield from self._leftovers(dataset, waiting.suspects)

    def _waiting(self, dataset: str, batches: Collection[str] | None) -> _Waiting:
        waiting = _Waiting(Suspects(dataset, batches=batches))
        for meta in self._store.list(layout.dataset_prefix(dataset)):
            waiting.anything = True
            waiting.suspects.see(meta)
            found = layout.parse_unmerged(dataset, meta.key)
            if found is not None and found.batch is not None:
                waiting.batches.add(found.batch)
            elif found is not None and found.annotator is not None:
                waiting.annotators.add(found.annotator)
        if self._forget_before is not None:
            waiting.annotators.update(self._store.list_folders(layout.annotators_prefix(dataset)))
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
                forget_before=self._forget_before,
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

    def _leftovers(self, dataset: str, suspects: Suspects) -> Iterator[BatchResult]:
        found = remove_leftovers(self._store, suspects, self._age)
        error = "leftovers stay: " + "; ".join(map(_one_line, found.errors)) if found.errors else None
        if found.counts or error:
            yield BatchResult(dataset=dataset, removed=found.counts or None, error=error)

    def _leftovers_of_the_lake(self) -> Iterator[BatchResult]:
        try:
            removed = remove_from_store(self._store, self._age)
        except (AccessDeniedError, NotSupportedError) as error:  # what cannot be seen cannot be removed; no harm
            yield BatchResult(dataset=None, warnings=(f"unfinished uploads stay: {_one_line(error)}",))
            return
        except (DatalakeError, OSError) as error:
            yield BatchResult(dataset=None, error=f"leftovers stay: {_one_line(error)}")
            return
        if removed:
            yield BatchResult(dataset=None, removed=removed)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, DatalakeError) else f"{type(error).__name__}: {text}"
