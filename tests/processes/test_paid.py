"""Four workers, kills and trouble: no row is paid for twice, no budget is passed."""

from __future__ import annotations

from pathlib import Path

from tests.processes.paid import paid_storm


def test_nothing_is_paid_twice_whoever_is_killed(tmp_path: Path) -> None:
    """A short storm; ``./build.sh soak --annotate`` is the long one."""
    figures = paid_storm(tmp_path, seed=1)
    assert figures.kills == 4
    assert figures.troubles > 10
