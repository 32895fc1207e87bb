"""Chunks to one Parquet object per batch: the second of the four operations.

``docs/design/004-merge.md`` says why it is safe to stop it anywhere and to run it twice at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from datalake_service.config.names import check_name
from datalake_service.errors import DatalakeError, MergeError
from datalake_service.pipeline.merging.annotations import LOST_RACE, AnnotatorMerge
from datalake_service.pipeline.merging.attempt import BatchMerge
from datalake_service.pipeline.merging.result import AnnotatorMergeResult, MergeLimits, MergeResult
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.formats.values import UnexpectedKindsError
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

ATTEMPT_DIGITS = 12
MAX_ATTEMPTS = 8
"""Each lost race means that somebody else's merge of the same batch got through."""


def merge_batch(
    store: ObjectStore,
    dataset: str,
    batch: str,
    *,
    limits: MergeLimits | None = None,
    clock: Clock | None = None,
    draw: Callable[[], str] | None = None,
) -> MergeResult:
    """Merge everything that lies in a batch into its merged object.

    Safe to run at any time, by anybody, while rows are being written, and any number at once: one of them gets
    through, the others start again from its result. A crash at any instruction loses nothing and repeats nothing.

    Args:
        store: The lake.
        dataset: Its name.
        batch: Its name.
        limits: What the merge may use of this machine.
        clock: Time source.
        draw: Returns twelve random hexadecimal digits.

    Raises:
        NameNotAllowedError: A name is not portable.
        MergeError: The batch cannot be merged; it was left as it was.
        OutcomeUnknownError: The commit may or may not have been applied; nothing was deleted. Run again.
        StoreError: The store failed; if that was after the commit, the next merge tidies up.
    """
    check_name(dataset, what="dataset")
    check_name(batch, what="batch")
    clock = clock or SystemClock()
    draw = draw or _random_attempt
    started = clock.monotonic()
    trust = True
    lost: Exception | None = None
    for _ in range(MAX_ATTEMPTS):
        merge = BatchMerge(store, dataset, batch, limits or MergeLimits(), attempt=draw(), now=clock.now(), trust=trust)
        try:
            return replace(merge.run(), seconds=clock.monotonic() - started)
        except UnexpectedKindsError as error:
            if not trust:
                raise
            trust, lost = False, error
        except LOST_RACE as error:
            merge.forget()
            lost = error
    msg = f"{dataset}/{batch} changed during each of {MAX_ATTEMPTS} merges; merge it again when fewer others do"
    raise MergeError(msg) from lost


def merge_annotator(
    store: ObjectStore,
    dataset: str,
    annotator: str,
    *,
    limits: MergeLimits | None = None,
    clock: Clock | None = None,
    draw: Callable[[], str] | None = None,
    on_failure: Callable[[str, DatalakeError], None] | None = None,
    forget_before: datetime | None = None,
) -> AnnotatorMergeResult:
    """Merge everything that an annotator made into one object for each batch; as safe as ``merge_batch``.

    Args:
        store: The lake.
        dataset: Its name.
        annotator: Its name.
        limits: What the merge may use of this machine.
        clock: Time source.
        draw: Returns twelve random hexadecimal digits.
        on_failure: Told of each batch that cannot be merged, and why. Without it the first one is raised, after the
            others were merged.
        forget_before: Keep no annotations that newer versions have replaced, of versions that made nothing since;
            ``None``: all are kept.

    Raises:
        NameNotAllowedError: A name is not portable.
        MergeError: A batch cannot be merged; it was left as it was.
        StoreError: The store failed.
    """
    check_name(dataset, what="dataset")
    check_name(annotator, what="annotator")
    clock = clock or SystemClock()
    started = clock.monotonic()
    results: dict[str, MergeResult] = {}
    lost: Exception | None = None
    for _ in range(MAX_ATTEMPTS):
        merge = AnnotatorMerge(
            store,
            dataset,
            annotator,
            limits or MergeLimits(),
            draw=draw or _random_attempt,
            now=clock.now(),
            forget_before=forget_before,
        )
        try:
            merge.run()
        except LOST_RACE as error:
            lost = error
            continue
        finally:
            seconds = clock.monotonic() - started
            results |= {batch: replace(result, seconds=seconds) for batch, result in merge.results.items()}
        for batch, failure in merge.failures.items():
            if on_failure is None:
                raise failure
            on_failure(batch, failure)
        return AnnotatorMergeResult(batches=results, rejected=merge.rejected, warnings=merge.warnings)
    msg = f"annotator {annotator!r} of {dataset} changed during each of {MAX_ATTEMPTS} merges; merge it again later"
    raise MergeError(msg) from lost


def _random_attempt() -> str:
    return random_hex(ATTEMPT_DIGITS)
