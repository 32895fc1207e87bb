"""What stands around each call of an annotator: gate, limits, budget, and other attempts after some failures.

A call that fails for good is a value, as everywhere here. Only the end of the run is raised.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

from datalake_interfaces.annotators import DataItem
from datalake_interfaces.attempts import NOTHING, Usage
from datalake_service.annotating.adaptive import Gate
from datalake_service.annotating.calls import Caller, failure_of
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.failures import Verdict, Worth, judge
from datalake_service.annotating.limits import Limiter
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.results import Failure
from datalake_service.annotating.shares import Shares
from datalake_service.annotating.usage import Meter, Spent
from datalake_service.errors import LimitExceededError
from datalake_utils.clock import Clock

EstimateTokens = Callable[[DataItem], int]
"""How many tokens a call for a row will have, both ways: rather too many than too few."""

_FREE_REPEATS: Final = 100
"""Repetitions that a run may make however few rows it has begun."""
_REFUSALS: Final = 10
"""Refused calls, with none between that worked, after which the run ends."""
_LONGEST_WAIT: Final = 86_400.0
"""Seconds that a service is left alone at most, whatever it says; after that it is asked once more."""
_LONG_PAUSE: Final = 60.0
"""Seconds of a pause from which on somebody should know why nothing happens."""


class Attempts:
    """Makes the calls of a run. Used on one event loop only."""

    def __init__(
        self,
        policy: CallPolicy,
        *,
        workers: int,
        timeout: float | None,
        clock: Clock,
        estimate_tokens: EstimateTokens | None = None,
        paused: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """Make calls for up to ``workers`` workers; ``timeout`` is in seconds for each row, ``None``: none.

        ``paused`` is told how many seconds no call begins, if that is long because the service wants it so.
        """
        self._policy = policy
        self._timeout = timeout
        self._clock = clock
        self._monotonic = clock.monotonic
        self._estimate = estimate_tokens
        self._gate = Gate(min(workers, policy.at_once or workers), adaptive=policy.adaptive)
        self._limiter = Limiter(requests=policy.requests, tokens=policy.tokens, monotonic=clock.monotonic)
        self._meter = Meter(policy.budget)
        self._counts_tokens = policy.tokens is not None
        self._most_tokens = 0 if policy.tokens is None else policy.tokens.most
        self._rows = self._refusals = 0
        self._paused = paused
        self._paused_until = -math.inf
        self.error: LimitExceededError | None = None
        """Why the run has to end, once it has."""

    def share(self, *, limits: bool) -> Shares:
        """Let no call begin from now on but within what these are given: of the budget, and of ``limits`` as well."""
        gate, limiter, meter = self._gate, self._limiter, self._meter
        return Shares(self._policy, limits=limits, limiter=limiter, gate=gate, meter=meter)

    def spent(self) -> Spent:
        """What the calls have spent."""
        return self._meter.spent()

    @property
    def width(self) -> int:
        """How many calls are let in at once."""
        return self._gate.width

    def is_full_of(self, hanging: int) -> bool:
        """Whether others wait in vain, because all calls that were let in are so many that never end."""
        return self._gate.waiting > 0 and self._gate.inside == hanging

    def around(self, call: Caller, slot: Slot) -> Caller:
        """``call`` with all that, for the one worker that ``slot`` is of.

        Where the worker waits for its turn, its row's time does not run, and the row counts as not asked. A row that
        failed is answered as a ``Failure``. When the run has to end, ``LimitExceededError`` is raised instead.
        """

        async def attempts(item: DataItem) -> object:
            """The hot path: what stands here before the first failure is paid for every row."""
            self._rows += 1
            began_row: float | None = None
            while True:
                tokens = self._tokens(item) if self._counts_tokens else 0
                began = self._try_begin(tokens)
                if began_row is None:
                    began_row = self._monotonic() if began is None else began
                if began is None or item.attempt > 1 or self.error or not self._meter.try_begin(began):
                    try:
                        began = await self._begin(item, slot, began, tokens)
                    except LimitExceededError as error:
                        return self._end_of_run(item, error)
                before = item.usage
                well = False
                try:
                    answer = await call(item)
                    well = True
                except Exception as error:  # noqa: BLE001 - the user's annotator: its failure is the row's
                    verdict = judge(error, now=self._clock.now)
                    wait = self._wait_after(item, error, verdict, began, slot)
                    if wait is None:
                        return self._failure(item, error, began_row)
                    item.attempt += 1
                    item.error = error
                else:
                    return answer
                finally:
                    self._end(item, before, began, tokens, well=well)
                await asyncio.sleep(wait)

        return attempts

    def _tokens(self, item: DataItem) -> int:
        tokens = self._meter.tokens_per_call if self._estimate is None else self._estimate(item)
        most = self._most_tokens
        return tokens if tokens < most else most  # noqa: FURB136 - min takes three times as long

    def _try_begin(self, tokens: int) -> float | None:
        if not self._gate.try_enter():
            return None
        began = self._limiter.try_begin(tokens)
        if began is None:
            self._gate.leave()
        return began

    async def _begin(self, item: DataItem, slot: Slot, began: float | None, tokens: int) -> float:
        """Begin a call that may have to wait, or that must not begin at all.

        Raises:
            LimitExceededError: The run has to end.
        """
        if began is None:
            began = await self._wait_for_turn(slot, tokens)
        while not self._meter.may_begin(began) and self.error is None:
            began = await self._wait_for_allowance(slot, began, tokens)
        try:
            if self.error is not None:
                raise self.error
            self._meter.begin(began, repeats=item.attempt > 1)
        except LimitExceededError:
            self._gate.leave()
            raise
        return began

    async def _wait_for_turn(self, slot: Slot, tokens: int) -> float:
        """Begin a call when it is its turn; the row's time stands still meanwhile."""
        used = self._monotonic() - slot.since
        slot.since = 0.0
        await self._gate.wait()
        try:
            began = await self._limiter.wait(tokens)
        except BaseException:
            self._gate.leave()
            raise
        slot.since = self._monotonic() - used
        return began

    async def _wait_for_allowance(self, slot: Slot, began: float, tokens: int) -> float:
        """Give a turn back, and take another one when this run may spend more."""
        self._gate.leave()
        self._limiter.undo(began, tokens)
        used = self._monotonic() - slot.since
        slot.since = 0.0
        await self._meter.more()
        slot.since = self._monotonic() - used
        return await self._wait_for_turn(slot, tokens)

    def _end_of_run(self, item: DataItem, error: LimitExceededError) -> Failure:
        """What becomes of a row that must not be called for any more: one that failed before has failed."""
        self.error = error
        if item.error is None:
            raise error
        return self._failure(item, item.error, None)

    def _wait_after(self, item: DataItem, error: Exception, verdict: Verdict, began: float, slot: Slot) -> float | None:
        """How long to wait before the next attempt; ``None``: there is none."""
        now = self._monotonic()
        said = None if verdict.after_seconds is None else min(verdict.after_seconds, _LONGEST_WAIT)
        if verdict.worth is Worth.OVERLOADED:
            self._gate.overloaded(began=began, now=now)
            if said is not None:
                self._pause(said, now)
        if verdict.worth is Worth.REFUSED:
            self._note_refusal(error)
        else:
            self._refusals = 0
        if verdict.worth in {Worth.FINAL, Worth.REFUSED} or item.attempt >= self._policy.max_attempts:
            return None
        if self._meter.repeated >= _FREE_REPEATS + self._policy.repeat_share * self._rows:
            return None
        usual = self._policy.seconds_after(item.attempt)
        wait = usual if said is None else said
        if said and verdict.worth is Worth.OVERLOADED:
            wait += usual  # everybody was told the same moment
        if self._timeout is not None and slot.since and now - slot.since + wait >= self._timeout:
            return None
        return wait

    def _pause(self, seconds: float, now: float) -> None:
        self._limiter.pause(seconds)
        if seconds >= _LONG_PAUSE and now >= self._paused_until:
            self._paused_until = now + seconds
            self._paused(seconds)

    def _note_refusal(self, error: Exception) -> None:
        self._refusals += 1
        if self._refusals >= _REFUSALS:
            why = failure_of(error).in_words()
            self.error = LimitExceededError(
                f"the service refuses the annotator's calls ({why}): look at its key and permissions, its address and "
                "its model, and run again"
            )

    def _failure(self, item: DataItem, error: Exception, began_row: float | None) -> Failure:
        failure = failure_of(error)
        if item.attempt == 1:
            return failure
        took = "" if began_row is None else f" in {self._monotonic() - began_row:.1f} s"
        return Failure(failure.kind, f"{failure.message} ({item.attempt} attempts{took})")

    def _end(self, item: DataItem, before: Usage, began: float, taken: int, *, well: bool) -> None:
        now = self._monotonic()
        if well:
            self._refusals = 0
            self._meter.answered += 1
            self._gate.went_well(now - began)
        self._gate.leave()
        self._meter.end(now)
        usage = item.usage
        if usage is not before:
            spent = usage - before if before is not NOTHING else usage
            self._meter.spend(spent)
            self._limiter.settle(began, taken, spent.tokens)
