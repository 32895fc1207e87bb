"""How long it will take: stable, and right when the speed changes for good."""

from __future__ import annotations

import itertools
import random

import pytest

from datalake_service.annotating.usage import Spent
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.pipeline.runs.progress import AnnotatorWatch, RunProgress
from datalake_service.pipeline.runs.speed import Speed
from datalake_utils.clock import ManualClock


def test_nothing_is_told_too_early() -> None:
    """Two seconds, and something done."""
    speed = Speed(0.0)
    assert (speed.per_second, speed.seconds_for(10)) == (None, None)
    speed.note(1.0, 5)
    assert speed.per_second is None
    speed.note(3.0, 0)
    assert speed.seconds_for(10) is None


def test_the_end_moves_little_while_the_speed_is_the_same() -> None:
    """Rows come in bursts; the end that is told lies within a tenth of the truth, and rarely moves."""
    source, speed, total, done = random.Random(3), Speed(0.0), 60_000.0, 0.0
    ends = []
    for tick in range(1, 2_300):
        now = tick / 4
        done = min(total, done + source.choice([10, 40]))  # 25 in a tick, 100 in a second
        speed.note(now, done)
        told = speed.seconds_for(total - done)
        if now > 60 and told is not None:
            ends.append(now + told)
    assert all(500 <= end <= 720 for end in ends)
    jumps = [abs(after - before) for before, after in itertools.pairwise(ends)]
    assert sum(jump > 1 for jump in jumps) < len(jumps) / 20


def test_a_change_of_speed_is_seen_within_a_quarter_of_the_time() -> None:
    """A service that became ten times slower after ten minutes."""
    speed, done = Speed(0.0), 0.0
    for tick in range(1, 3_000):
        now = float(tick)
        done += 100 if now <= 600 else 10
        speed.note(now, done)
        if now == 600:
            assert speed.per_second == pytest.approx(100)
    assert speed.per_second == pytest.approx(10)
    assert len(speed._points) <= 256


def test_what_begins_anew_is_measured_anew() -> None:
    """The next annotator, or a run after a wait."""
    speed = Speed(0.0)
    speed.note(10.0, 1_000)
    speed.note(11.0, 0)
    speed.note(21.0, 10)
    assert speed.per_second == pytest.approx(1)


@pytest.mark.parametrize(("shared", "per_second"), [(False, 10), (True, 40)])
def test_an_annotator_that_others_share_goes_as_fast_as_all_of_them(*, shared: bool, per_second: float) -> None:
    """What is left becomes less by what others do, too; alone, rows that were done before count for nothing."""
    clock, told = ManualClock(), list[RunProgress]()
    watch = AnnotatorWatch(told.append, shared=shared, budget={"cost": 5.0}, clock=clock)
    for second in range(31):
        spent = Spent(calls=second)
        watch("judge", AnnotationReport(annotated=10 * second, expected=4_000 - 40 * second, spent=spent))
        clock.advance(1)
    last = told[-1]
    assert (last.name, last.budget) == ("judge", {"cost": 5.0})
    assert last.rate == pytest.approx(per_second)
    assert last.remaining_seconds == pytest.approx((4_000 - 1_200) / per_second, rel=0.1)


def test_nobody_looks_and_nothing_is_told() -> None:
    """In a pipe."""
    AnnotatorWatch(None, shared=False, budget=None, clock=ManualClock())("judge", AnnotationReport())
