"""What the workers of an annotator on Spark did together, those that died included.

While they work, the run holds the lease of a worker too, and claims nothing. So none of them is the last one to end:
their tallies stay, and the run adds them up (``docs/design/012-shared-annotators.md``, section "The whole"). Nothing of
that may fail a run: if it cannot be done, what the workers told themselves has to do.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

from datalake_interfaces.attempts import Usage
from datalake_service.annotating.usage import Spent
from datalake_service.catalog.claims import Claims
from datalake_service.catalog.tallies import Tallies, Whole
from datalake_service.errors import StoreError
from datalake_service.events import ANNOTATION_TALLY_NOT_STORED, emit
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.annotation.lease import WorkerLease
from datalake_service.pipeline.annotation.llm_step import call_policy
from datalake_service.pipeline.annotation.shared_limits import terms_of
from datalake_service.pipeline.runs.annotators import AnnotatorWork
from datalake_utils.clock import Clock

_TTL: Final = timedelta(minutes=1)
"""How long the lease of a run that was killed stays; it has no claims that anybody would wait for."""
_PATIENCE: Final = 5.0
"""Seconds for a worker that still ends: Spark ends those beside one that died, some time after it said so."""
_TICK: Final = 0.25


@contextmanager
def attended(work: AnnotatorWork, *, clock: Clock) -> Iterator[str]:
    """Hold the lease of a worker that claims nothing; gives its name.

    Raises:
        AnnotationLockError: Somebody has the annotator for himself.
        StoreError: The store failed, or ignores conditional writes.
    """
    # Whether there are limits is said as the workers say it: one with and one without refuse each other.
    limited = not terms_of(call_policy(work.annotator), limits_too=True).empty
    dataset, annotator = work.config.dataset_name, work.annotator.annotator_name
    lease = WorkerLease(work.store, dataset, annotator, ttl=_TTL, clock=clock, limited=limited)
    try:
        lease.take()
        keeper = lease.keeper()
        keeper.start()
        try:
            yield lease.worker
        finally:
            keeper.stop()
    finally:
        lease.give_back()


def claims_now(work: AnnotatorWork) -> Mapping[str, str]:
    """The claims of the annotator that there are, with their ETags.

    Raises:
        StoreError: The store failed.
    """
    return Claims(work.store, work.config.dataset_name, work.annotator.annotator_name, worker="").versions()


def add_up(work: AnnotatorWork, *, by: str, clock: Clock) -> Whole | None:
    """Add up what all workers did, when none is left. ``None``: others still work, and the last of them will."""
    dataset, annotator = work.config.dataset_name, work.annotator.annotator_name
    left = WorkerLease(work.store, dataset, annotator, clock=clock)
    give_up_at = clock.monotonic() + _PATIENCE
    try:
        while left.live():
            if clock.monotonic() >= give_up_at:
                return None
            clock.sleep(_TICK)
        tallies = Tallies(work.store, dataset, annotator)
        return tallies.add_up(by=by, now=clock.now(), anybody=lambda: bool(left.live()))
    except StoreError as error:
        fields = {"dataset": dataset, "annotator": annotator, "error": str(error)}
        emit(ANNOTATION_TALLY_NOT_STORED, level=logging.WARNING, **fields)
        return None


def together(reports: Sequence[AnnotationReport], whole: Whole | None = None) -> AnnotationReport:
    """What workers that shared an annotator did: each has counted what the others finished as done already.

    ``whole``: what all of them did, those that died and have no report included.
    """
    asked = [report for report in reports if report.run is not None]
    annotated, skipped, failed, batches = (
        sum(getattr(report, name) for report in reports) for name in ("annotated", "skipped", "failed", "batches")
    )
    done = max((report.already_done + report.annotated + report.skipped for report in reports), default=0)
    remaining = min((report.remaining for report in reports), default=0)
    spent = [report.spent for report in asked if report.spent is not None]
    told = AnnotationReport(
        annotated=annotated,
        skipped=skipped,
        failed=failed,
        remaining=remaining,
        batches=batches,
        spent=_added(spent) if spent else None,
        run=asked[0].run if asked else None,
    )
    if whole is not None:
        tally = whole.tally
        told = replace(
            told,
            annotated=tally.annotated,
            skipped=tally.skipped,
            # A row that failed under one that died was asked again by who took its place.
            failed=min(tally.failed, max(failed, remaining)),
            spent=_spent(whole) if spent else None,
            whole=whole,
        )
    return replace(told, already_done=max(0, done - told.annotated - told.skipped))


def _added(spent: Sequence[Spent]) -> Spent:
    return Spent(
        calls=sum(one.calls for one in spent),
        repeated=sum(one.repeated for one in spent),
        usage=sum((one.usage for one in spent), Usage()),
        seconds=max(one.seconds for one in spent),
    )


def _spent(whole: Whole) -> Spent:
    tally = whole.tally
    return Spent(tally.calls, tally.repeated, Usage(tally.input_tokens, tally.output_tokens, tally.cost))
