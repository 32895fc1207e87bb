"""Real processes that are killed; ``./build.sh soak --processes`` does it for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes.storm import LAKES, weather_storm

KILLS = 10
SEEDS = (1, 2)
"""Annotators share their work under an odd one, and take turns under the other."""


@pytest.mark.parametrize(("kind", "seed"), list(zip(LAKES, SEEDS, strict=True)))
def test_nothing_is_lost_or_repeated_whoever_is_killed(tmp_path: Path, kind: str, seed: int) -> None:
    """Writers, tasks, clean-ups, annotators and a reader on one lake; what was acknowledged is there, once."""
    figures = weather_storm(kind, tmp_path, seconds=60.0, seed=seed, kills=KILLS)
    assert figures.calls >= figures.rows >= figures.acknowledged > 0
