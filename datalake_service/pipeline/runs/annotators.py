"""The annotators of a dataset file, one after the other, each followed by the merge of what it made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast, runtime_checkable

from datalake_interfaces import Annotator, HandlerContext
from datalake_service.catalog import layout
from datalake_service.catalog.fencing import take_from_dead
from datalake_service.config.annotator import AnnotatorConfig
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.on_error import Policy
from datalake_service.errors import (
    AnnotationLockError,
    DatalakeError,
    UsageError,
)
from datalake_service.events import ANNOTATION_HELD, emit
from datalake_service.handling.load import load_class, load_handler
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.annotator_maker import annotation_job, retry_of, reuse_of
from datalake_service.pipeline.annotation.job import AnnotationOptions, AnnotationReport, Executor
from datalake_service.pipeline.annotation.llm_step import (
    call_policy,
    check_columns,
    columns_to_read,
    make_llm_annotator,
)
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.pipeline.runs.elsewhere import vector_step
from datalake_service.pipeline.runs.progress import AnnotatorWatch, Observer
from datalake_service.pipeline.runs.report import AnnotatorOutcome
from datalake_service.pipeline.vectorizing import check_vectors, make_vectorizer
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock

_LOCK_SECONDS = 60
"""How long an annotator stays locked after a run was killed: the next run has to wait for it."""
_PATIENCE_SECONDS = _LOCK_SECONDS + 5
_LOOK_AGAIN_SECONDS = 1.0

Told = Callable[[str, AnnotationReport], None]
"""Told a few times a second how far an annotator is, by name."""


def check_annotators(config: DatasetConfig) -> None:
    """Look for the classes of annotators and vectors: what cannot be loaded is better known before hours of reading.

    Raises:
        HandlerLoadError: One of them.
        ConfigError: A key that is not there.
    """
    if config.vectors is not None:
        with contextlib.redirect_stdout(sys.stderr):  # user code may print while it is imported
            check_vectors(vector_step(config.vectors, folder=config.folder, region=config.region))
    for annotator in config.annotators:
        check_annotator(config, annotator)


def check_annotator(config: DatasetConfig, annotator: AnnotatorConfig) -> None:
    """Look for what one annotator is made of.

    Raises:
        HandlerLoadError: Its class cannot be loaded.
        ConfigError: A key that is not there.
    """
    with contextlib.redirect_stdout(sys.stderr):
        if annotator.llm is not None:
            make_llm_annotator(annotator.llm)
        model = annotator.embedding or annotator.classifier
        if model is not None:
            from datalake_service.pipeline.annotation.text_models import check_text_model

            check_text_model(model, folder=config.folder)
        name = annotator.annotator_implementation_class_name
        if name is not None:
            load_class(name, folder=config.folder, interface=Annotator)
        if annotator.vectors is not None:
            check_vectors(vector_step(annotator.vectors, folder=config.folder, region=config.region))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Which rows a run of an annotator is about, of those that the dataset file selects."""

    batches: Sequence[str] | None = None
    """``None``: all."""
    fraction: float = 1.0
    """Not more than this share."""
    sample: bool = False
    """Whether the others are going to follow."""


ALL_ROWS = Rows()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a run of an annotator ends."""

    strict: bool = False
    """Whether what the user wrote wrongly is raised, if nothing was asked, rather than told with the outcome."""
    needed: bool = True
    """Whether this process wants to see it merged. If not, the last of the workers that share the annotator merges."""


QUIETLY = Manner()


@dataclass(frozen=True, slots=True)
class AnnotatorWork:
    """One annotator of one dataset. Can be pickled."""

    store: ObjectStore
    """The lake."""
    config: DatasetConfig
    annotator: AnnotatorConfig
    rows: Rows = ALL_ROWS
    since: Mapping[str, str] | None = None
    """See ``AnnotationJob``; for one of several workers that an engine starts."""


@runtime_checkable
class AnnotatesElsewhere(Protocol):
    """An engine that has its own way to run annotators; the others leave them where the run is."""

    def annotate(
        self, work: AnnotatorWork, *, tell: Callable[[AnnotationReport], None], clock: Clock
    ) -> AnnotationReport:
        """Let an annotator annotate what it has not annotated yet; merges nothing. See ``annotate_here``."""
        ...


def run_annotator(
    store: ObjectStore,
    config: DatasetConfig,
    annotator: AnnotatorConfig,
    *,
    told: Told,
    clock: Clock,
    rows: Rows = ALL_ROWS,
    manner: Manner = QUIETLY,
    engine: object = None,
) -> AnnotatorOutcome:
    """Let one annotator annotate what it has not annotated yet, and merge that.

    What it did before an error is stored, merged and reported. The lock of a run that died on this machine is taken
    away; while somebody else holds it this waits, as long as it takes for the lock of a dead run to run out.
    ``engine``: where its calls are made, if it is one that ``AnnotatesElsewhere``.

    Raises:
        UsageError: ``manner.strict``, and nothing can be asked, because of what the user wrote.
    """
    name = annotator.annotator_name
    work = AnnotatorWork(store, config, annotator, rows)
    last = AnnotationReport()

    def tell(report: AnnotationReport) -> None:
        nonlocal last
        last = report
        told(name, report)

    def attempt() -> AnnotationReport:
        if isinstance(engine, AnnotatesElsewhere):
            return engine.annotate(work, tell=tell, clock=clock)
        return annotate_here(work, tell=tell, clock=clock)

    errors: list[str] = []
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to the report
            release_if_dead(store, config.dataset_name, name)
            last = _with_patience(attempt, clock, told, work)
    except DatalakeError as error:
        if manner.strict and isinstance(error, UsageError) and last.run is None:
            raise
        errors.append(str(error))
    if annotator.shared and last.whole is None and not manner.needed:
        return AnnotatorOutcome(name, last, "; ".join(errors) or None)
    try:
        merged = merge_annotator(
            store, config.dataset_name, name, on_failure=lambda batch, error: errors.append(f"batch {batch}: {error}")
        )
    except (DatalakeError, OSError, MemoryError) as error:
        errors.append(f"not merged: {error}")
    else:
        errors += merged.warnings
    return AnnotatorOutcome(name, last, "; ".join(errors) or None)


def release_if_dead(store: ObjectStore, dataset: str, annotator: str) -> None:
    """Take away the locks on an annotator that belong to processes of this machine that do not exist any more.

    Its own, and those of the workers that share it; see ``take_from_dead``.

    Raises:
        StoreError: A lock cannot be read or written.
    """
    shared = [meta.key for meta in store.list(layout.worker_leases_prefix(dataset, annotator))]
    take_from_dead(store, (layout.annotator_lease_key(dataset, annotator), *shared))


def _with_patience(
    attempt: Callable[[], AnnotationReport], clock: Clock, told: Told, work: AnnotatorWork
) -> AnnotationReport:
    """Try again while the annotator is held, at most for as long as a dead run of this kind can hold it."""
    name, said = work.annotator.annotator_name, False
    give_up_at = clock.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return attempt()
        except AnnotationLockError as error:
            if clock.monotonic() >= give_up_at:
                raise
            if not said:
                names = {"dataset": work.config.dataset_name, "annotator": name}
                emit(ANNOTATION_HELD, level=logging.WARNING, **names, error=str(error))
            said = True
            told(f"waiting for {name}, which another run holds", AnnotationReport())
            clock.sleep(_LOOK_AGAIN_SECONDS)


def annotate_here(
    work: AnnotatorWork,
    *,
    tell: Callable[[AnnotationReport], None],
    clock: Clock,
    instance: Annotator | None = None,
) -> AnnotationReport:
    """Let an annotator annotate what it has not annotated yet; merges nothing.

    ``instance`` stands for the annotator, if its calls are made elsewhere.

    Raises:
        DatalakeError: What ended it; what it did before is stored.
    """
    store, config, annotator = work.store, work.config, work.annotator
    instance = instance or make_annotator(config, annotator, clock=clock)
    with closing(DatasetView(store, view_request(config, annotator, work.rows))) as view:
        check_columns(annotator, view)
        run = annotate(
            store,
            replace(annotation_job(config, annotator, view), since=work.since),
            rows=view,
            function=instance,
            options=replace(annotation_options(config, annotator), sample=work.rows.sample),
            context=HandlerContext(dataset=config.dataset_name, parameters=annotator.parameters),
            make=partial(make_annotator, config, annotator, clock=clock),
            progress=tell,
            clock=clock,
        )
        return asyncio.run(run)


def view_request(config: DatasetConfig, annotator: AnnotatorConfig, rows: Rows = ALL_ROWS) -> ViewRequest:
    """The rows and columns that an annotator sees."""
    return ViewRequest(
        dataset=config.dataset_name,
        base_columns=columns_to_read(annotator),
        annotator_columns=annotator.annotator_columns,
        filter=annotator.filter,
        fraction=min(annotator.fraction, rows.fraction),
        batches=rows.batches,
    )


def make_annotator(config: DatasetConfig, annotator: AnnotatorConfig, *, clock: Clock) -> Annotator:
    """Construct an annotator of a dataset file; it is not open.

    Raises:
        HandlerLoadError: Its class.
    """
    if annotator.llm is not None:
        return make_llm_annotator(annotator.llm)
    if annotator.vectors is not None:
        from datalake_service.pipeline.annotation.vector_annotator import VectorAnnotator

        step = vector_step(annotator.vectors, folder=config.folder, region=config.region)
        vectorizer = make_vectorizer(step, clock=clock)
        return VectorAnnotator(vectorizer, batch_size=step.batch_size)
    model = annotator.embedding or annotator.classifier
    if model is not None:
        from datalake_service.pipeline.annotation.text_models import make_text_annotator

        return make_text_annotator(model, folder=config.folder)
    assert annotator.annotator_implementation_class_name is not None  # one of them
    return load_handler(
        annotator.annotator_implementation_class_name,
        folder=config.folder,
        interface=Annotator,
        parameters=annotator.parameters,
    )


def annotator_watch(annotator: AnnotatorConfig, observer: Observer | None, *, clock: Clock) -> AnnotatorWatch:
    """What hears how far an annotator is, for ``run_annotator``."""
    budget = None if annotator.calls is None else annotator.calls.budget
    amounts = {} if budget is None else {name: getattr(budget, name) for name in ("cost", "tokens", "calls", "hours")}
    given = {name: float(most) for name, most in amounts.items() if most is not None}
    return AnnotatorWatch(observer, shared=annotator.shared, budget=given, clock=clock)


def annotation_options(config: DatasetConfig, annotator: AnnotatorConfig) -> AnnotationOptions:
    """How an annotator of a dataset file is run. The limits of the file hold for each annotator by itself."""
    on_error, vectors = config.on_error, annotator.vectors
    return AnnotationOptions(
        max_concurrency=annotator.max_concurrency if vectors is None else vectors.max_concurrency,
        timeout_seconds=annotator.timeout_in_seconds,
        max_errors=0 if on_error.policy is Policy.FAIL else on_error.max_errors,
        max_error_share=on_error.max_error_share,
        lock_ttl_ms=_LOCK_SECONDS * 1_000,
        calls=call_policy(annotator),
        shared=annotator.shared,
        executor=cast("Executor", annotator.executor.value),  # the same words
        chunk_size=annotator.flush.rows,
        max_chunk_bytes=annotator.flush.bytes,
        max_chunk_seconds=annotator.flush.seconds,
        retry=retry_of(annotator),
        reuse=reuse_of(annotator),
        campaign=annotator.campaign,
    )
