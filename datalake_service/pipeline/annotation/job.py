"""What an annotation run is told, what it reads from, and what it reports. Values only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

from datalake_interfaces.annotators import DataItem
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Spent
from datalake_service.catalog.makers import Maker
from datalake_service.catalog.parts import Part
from datalake_service.catalog.tallies import Whole
from datalake_service.config.names import check_name
from datalake_service.errors import UsageError

Retry = Literal["failed", "skipped", "all"]
"""``failed``: only rows that failed, nothing new; ``skipped``: also rows that were skipped; ``all``: every row."""
Reuse = Literal["label", "code"]
RETRIES: Final = ("failed", "skipped", "all")
REUSES: Final = ("label", "code")


Executor = Literal["threads", "processes"]
"""Where the calls of plain functions run; async ones are always on the event loop."""


class RowReader(Protocol):
    """Where rows come from: a view of the dataset."""

    def read(
        self,
        batch: str,
        *,
        leave_out: Collection[str],
        part: Part | None = None,
        left_out: Callable[[int], None] | None = None,
    ) -> Iterable[Sequence[DataItem]]:
        """The selected rows of ``batch`` in blocks of a bounded size, without those whose id is in ``leave_out``.

        Runs in a thread. An error is raised, never swallowed.

        Args:
            batch: Its name.
            leave_out: Ids.
            part: Only rows of this part.
            left_out: Told how many rows of it were left out because of their ids, selected or not, before the first
                block.
        """
        ...

    def size(self, batch: str) -> int:
        """About how many rows of ``batch`` are selected, rather too many than too few. Asks nothing of the store."""
        ...

    def parts(self, batch: str) -> Sequence[Part]:
        """The parts in which workers that share an annotator read ``batch``. Asks nothing of the store."""
        ...

    def selection(self, batch: str) -> str:
        """What names the rows that ``read`` selects: equal names, equal rows. Short; asks nothing of the store."""
        ...


@dataclass(frozen=True, slots=True)
class AnnotationJob:
    """What is annotated, and as what."""

    dataset: str
    annotator: str
    """Name under which the annotations are stored."""
    batches: Sequence[str]
    """In this order."""
    maker: Maker | None = None
    """Who annotates; what it does not say, the function says."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """ETags of the merged rows of batches, as they were planned: kept with the annotations."""
    since: Mapping[str, str] | None = None
    """For a worker that shares the annotator: the claims, with their ETags, when the run began that it is part of.

    What others have seen to the end since then counts as done by this run; ``None``: since it began itself.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationOptions:
    """How it is annotated."""

    max_concurrency: int = 16
    """Calls at once, at most."""
    max_batches: int | None = None
    """Batches in which at least one row is asked; ``None``: all."""
    chunk_size: int = 1_000
    """Rows after which results are stored."""
    max_chunk_bytes: int = 8 << 20
    """Bytes after which results are stored."""
    max_chunk_seconds: float = 30.0
    """Age after which results are stored: what a kill can lose."""
    timeout_seconds: float | None = None
    """For each row; ``None``: none."""
    max_errors: int | None = None
    """Failed rows that are tolerated; ``None``: any number."""
    max_error_share: float | None = None
    """Failed rows that are tolerated as a share of those asked, 0 to 1; judged from 100 answers on, and in the end."""
    lock_ttl_ms: int = 3_600_000
    """How long the annotator, or the batches that this worker claimed, stay locked after this process was killed."""
    calls: CallPolicy | None = None
    """Attempts, limits and budget; ``None``: one attempt for each row, and no limits."""
    executor: Executor = "threads"
    """Where plain functions run: in threads, or in a process for each call at once, as many as there are processors."""
    shared: bool = False
    """Share the annotator with other workers that do the same: each batch is worked on by one of them."""
    retry: Retry | None = None
    """What is asked besides rows without an annotation, or instead of them: see ``Retry``."""
    reuse: Reuse | None = None
    """Whose annotations count as done: those with the same version label, or the same code; ``None``: all."""
    sample: bool = False
    """What is asked is a sample of what will be asked: its end is not the end of a budget for the run."""
    campaign: str | None = None
    """A name: runs and workers that are given the same one ask each row once, whatever comes of it."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            UsageError: One of them.
        """
        self._check_again()
        if self.executor not in get_args(Executor):
            raise UsageError(f"executor must be {' or '.join(map(repr, get_args(Executor)))}, not {self.executor!r}")
        for name in ("max_concurrency", "chunk_size", "max_chunk_bytes", "lock_ttl_ms", "max_batches"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(f"{name} must be a whole number, at least 1, not {value!r}")
        for name in ("timeout_seconds", "max_chunk_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be more than 0, not {value!r}")
        if self.max_errors is not None and self.max_errors < 0:
            raise UsageError(f"max_errors must be at least 0, not {self.max_errors!r}")
        if self.max_error_share is not None and not 0 <= self.max_error_share <= 1:
            raise UsageError(f"max_error_share must be between 0 and 1, not {self.max_error_share!r}")

    def _check_again(self) -> None:
        if self.retry not in {None, *RETRIES}:
            raise UsageError(f"retry must be one of {', '.join(RETRIES)}, not {self.retry!r}")
        if self.reuse not in {None, *REUSES}:
            raise UsageError(f"reuse must be one of {', '.join(REUSES)}, not {self.reuse!r}")
        if self.campaign is not None:
            check_name(self.campaign, what="campaign")
        elif self.retry in {"skipped", "all"} and self.shared:
            raise UsageError(
                f"retry={self.retry!r} of workers that share needs a campaign name, the same for all of them: one that "
                "starts late would ask everything once more otherwise"
            )


@dataclass(frozen=True, slots=True)
class AnnotationReport:
    """What a run did. Every row that it counts is stored."""

    annotated: int = 0
    """Rows that got an annotation."""
    skipped: int = 0
    """Rows for which the annotator answered ``SkipDoc``; they are not asked again."""
    failed: int = 0
    """Rows that raised, were too late, or got an answer that cannot be used; the next run asks again."""
    already_done: int = 0
    """Rows of the batches looked at that were annotated or skipped before, whether the filter selects them or not.

    Also those that failed, if it was in the same campaign, which does not ask them once more.

    For a worker that shares an annotator, also those of batches that others went through meanwhile.
    """
    remaining: int = 0
    """Rows that were selected and have no annotation yet: those that failed, and those read but not asked.

    For a worker that shares an annotator, also those of batches that others went through meanwhile.
    """
    batches: int = 0
    """Batches in which rows were asked, by this worker."""
    batches_left: int = 0
    """Batches that were not looked at because of ``max_batches``."""
    expected: int | None = None
    """About how many rows are still to be asked, by all workers; ``None``: not known yet."""
    spent: Spent | None = None
    """What the calls have cost; ``None``: nobody counted calls, and no row reported anything."""
    run: str | None = None
    """Name of the run that holds the results; ``None``: there was nothing to ask."""
    whole: Whole | None = None
    """What all workers did, if this one shared the annotator and was the last to end."""
