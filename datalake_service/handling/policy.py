"""What happens after a record that cannot be used: go on, or stop. Pure; it counts nothing itself.

A share of errors means little after three records, so ``max_error_share`` is judged from ``SHARE_AFTER`` records on,
and once more, however few records there were, when the input has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import UsageError

SHARE_AFTER = 100
"""Records from which on a share is judged while reading: below, one bad record would be several per cent."""


@dataclass(frozen=True, slots=True)
class OnError:
    """The dataset file's ``onError``.

    Raises:
        UsageError: A limit is out of range, or limits were given to a policy that stops at once.
    """

    policy: Literal["continue", "fail"] = "continue"
    """``continue``: write a rejection and go on, up to the limits. ``fail``: the first rejection stops the task."""
    max_errors: int | None = None
    """More rejections than this stop the task; ``None``: no limit."""
    max_error_share: float | None = None
    """A larger share of rejections among the records stops the task: 0.01 is one in a hundred; ``None``: no limit."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if self.policy not in {"continue", "fail"}:
            raise UsageError(f"onError.policy must be 'continue' or 'fail', not {self.policy!r}")
        if self.max_errors is not None and self.max_errors < 0:
            raise UsageError(f"onError.maxErrors must be 0 or more, not {self.max_errors}")
        if self.max_error_share is not None and not 0 <= self.max_error_share <= 1:
            raise UsageError(f"onError.maxErrorShare must be between 0 and 1, not {self.max_error_share}")
        if self.policy == "fail" and (self.max_errors or self.max_error_share):
            raise UsageError("onError: limits need the policy 'continue'; 'fail' stops at the first rejection")

    def judge(self, counts: TaskCounts, *, ended: bool) -> str | None:
        """Return why to stop, as one line for a person; ``None``: go on.

        Args:
            counts: What became of the records so far.
            ended: Whether the input has ended, so that a share of few records is judged as well.
        """
        errors = counts.rejections
        if not errors:
            return None
        if self.policy == "fail":
            return "a record was rejected and onError.policy is 'fail'"
        if self.max_errors is not None and errors > self.max_errors:
            return f"{errors} records were rejected; onError.maxErrors allows {self.max_errors}"
        return self._judge_share(counts) if ended or counts.records >= SHARE_AFTER else None

    def _judge_share(self, counts: TaskCounts) -> str | None:
        if self.max_error_share is None or counts.rejections <= self.max_error_share * counts.records:
            return None
        share = counts.rejections / counts.records
        return (
            f"{counts.rejections} of {counts.records} records ({share:.2%}) were rejected; "
            f"onError.maxErrorShare allows {self.max_error_share:.2%}"
        )
