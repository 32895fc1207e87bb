"""An annotator on Spark: every task of one Spark job is a worker that shares it, as ``docs/design/012`` has it.

Workers claim batches, or parts of them, and write chunks; nothing of a row passes through the run.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from datalake_service.catalog.generations import unfinished
from datalake_service.catalog.manifests import format_time
from datalake_service.catalog.stops import load_stops, request_run_stop
from datalake_service.engines.code import Code, code_here, collect_code
from datalake_service.engines.parcels import check_origin, check_visible, origin
from datalake_service.engines.scheduler import MAX_DEATHS
from datalake_service.engines.spark_session import SparkConnection, SparkFailedError
from datalake_service.engines.spark_whole import add_up, attended, claims_now, together
from datalake_service.engines.stop_sign import STOP_SECONDS
from datalake_service.errors import DatalakeError, StoreError
from datalake_service.events import ANNOTATION_CAMPAIGN_JOINED, emit
from datalake_service.pipeline.annotation.annotator_maker import retry_of
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.runs.annotators import AnnotatorWork, annotate_here, release_if_dead
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

_RUN_DIGITS: Final = 12
_CAMPAIGN: Final = "spark-"
"""How the names of campaigns begin that nobody gave."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one worker did."""

    report: AnnotationReport
    error: DatalakeError | None = None
    """What ended it before its time."""


class _RunEndsError(DatalakeError):
    """The run was asked to end: what is answered is stored, and nothing more is asked."""


def annotate_on_spark(
    spark: SparkConnection, work: AnnotatorWork, *, tell: Callable[[AnnotationReport], None], clock: Clock
) -> AnnotationReport:
    """Let workers on Spark share an annotator, one for each of its cores; returns what they did together.

    Raises:
        DatalakeError: What ended one of them before its time; what all did is stored.
        KeyboardInterrupt: As it came; the workers have stored what they had.
    """
    run = f"run-{random_hex(_RUN_DIGITS)}"
    with attended(work, clock=clock) as name:
        # A worker that begins late, or in the place of one that died, begins with the run: what others have seen to
        # the end by then is not asked again.
        since = claims_now(work)
        changes = {"shared": True, "campaign": campaign_of(work)}
        shared = replace(work, annotator=work.annotator.model_copy(update=changes), since=since)
        parcel = pickle.dumps((origin(), pickle.dumps(shared)))
        call = partial(_share, parcel=parcel, run=run, code=collect_code([work.config.folder]))
        try:
            packed = _run(spark, work, call, run)
        except KeyboardInterrupt:
            request_run_stop(work.store, work.config.dataset_name, run, now=clock.now())
            clock.sleep(STOP_SECONDS + 1)
            spark.cancel_all()
            raise
    parts: list[_Part] = [pickle.loads(part) for part in packed]  # noqa: S301 - our own workers packed them
    report = together([part.report for part in parts], add_up(work, by=name, clock=clock))
    tell(report)
    for part in parts:
        if part.error is not None:
            raise part.error
    return report


def campaign_of(work: AnnotatorWork) -> str | None:
    """The campaign that all workers of a run take part in: the file's, or where they need one, a name of ours.

    As for an annotator that works alone, what a run that was killed has begun to ask again is gone on with.

    Raises:
        StoreError: The store failed.
    """
    annotator, dataset = work.annotator, work.config.dataset_name
    retry = retry_of(annotator)
    if annotator.campaign is not None or retry not in {"skipped", "all"}:
        return annotator.campaign
    name = annotator.annotator_name
    begun = unfinished(work.store, dataset, name, retry, version=annotator.version, prefix=_CAMPAIGN)
    if begun is None:
        return f"{_CAMPAIGN}{random_hex(_RUN_DIGITS)}"
    fields = {"dataset": dataset, "annotator": name, "retry": retry, "began": format_time(begun.began_at)}
    emit(ANNOTATION_CAMPAIGN_JOINED, level=logging.WARNING, **fields)
    return begun.name


def _run(
    spark: SparkConnection, work: AnnotatorWork, call: Callable[[Sequence[bytes]], list[bytes]], run: str
) -> list[bytes]:
    """Run the workers; again, if Spark gave the job up because some of them died."""
    failures, parts = 0, [[b""]] * spark.slots()
    while True:
        try:
            return spark.run(parts, call, tag=f"{run}-{failures}")
        except SparkFailedError as error:
            failures += 1
            if failures == MAX_DEATHS:
                raise DatalakeError(
                    f"the workers of the annotator die: {error}; that happened {failures} times"
                ) from error
            # Theirs that ran on this machine; those of others run out in a minute.
            release_if_dead(work.store, work.config.dataset_name, work.annotator.annotator_name)


def _share(places: Sequence[bytes], *, parcel: bytes, run: str, code: Code) -> list[bytes]:
    """Work as one of those that share the annotator; runs on Spark's machines."""
    return [pickle.dumps(_worked(parcel, run, code)) for _ in places]


def _worked(parcel: bytes, run: str, code: Code) -> _Part:
    last = AnnotationReport()
    clock = SystemClock()
    look_at = 0.0

    def tell(report: AnnotationReport) -> None:
        nonlocal last, look_at
        last = report
        if clock.monotonic() >= look_at:
            look_at = clock.monotonic() + STOP_SECONDS
            if _is_to_end(work, run):
                raise _RunEndsError("the run was interrupted")

    try:
        sender, inner = pickle.loads(parcel)  # noqa: S301 - our own engine packed it
        check_origin(sender)
        work: AnnotatorWork = pickle.loads(inner)  # noqa: S301 - as above
        check_visible(work.store, "the lake")
        config = work.config.in_folder(code_here(work.config.folder, code))
        return _Part(annotate_here(replace(work, config=config), tell=tell, clock=clock))
    except DatalakeError as error:
        return _Part(last, error)


def _is_to_end(work: AnnotatorWork, run: str) -> bool:
    try:
        return run in load_stops(work.store, work.config.dataset_name).runs
    except StoreError:
        return False
