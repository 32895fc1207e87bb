"""Some workers, kills and trouble: no row is paid for twice, no budget is passed, no limit."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import environment
from tests.processes.paid import paid_storm
from tests.processes.sharing import MOST, SECONDS, began, most_in_a_window
from tests.support.repository import ROOT


@pytest.mark.timeout(900)  # eight starts of the command: on a machine that is busy with other things they take long
def test_nothing_is_paid_twice_whoever_is_killed(tmp_path: Path) -> None:
    """A short storm; ``./build.sh soak --annotate`` is the long one, with more workers that die more often."""
    figures = paid_storm(tmp_path, seed=1, batches=8, kills=2, workers=3)
    assert figures.kills == 2
    assert figures.troubles > 10


def test_four_processes_share_a_limit(tmp_path: Path) -> None:
    """In real time, and one of them is killed: 5 % above it in no window; how much is used, simulations say exactly."""
    until = time.monotonic() + 60
    arguments = [sys.executable, "-m", "tests.processes.sharing", str(tmp_path)]
    workers = [
        subprocess.Popen([*arguments, str(number), str(until)], cwd=ROOT, env=environment()) for number in range(4)
    ]
    try:
        while len(list(tmp_path.glob("began-*"))) < 4 or any(
            not one.stat().st_size for one in tmp_path.glob("began-*")
        ):
            assert time.monotonic() < until - 20, "they do not begin"
            time.sleep(0.05)
        time.sleep(2)
        settled = time.monotonic()
        time.sleep(2 * SECONDS)
        full = time.monotonic()
        workers[0].kill()
        time.sleep(SECONDS)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    moments = began(tmp_path)
    assert most_in_a_window(moments) <= MOST * 1.05
    used = sum(settled <= moment < full for moment in moments) / (MOST * (full - settled) / SECONDS)
    assert used >= 0.85, f"{used:.1%} of the limit was used; machines that are busy with other things use less of it"
