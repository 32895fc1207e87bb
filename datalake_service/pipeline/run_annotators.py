"""The annotators of a dataset file, one after the other, each followed by the merge of what it made."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from contextlib import closing

from datalake_interfaces import Annotator, HandlerContext
from datalake_service.config.annotator import AnnotatorConfig
from datalake_service.config.dataset import DatasetConfig
from datalake_service.errors import DatalakeError
from datalake_service.handling.load import load_class, load_handler
from datalake_service.pipeline.annotate import annotate
from datalake_service.pipeline.annotation_job import AnnotationJob, AnnotationOptions, AnnotationReport
from datalake_service.pipeline.run_report import AnnotatorOutcome
from datalake_service.pipeline.view_plan import ViewRequest
from datalake_service.pipeline.views import DatasetView
from datalake_service.storage.base import ObjectStore

Told = Callable[[str, AnnotationReport], None]
"""Told a few times a second how far an annotator is, by name."""


def check_annotators(config: DatasetConfig) -> None:
    """Look for the classes of all annotators: what cannot be loaded is better known before hours of reading.

    Raises:
        HandlerLoadError: One of them.
    """
    with contextlib.redirect_stdout(sys.stderr):  # user code may print while it is imported
        for annotator in config.annotators:
            load_class(
                annotator.annotator_implementation_class_name,
                folder=config.folder,
                interface=Annotator,  # type: ignore[type-abstract]
            )


def run_annotator(
    store: ObjectStore, config: DatasetConfig, annotator: AnnotatorConfig, *, told: Told
) -> AnnotatorOutcome:
    """Let one annotator annotate what it has not annotated yet. What it did before an error is stored, and reported."""
    name = annotator.annotator_name
    last = AnnotationReport()

    def tell(report: AnnotationReport) -> None:
        nonlocal last
        last = report
        told(name, report)

    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output belongs to the report
            return AnnotatorOutcome(name, _annotate(store, config, annotator, tell))
    except DatalakeError as error:
        return AnnotatorOutcome(name, last, str(error))


def _annotate(
    store: ObjectStore, config: DatasetConfig, annotator: AnnotatorConfig, tell: Callable[[AnnotationReport], None]
) -> AnnotationReport:
    instance = load_handler(
        annotator.annotator_implementation_class_name,
        folder=config.folder,
        interface=Annotator,  # type: ignore[type-abstract]
        parameters=annotator.parameters,
    )
    request = ViewRequest(
        dataset=config.dataset_name,
        base_columns=annotator.base_columns,
        annotator_columns=annotator.annotator_columns,
        filter=annotator.filter,
        fraction=annotator.fraction,
    )
    with closing(DatasetView(store, request)) as view:
        work = annotate(
            store,
            AnnotationJob(config.dataset_name, annotator.annotator_name, view.batches),
            rows=view,
            function=instance,
            options=_options(config, annotator),
            context=HandlerContext(dataset=config.dataset_name, parameters=annotator.parameters),
            progress=tell,
        )
        return asyncio.run(work)


def _options(config: DatasetConfig, annotator: AnnotatorConfig) -> AnnotationOptions:
    """The limits of the dataset file hold for each annotator by itself."""
    on_error = config.on_error
    return AnnotationOptions(
        max_concurrency=annotator.max_concurrency,
        timeout_seconds=annotator.timeout_in_seconds,
        max_errors=0 if on_error.policy == "fail" else on_error.max_errors,
        max_error_share=on_error.max_error_share,
    )
