"""Attempts: what is tried again, when, how often, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import DataItem, GiveUpError, TryLaterError
from datalake_service.annotating.attempts import Attempts
from datalake_service.annotating.deadlines import Slot
from datalake_service.annotating.limits import Limit
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.results import Failure
from datalake_service.annotating.usage import Budget
from datalake_service.errors import BudgetExceededError, LimitExceededError, UsageError
from tests.support.virtual_time import LoopClock, run


class StatusError(Exception):
    """An HTTP error as client libraries raise it."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"status {status}")
        self.status_code = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Script:
    """Answers calls one after the other by a script; afterwards with ``{}``."""

    steps: list[Any]
    begins: list[float] = field(default_factory=list)
    seconds: float = 0.1
    inside: int = 0
    most: int = 0

    async def __call__(self, item: DataItem) -> object:
        self.begins.append(asyncio.get_running_loop().time())
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            step = self.steps.pop(0) if self.steps else {}
            item.spend(input_tokens=10, output_tokens=5, cost=0.5)
            await asyncio.sleep(self.seconds)
            if isinstance(step, Exception):
                raise step
            return step
        finally:
            self.inside -= 1


def item(number: int = 0) -> DataItem:
    """Any row."""
    return DataItem({}, f"r{number}", "b")


async def ask(
    function: Callable[[DataItem], Awaitable[object]],
    *,
    policy: CallPolicy | None = None,
    rows: int = 1,
    workers: int = 1,
    deadline: float | None = None,
    paused: Callable[[float], None] = lambda _seconds: None,
) -> tuple[list[object], Attempts]:
    """Ask about some rows; answers, failures and what was raised instead, in order of the end."""
    clock = LoopClock()
    attempts = Attempts(policy or CallPolicy(), workers=workers, timeout=deadline, clock=clock, paused=paused)
    items = iter([item(number) for number in range(rows)])
    answers: list[object] = []

    async def worker() -> None:
        slot = Slot()
        call = attempts.around(function, slot)
        for one in items:
            slot.since = clock.monotonic()
            try:
                answers.append(await call(one))
            except LimitExceededError as error:
                answers.append(error)
                return

    await asyncio.gather(*(worker() for _ in range(workers)))
    return answers, attempts


@pytest.mark.parametrize(
    "error",
    [
        *(StatusError(status) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)),
        ConnectionResetError("reset"),
        TimeoutError(),
        TryLaterError("soon"),
    ],
    ids=repr,
)
def test_what_passes_by_itself_is_tried_again(error: Exception) -> None:
    """One failure of such a kind, and then the answer."""
    script = Script([error])
    answers, attempts = run(ask(script))
    assert answers == [{}]
    assert len(script.begins) == 2
    assert attempts.spent().repeated == 1
    assert 0.25 <= script.begins[1] - script.begins[0] - script.seconds <= 0.5


@pytest.mark.parametrize(
    "error",
    [
        *(StatusError(status) for status in (400, 401, 403, 404, 413, 422)),
        GiveUpError("never"),
        KeyError("bug"),
        ValueError("bug"),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_not_tried_again(error: Exception) -> None:
    """The row has failed with the first call."""
    script = Script([error])
    answers, _ = run(ask(script))
    assert [type(answer) for answer in answers] == [Failure]
    assert len(script.begins) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after_ms": "2500"}, 2.5),
        ({"Retry_After": "Thu, 01 Jan 2026 00:16:50 GMT"}, 9.9),  # the loop's clock begins at 00:16:40
        ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1m2.5s"}, 62.5),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "120ms"}, 0.12),
        ({"x_ratelimit_remaining_requests": "5", "x_ratelimit_reset_requests": "9s"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-4"}, 0),
        ({"retry_after": "nan"}, None),
    ],
)
def test_a_service_says_how_long(headers: dict[str, str], seconds: float | None) -> None:
    """As long as it says, and some more at random; where it says nothing that makes sense, as long as is usual."""
    script = Script([StatusError(429, **headers)])
    run(ask(script, policy=CallPolicy(adaptive=False)))
    waited = script.begins[1] - script.begins[0] - script.seconds
    at_least = seconds or 0.25
    assert at_least - 1e-3 <= waited <= at_least + 0.5 + 1e-3 or (seconds == 0 and waited < 0.5)


def test_a_pause_that_the_service_asks_for_holds_for_all_rows() -> None:
    """One call is refused; nobody else calls before the service wants to be called."""
    told: list[float] = []
    script = Script([StatusError(429, retry_after="30")])
    run(ask(script, rows=8, workers=4, paused=told.append))
    late = [moment for moment in script.begins if moment > script.begins[0] + script.seconds + 1e-6]
    assert len(script.begins) == 9
    assert min(late[3:]) >= script.begins[0] + 30
    assert not told  # that is nothing


def test_a_long_pause_is_told_and_has_an_end() -> None:
    """Once, whoever is told; and what makes no sense, such as a year, is a day."""
    told: list[float] = []
    script = Script([StatusError(429, retry_after="31536000"), StatusError(429, retry_after="31536000")])
    answers, _ = run(ask(script, rows=8, workers=4, paused=told.append))
    assert answers == [{}] * 8
    assert told == [86_400]
    assert 86_400 <= script.begins[4] - script.begins[0] < 86_460


def test_the_time_that_the_annotator_names_is_kept() -> None:
    """``TryLaterError`` says how long; 0 is at once, and holds up nobody else."""
    script = Script([TryLaterError("now", after_seconds=0), TryLaterError("later", after_seconds=5)])
    run(ask(script))
    first, second, third = script.begins
    assert second - first == pytest.approx(0.1)
    assert third - second == pytest.approx(5.1)


def test_attempts_for_a_row_end() -> None:
    """The failure says how often it was tried, and the annotator saw each attempt and the error before it."""
    seen: list[tuple[int, str]] = []

    async def fails(row: DataItem) -> object:
        seen.append((row.attempt, str(row.error)))
        raise StatusError(500 + row.attempt)

    answers, _ = run(ask(fails, policy=CallPolicy(max_attempts=3)))
    assert seen == [(1, "None"), (2, "status 501"), (3, "status 502")]
    assert isinstance(answers[0], Failure)
    assert answers[0].kind == "StatusError"
    assert "status 503 (3 attempts" in answers[0].message


def test_no_wait_begins_that_the_deadline_would_end() -> None:
    """The row fails with its own error, and early."""

    async def fails(row: DataItem) -> object:
        raise StatusError(429, retry_after="60")

    async def measure() -> float:
        began = LoopClock().monotonic()
        answers, _ = await ask(fails, deadline=30)
        assert isinstance(answers[0], Failure)
        assert "status 429" in answers[0].message
        return LoopClock().monotonic() - began

    assert run(measure()) < 1


def test_repetitions_of_a_run_end() -> None:
    """When everything fails, rows fail at once from some time on, instead of multiplying the calls."""
    script = Script([StatusError(500) for _ in range(10_000)], seconds=0.001)
    _, attempts = run(ask(script, rows=1_000, workers=8, policy=CallPolicy(repeat_share=0.5)))
    spent = attempts.spent()
    assert spent.calls == len(script.begins)
    assert 500 <= spent.repeated <= 100 + 500 + 8


def test_a_key_that_is_refused_ends_the_run() -> None:
    """Not a million rows that fail; the message says what to look at."""
    script = Script([*([{}] * 5), *(StatusError(401) for _ in range(1_000))])
    answers, _ = run(ask(script, rows=1_000, workers=4))
    errors = [answer for answer in answers if isinstance(answer, LimitExceededError)]
    assert len(errors) == 4
    assert "key and permissions" in str(errors[0])
    assert len(script.begins) <= 5 + 10 + 4


def test_some_refusals_between_answers_end_nothing() -> None:
    """Services refuse single texts with the same status."""
    steps: list[Any] = [StatusError(403), {}] * 50
    script = Script(steps)
    answers, _ = run(ask(script, rows=100))
    assert sum(isinstance(answer, Failure) for answer in answers) == 50


@given(
    budget=st.sampled_from(["cost", "tokens", "calls", "seconds"]),
    amount=st.integers(1, 400),
    workers=st.integers(1, 12),
    failures=st.lists(st.booleans(), max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_a_budget_is_passed_by_what_is_in_flight_at_most(
    budget: str, amount: int, workers: int, failures: Sequence[bool]
) -> None:
    """Whatever it is of, and whatever fails; and every call is counted."""
    script = Script([StatusError(500) if failed else {} for failed in failures])
    price = {"cost": 0.5, "tokens": 15, "calls": 1, "seconds": 0.1}[budget]
    of: dict[str, Any] = {budget: amount * price}
    policy = CallPolicy(budget=Budget(**of), adaptive=False)
    answers, attempts = run(ask(script, rows=600, workers=workers, policy=policy))
    spent = attempts.spent()
    assert spent.calls == len(script.begins)
    assert spent.usage.tokens == 15 * spent.calls
    over = {"cost": spent.usage.cost, "tokens": spent.usage.tokens, "calls": spent.calls, "seconds": spent.seconds}
    allowed = amount * price + (0 if budget == "calls" else workers * price if budget != "seconds" else price)
    assert over[budget] <= allowed + 1e-6
    ended = [answer for answer in answers if isinstance(answer, BudgetExceededError)]
    assert ended or len(answers) == 600


@pytest.mark.parametrize(
    ("reported", "budget", "calls"),
    [
        ({}, {"cost": 5.0}, 100),
        ({}, {"tokens": 5}, 100),
        ({"input_tokens": 3}, {"cost": 5.0}, 100),
        ({"cost": 0.1}, {"tokens": 5}, 100),
        ({}, {"calls": 300}, 300),
        ({"cost": 0.0}, {"cost": 5.0}, 400),  # it says that it is free
        ({"cost": 0.001}, {"cost": 5.0}, 400),
    ],
)
def test_a_budget_of_what_nobody_reports_is_no_licence(
    reported: dict[str, Any], budget: dict[str, Any], calls: int
) -> None:
    """A function that forgets to say what it costs must not spend without end."""

    async def forgetful(item: DataItem) -> object:
        if reported:
            item.spend(**reported)
        await asyncio.sleep(0.1)
        return {}

    policy = CallPolicy(budget=Budget(**budget), adaptive=False)
    answers, attempts = run(ask(forgetful, rows=400, workers=4, policy=policy))
    assert calls <= attempts.spent().calls <= calls + 3
    told = {str(answer) for answer in answers if isinstance(answer, LimitExceededError)}
    assert any(f"reported no {next(iter(budget))} in" in one for one in told) == (calls == 100)


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0])
def test_what_a_call_costs_is_a_number(cost: float) -> None:
    """Else no budget would ever be used up."""
    row = item()
    with pytest.raises(ValueError, match="at least 0"):
        row.spend(cost=cost)
    assert row.usage.cost == 0


@given(
    requests=st.integers(5, 200),
    tokens=st.integers(100, 2_000),
    workers=st.integers(1, 20),
    failures=st.lists(st.integers(0, 3), max_size=50),
)
@settings(max_examples=40, deadline=None)
def test_limits_hold_for_all_calls_repetitions_included(
    requests: int, tokens: int, workers: int, failures: Sequence[int]
) -> None:
    """In any minute, no more calls and no more tokens begin than allowed."""
    kinds = [{}, StatusError(500), StatusError(429), TryLaterError("again", after_seconds=0)]
    script = Script([kinds[number] for number in failures])
    policy = CallPolicy(requests=Limit(requests), tokens=Limit(tokens))

    async def measure() -> None:
        attempts = Attempts(policy, workers=workers, timeout=None, clock=LoopClock(), estimate_tokens=lambda _item: 15)
        items = iter([item(number) for number in range(120)])

        async def worker() -> None:
            call = attempts.around(script, Slot())
            for one in items:
                await call(one)

        await asyncio.gather(*(worker() for _ in range(workers)))

    run(measure())
    for first in script.begins:
        within = sum(first <= moment < first + 60 for moment in script.begins)
        assert within <= requests
        assert within * 15 <= tokens


def test_calls_at_once_are_those_of_the_gate() -> None:
    """Sixteen in the beginning, whatever the number of workers; all of them if it is not adaptive."""
    adaptive, plain = Script([]), Script([])
    run(ask(adaptive, rows=100, workers=100))
    run(ask(plain, rows=100, workers=100, policy=CallPolicy(adaptive=False)))
    assert plain.most == 100
    assert adaptive.most < 100


def test_time_in_the_line_is_not_the_time_of_the_row() -> None:
    """Rows that wait because we want it so are in no call."""

    async def measure() -> list[float]:
        clock, slots, seen = LoopClock(), [Slot() for _ in range(4)], []
        policy = CallPolicy(requests=Limit(1, 10.0))
        attempts = Attempts(policy, workers=4, timeout=30, clock=clock)

        async def worker(slot: Slot) -> None:
            async def note(row: DataItem) -> object:
                seen.append(clock.monotonic() - slot.since)
                return {}

            slot.since = clock.monotonic()
            await attempts.around(note, slot)(item())

        await asyncio.gather(*(worker(slot) for slot in slots))
        return seen

    assert run(measure()) == pytest.approx([0, 0, 0, 0])


def test_a_cancelled_call_leaves_the_gate_and_is_paid() -> None:
    """A row that is too late makes room for another one, and what it spent counts."""

    async def measure() -> None:
        attempts = Attempts(CallPolicy(), workers=1, timeout=None, clock=LoopClock())
        script = Script([], seconds=1_000)
        task = asyncio.ensure_future(attempts.around(script, Slot())(item()))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        script.seconds = 0.1
        assert await attempts.around(script, Slot())(item()) == {}
        assert attempts.spent().usage.tokens == 30

    run(measure())


@pytest.mark.parametrize("amounts", [{"cost": 0.0}, {"tokens": 0}, {"calls": -1}, {"seconds": float("nan")}])
def test_a_budget_that_buys_nothing_is_refused(amounts: dict[str, Any]) -> None:
    """A mistake, not a wish."""
    with pytest.raises(UsageError, match="buys nothing"):
        Budget(**amounts)
