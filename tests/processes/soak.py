"""A storm on each store: ``python -m tests.processes.soak [seconds [seed]]``; see ``storm.py``."""

from __future__ import annotations

import dataclasses
import logging
import sys
import tempfile
import time
from pathlib import Path


def main(seconds: float, seed: int) -> None:
    """Run all of them; the first failure ends it, and its folder is left for a look."""
    # Every process imports this module, but not what it needs to run the storm.
    from tests.processes.storm import LAKES, weather_storm

    logging.disable(logging.CRITICAL)
    for kind in LAKES:
        folder = Path(tempfile.mkdtemp(prefix=f"datalake-storm-{kind}-"))
        print(f"{kind}: {seconds:g} seconds, seed {seed}, in {folder}", flush=True)
        began = time.monotonic()
        try:
            figures = weather_storm(kind, folder, seconds=seconds, seed=seed)
        except BaseException:
            print(f"{kind} failed; again: ./build.sh soak --processes {seconds:g} {seed}")
            raise
        kills = sum(figures.kills.values())
        print(f"{kind}: nothing lost, nothing twice; {kills} kills, {time.monotonic() - began:.0f} seconds in all")
        for name, value in dataclasses.asdict(figures).items():
            print(f"  {name}: {value}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(float(given[0]) if given else 120.0, int(given[1]) if len(given) > 1 else int(time.time()))
