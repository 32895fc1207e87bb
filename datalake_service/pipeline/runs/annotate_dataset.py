"""The annotators of a dataset file over a dataset that is there: no source is read. ``datalake annotate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datalake_service.catalog.deletions import require_not_deleted
from datalake_service.config.annotator import AnnotatorConfig, Retry, Reuse
from datalake_service.config.calls import BudgetConfig, CallsConfig
from datalake_service.config.dataset import DatasetConfig
from datalake_service.errors import UsageError
from datalake_service.pipeline.runs.annotators import (
    Manner,
    Rows,
    annotation_options,
    annotator_watch,
    check_annotator,
    run_annotator,
)
from datalake_service.pipeline.runs.estimating import choose_sample, predict_rest
from datalake_service.pipeline.runs.progress import Observer
from datalake_service.pipeline.runs.report import AnnotatedDataset, AnnotatorOutcome
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.probe import require_conditions
from datalake_service.tables.filters.naming import nearest_names
from datalake_utils.clock import Clock, SystemClock

_OF_ALL = frozenset({"calls", "hours"})
"""Budgets of what every annotator uses; others are for those that may report it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a command says otherwise than the dataset file. ``None``: as the file says."""

    names: Sequence[str] = ()
    """The annotators; none: all. They run in the order of the file."""
    batches: Sequence[str] | None = None
    shared: bool = False
    """Share them with other workers, whether the file says so or not."""
    max_concurrency: int | None = None
    budget: Mapping[str, float | int] = field(default_factory=dict)
    """Fields of ``BudgetConfig`` that are given anew."""
    retry: Retry | None = None
    """What is asked besides rows without an annotation, or instead of them."""
    reuse: Reuse | None = None
    """Whose annotations count as done."""
    campaign: str | None = None
    """A name for what ``retry`` asks again."""
    estimate: int | None = None
    """Ask no more than so many rows, and predict what the rest will take."""

    def __post_init__(self) -> None:
        """Refuse what cannot work together.

        Raises:
            UsageError: A sample of what is asked again.
        """
        self._check_estimate(self)

    def _check_estimate(self, asked: Changes | AnnotatorConfig) -> None:
        if self.estimate is not None and (asked.retry is not None or asked.reuse is not None):
            raise UsageError("an estimate is about rows that have no annotation yet: it goes without retry and reuse")

    @property
    def rows(self) -> Rows:
        """The rows that are asked."""
        return Rows(batches=self.batches)

    def chosen(self, config: DatasetConfig) -> tuple[AnnotatorConfig, ...]:
        """The annotators to run, as changed.

        Raises:
            UsageError: The file has no annotator, or none of a name; or a budget that cannot be kept.
        """
        known = [annotator.annotator_name for annotator in config.annotators]
        if not known:
            raise UsageError("the dataset file has no annotators; list them under annotators")
        for name in self.names:
            if name not in known:
                near = nearest_names(name, known)
                hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
                raise UsageError(f"the dataset file has no annotator {name!r}; {hint}")
        wanted = set(self.names or known)
        return tuple(self._changed(one) for one in config.annotators if one.annotator_name in wanted)

    def _changed(self, annotator: AnnotatorConfig) -> AnnotatorConfig:
        self._check_estimate(annotator)
        changed: dict[str, Any] = {}
        if self.shared:
            changed["shared"] = True
        if self.max_concurrency is not None:
            changed["max_concurrency"] = self.max_concurrency
        for name in ("retry", "reuse", "campaign"):
            if getattr(self, name) is not None:
                changed[name] = getattr(self, name)
        budgets = {kind: most for kind, most in self.budget.items() if not annotator.costs_nothing or kind in _OF_ALL}
        if budgets:
            llm = annotator.llm
            if "cost" in budgets and llm is not None and not (llm.price and llm.price.is_any):
                raise UsageError(
                    f"annotator {annotator.annotator_name}: a budget of money needs llm.price, or nobody knows the cost"
                )
            calls = annotator.calls or CallsConfig.model_validate({"maxAttempts": 5 if annotator.llm else 1})
            budget = (calls.budget or BudgetConfig.model_validate({})).model_copy(update=budgets)
            changed["calls"] = calls.model_copy(update={"budget": budget})
        return annotator.model_copy(update=changed) if changed else annotator


def annotate_dataset(
    config: DatasetConfig,
    store: ObjectStore,
    *,
    changes: Changes | None = None,
    observer: Observer | None = None,
    engine: object = None,
    clock: Clock | None = None,
) -> AnnotatedDataset:
    """Let the annotators of a dataset file annotate what they have not annotated yet, one after the other.

    May be called again at any time, after a crash or an interrupt as well, and by any number of workers at once if
    the annotators are shared: no row whose answer is stored is asked again.

    Args:
        config: The dataset file.
        store: The lake.
        changes: What is done otherwise than the file says.
        observer: Told a few times a second how far it is, by the calling thread.
        engine: Where calls are made, if it is one that ``AnnotatesElsewhere``.
        clock: Time source.

    Raises:
        UsageError: The dataset is not there or was never merged, there is no such annotator, or the first of them
            cannot begin because of what the user wrote.
        StoreError: The lake cannot be read.
    """
    changes, clock = changes or Changes(), clock or SystemClock()
    annotators = changes.chosen(config)
    for annotator in annotators:
        check_annotator(config, annotator)
    _require_merged(store, config.dataset_name, changes.batches)
    require_conditions(store)
    started, began = clock.now(), clock.monotonic()
    outcomes: list[AnnotatorOutcome] = []
    for annotator in annotators:
        told = annotator_watch(annotator, observer, clock=clock)
        rows, sample = changes.rows, None
        if changes.estimate is not None:
            sample = choose_sample(store, config, annotator, rows, count=changes.estimate)
            rows = sample.rows
        outcome = run_annotator(
            store,
            config,
            annotator,
            told=told,
            clock=clock,
            rows=rows,
            engine=engine,
            manner=Manner(strict=not outcomes, needed=sample is not None or annotator is not annotators[-1]),
        )
        if sample is not None:
            options = annotation_options(config, annotator)
            prediction = predict_rest(store, config, annotator, sample, options)
            outcome = replace(outcome, prediction=prediction)
        outcomes.append(outcome)
    report = AnnotatedDataset(
        dataset=config.dataset_name, uri=store.uri, started_at=started, seconds=0.0, annotators=tuple(outcomes)
    )
    return replace(report, seconds=clock.monotonic() - began)


def _require_merged(store: ObjectStore, dataset: str, batches: Sequence[str] | None) -> None:
    """Plan a view of nothing: it says what is wrong with the dataset, before anything else does."""
    require_not_deleted(store, dataset)
    DatasetView(store, ViewRequest(dataset=dataset, base_columns=(), annotator_columns={}, batches=batches)).close()
