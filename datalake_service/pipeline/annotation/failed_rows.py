"""Rows of an annotation run that failed: told as events without their contents, and judged against the limits."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from datalake_service.annotating.results import Failure
from datalake_service.errors import LimitExceededError
from datalake_service.events import ANNOTATION_ROW_FAILED, emit

_TOLD = 10
"""Failures of a kind that are told one by one; the others are counted."""
_MAX_KINDS = 100
"""Kinds that are told apart; user code may make up any number of exception classes."""
_FIRST_JUDGEMENT = 100
"""Answers before the share of failures means something."""


class Limits(Protocol):
    """How many failures are tolerated."""

    @property
    def max_errors(self) -> int | None:
        """Failed rows; ``None``: any number."""

    @property
    def max_error_share(self) -> float | None:
        """Failed rows as a share of all answers; ``None``: any share."""


class FailedRows:
    """Counts failures; ``counts`` holds all answers by status and is kept by somebody else."""

    def __init__(self, dataset: str, annotator: str, limits: Limits, counts: Mapping[str, int]) -> None:
        """Start with none."""
        self._dataset = dataset
        self._annotator = annotator
        self._limits = limits
        self._counts = counts
        self._failed = 0
        self.kinds: Counter[str] = Counter()
        """Failures by kind."""

    def note(self, row_id: str, batch: str, failure: Failure) -> LimitExceededError | None:
        """Count a failed row; answers why the run has to end, if it has to."""
        kind = failure.kind if failure.kind in self.kinds or len(self.kinds) < _MAX_KINDS else "others"
        self._failed += 1
        self.kinds[kind] += 1
        if self.kinds[kind] <= _TOLD:
            fields = {"dataset": self._dataset, "annotator": self._annotator, "batch": batch, "id": row_id}
            emit(ANNOTATION_ROW_FAILED, level=logging.WARNING, **fields, failure=kind)
        return self._judge(first=_FIRST_JUDGEMENT)

    def judge(self) -> None:
        """Judge the whole run, in the end.

        Raises:
            LimitExceededError: A limit was passed.
        """
        error = self._judge(first=1)
        if error is not None:
            raise error

    def _judge(self, *, first: int) -> LimitExceededError | None:
        most, share = self._limits.max_errors, self._limits.max_error_share
        answers = max(sum(self._counts.values()), self._failed)
        too_many = most is not None and self._failed > most
        too_large = share is not None and answers >= first and self._failed > share * answers
        if not (too_many or too_large):
            return None
        allowed = f"{most}" if too_many else f"a share of {share:g}"
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.most_common(5))
        name = f"{self._dataset}/{self._annotator}"
        return LimitExceededError(
            f"{self._failed:,} of {answers:,} rows failed in the annotator {name} ({kinds}), "
            f"allowed: {allowed}; what was annotated is stored, look at the failed rows and run again"
        )
