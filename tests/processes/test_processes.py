"""Real processes that are killed; ``./build.sh soak --processes`` does it for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.storm import LAKES, weather_storm

KILLS = 16
SEED = 20261121


@pytest.mark.parametrize("kind", LAKES)
def test_nothing_is_lost_or_repeated_whoever_is_killed(tmp_path: Path, kind: str) -> None:
    """Writers, tasks, clean-ups, annotators and a reader on one lake; what was acknowledged is there, once."""
    figures = weather_storm(kind, tmp_path, seconds=60.0, seed=SEED, kills=KILLS)
    assert sum(figures.kills.values()) >= KILLS
    assert figures.calls >= figures.rows >= figures.acknowledged > 0
