"""Chunks to one Parquet object per batch: the second of the four operations.

``docs/design/004-merge.md`` says why it is safe to stop it anywhere and to run it twice at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from datalake_service.config.names import check_name
from datalake_service.errors import AlreadyExistsError, MergeError, ObjectNotFoundError, PreconditionFailedError
from datalake_service.pipeline.merge_attempt import BatchMerge
from datalake_service.pipeline.merge_result import MergeLimits, MergeResult
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.values import UnexpectedKindsError
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
    draw = draw or (lambda: random_hex(ATTEMPT_DIGITS))
    started = clock.monotonic()
    trust = True
    lost: Exception | None = None
    for _ in range(MAX_ATTEMPTS):
        merge = BatchMerge(
            store, dataset, batch, limits or MergeLimits(), attempt=draw(), now=clock.now(), trust=trust
        )
        try:
            return replace(merge.run(), seconds=clock.monotonic() - started)
        except UnexpectedKindsError as error:
            if not trust:
                raise
            trust, lost = False, error
        except (AlreadyExistsError, ObjectNotFoundError, PreconditionFailedError) as error:
            merge.forget()
            lost = error
    msg = f"{dataset}/{batch} changed during each of {MAX_ATTEMPTS} merges; merge it again when fewer others do"
    raise MergeError(msg) from lost
