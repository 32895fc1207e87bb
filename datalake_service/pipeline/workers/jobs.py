"""Which task is whose, among workers that share the tasks of a dataset. See ``docs/design/022-workers.md``.

Claims and leases only: neither runs tasks nor reads their objects. Rows are safe without any of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from logging import INFO, WARNING
from typing import Final

from datalake_service import events
from datalake_service.catalog.claims import Claim, ClaimsBelow, Seen
from datalake_service.catalog.tasks import TaskStatus
from datalake_service.errors import StoreError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskResult
from datalake_utils.clock import Clock

_FIRST_LOOK: Final = 0.25
LONGEST_LOOK: Final = 5.0
"""Seconds between two looks at what others have."""
_SLICE: Final = 0.1
"""How long nobody who waits sees that it is to stop."""


@dataclass(frozen=True, slots=True)
class Fellow:
    """This worker, as the queue of its tasks needs to know it."""

    dataset: str
    name: str
    claims: ClaimsBelow
    live: Callable[[], Collection[str]]
    """Looks which other workers may act; no other one that has a lease can."""
    over: Callable[[], bool]
    """Whether to take no more tasks: it is to stop, or its lease is as good as lost."""


class ClaimedJobs:
    """The tasks that no other living worker has, until each was seen to its end by somebody; a ``JobQueue``."""

    def __init__(
        self, me: Fellow, jobs: Iterable[TaskJob], *, began: Mapping[str, str], clock: Clock, longest: float
    ) -> None:
        """Prepare; nothing is asked of the store.

        Args:
            me: The worker; it holds its lease.
            jobs: To be run, by anybody.
            began: The versions of the claims, listed before the tasks were read.
            clock: Time source.
            longest: Seconds between two looks at what others have, at most.
        """
        self._me = me
        self._began = began
        self._clock = clock
        self._longest = longest
        self._lock = threading.Lock()
        self._jobs: dict[str, TaskJob] = {}
        self._round: deque[str] = deque()
        """To be tried, in this order."""
        self._later: list[str] = []
        """Tried: others had them."""
        self._known: dict[str, Claim | None] = {}
        """Claims as they were read last; ``None``: there was none."""
        self._dead: set[tuple[str, str]] = set()
        """Claims (task, version) of workers that had no lease any more when that was looked up after the claim."""
        self._held: dict[str, Claim] = {}
        self._mine: set[str] = set()
        self._ended_elsewhere: set[str] = set()
        self._looks = 0
        self._next_look = 0.0
        self._doubtful: list[tuple[Claim, Seen | None]] = []
        self.error: StoreError | None = None
        """What keeps this worker from going on."""
        self.add(jobs)

    # What an engine asks ------------------------------------------------------------------------------

    def add(self, jobs: Iterable[TaskJob]) -> None:
        """More tasks."""
        with self._lock:
            new = {job.task: job for job in jobs if job.task not in self._jobs}
            self._jobs |= new
            self._round.extend(sorted(new, key=self._place))
            self._known |= {task: None for task in new if task not in self._began}

    def take(self) -> TaskJob | None:
        """Claim the next task; waits while others have all that is left. ``None``: it is all done, or to stop."""
        while not self._me.over() and self.error is None:
            job, wait = self.try_to_take()
            if job is not None or wait is None:
                return job
            self._sleep(wait)
        return None

    def try_to_take(self) -> tuple[TaskJob | None, float | None]:
        """Claim the next task. Without one: how many seconds to wait; ``None``: there is nothing left to wait for."""
        with self._lock:
            try:
                job = self._claim_next()
                if job is not None:
                    self._looks, self._next_look = 0, 0.0
                    return job, None
                if not self._later:
                    return None, None
                now = self._clock.monotonic()
                if now >= self._next_look:
                    self._look_again()
                    return None, 0.0
                return None, self._next_look - now
            except StoreError as error:
                self.error = error
                return None, None

    def put_back(self, job: TaskJob) -> None:
        """Let go of a task whose turn is over: whoever is first may have it."""
        with self._lock:
            claim = self._held.pop(job.task, None)
            if claim is not None:
                self._give_back(claim, None)
            self._known.pop(job.task, None)
            self._round.append(job.task)

    def others_wait(self) -> bool:
        """Whether there is a task that nobody has, as far as is known; looks again if that was long ago."""
        with self._lock:
            try:
                if not self._round and self._later and self._clock.monotonic() >= self._next_look:
                    self._look_again()
            except StoreError:
                return False  # whoever takes the next one will see it
            return any(task not in self._known or self._is_free(self._known[task]) for task in self._round)

    def rest(self) -> Sequence[TaskJob]:
        """The tasks that this worker never had."""
        return [job for job in self.jobs if job.task not in self._mine]

    def __len__(self) -> int:
        """Tasks that are not at their end, and not this worker's."""
        return 0 if self.error is not None else len(self._round) + len(self._later)

    # What the worker asks -----------------------------------------------------------------------------

    @property
    def jobs(self) -> Sequence[TaskJob]:
        """All of them."""
        with self._lock:
            return list(self._jobs.values())

    @property
    def elsewhere(self) -> frozenset[str]:
        """Tasks that others ended since this worker began."""
        with self._lock:
            return frozenset(self._ended_elsewhere)

    @property
    def not_mine(self) -> frozenset[str]:
        """Tasks that this worker does not have and did not have."""
        with self._lock:
            return frozenset(self._jobs.keys() - self._mine)

    def end(self, result: TaskResult, *, stopping: bool) -> None:
        """Give a task back, after its object says how it ended; ``stopping``: because this worker ends.

        Raises nothing: what cannot be said now is said at the next look; at the latest the end of the lease says it.
        """
        with self._lock:
            claim = self._held.pop(result.task, None)
            if claim is None:
                return
            # A task that is not ended although this worker goes on was asked to stop, or is somebody else's: no worker
            # that began before will have it.
            ended = result.status in (TaskStatus.COMPLETED, TaskStatus.FAILED) or not stopping
            counts = result.counts
            self._give_back(claim, Seen(result.status, counts.documents, counts.rejections) if ended else None)

    def let_go(self) -> None:
        """Give everything back that is still held: this worker ends."""
        with self._lock:
            held, self._held = list(self._held.values()), {}
            for claim in held:
                self._give_back(claim, None)
            self._give_doubtful_back()

    # One task, under the lock --------------------------------------------------------------------------

    def _claim_next(self) -> TaskJob | None:
        while self._round:
            task = self._round.popleft()
            claim = self._known[task] if task in self._known else self._read(task)
            if claim is not None:
                if self._was_ended(claim):
                    self._ended_elsewhere.add(task)
                    continue
                if not self._is_free(claim):
                    self._later.append(task)
                    continue
            taken = self._me.claims.take(task, over=claim)
            if taken is None:  # somebody was faster; who lives has to be looked up again for that claim
                self._known.pop(task, None)
                self._later.append(task)
                continue
            if claim is not None and not claim.record.released and claim.record.worker != self._me.name:
                self._tell(events.TASK_TAKEN_OVER, WARNING, task=task, worker=claim.record.worker)
            self._held[task] = taken
            self._mine.add(task)
            return self._jobs[task]
        return None

    def _read(self, task: str) -> Claim | None:
        claim = self._known[task] = self._me.claims.read(task)
        return claim

    def _is_free(self, claim: Claim | None) -> bool:
        """Whether nobody acts on a task. Who has it counts as alive as long as that was not looked up."""
        if claim is None or claim.record.released or claim.record.worker == self._me.name:
            return True
        return (claim.batch, claim.etag) in self._dead

    def _was_ended(self, claim: Claim) -> bool:
        """Whether somebody saw the end of a task since this worker began."""
        return claim.record.seen is not None and claim.etag != self._began.get(claim.batch)

    def _look_again(self) -> None:
        """Another round over what others had: read the claims that changed, then (in this order) see who lives."""
        self._give_doubtful_back()
        versions = self._me.claims.versions()
        later, self._later = self._later, []
        self._round.extend(later)
        for task in later:
            known = self._known.get(task)
            if known is None or known.etag != versions.get(task):
                self._read(task)
        found = (self._known[task] for task in later)
        held = [claim for claim in found if claim is not None and not claim.record.released]
        live = self._me.live() if any(claim.record.worker != self._me.name for claim in held) else ()
        self._dead = {(claim.batch, claim.etag) for claim in held if claim.record.worker not in live}
        if not self._looks:
            self._tell(events.WORKER_WAITING, INFO, tasks=len(later))
        self._next_look = self._clock.monotonic() + min(_FIRST_LOOK * 2.0 ** min(self._looks, 10), self._longest)
        self._looks += 1

    def _give_back(self, claim: Claim, seen: Seen | None) -> None:
        try:
            self._me.claims.give_back(claim, seen)
        except StoreError as error:
            self._doubtful.append((claim, seen))
            self._tell(events.TASK_CLAIM_NOT_RELEASED, WARNING, task=claim.batch, error=str(error))

    def _give_doubtful_back(self) -> None:
        todo, self._doubtful = self._doubtful, []
        for claim, seen in todo:
            self._give_back(claim, seen)

    def _sleep(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while not self._me.over() and (left := until - self._clock.monotonic()) > 0:
            self._clock.sleep(min(left, _SLICE))

    def _place(self, task: str) -> bytes:
        """Where a task stands in this worker's order: each has another one, so that they seldom meet."""
        return blake2b(f"{self._me.name}/{task}".encode(), digest_size=8).digest()

    def _tell(self, event: str, level: int, **fields: object) -> None:
        events.emit(event, level=level, dataset=self._me.dataset, **fields)
