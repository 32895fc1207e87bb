"""Seeds for as long as there is time: ``python -m tests.simulation.soak [seconds] [first seed]``."""

from __future__ import annotations

import logging
import sys
import time

from tests.simulation.scenario import simulate


def main(seconds: float, seed: int) -> None:
    """Run seed after seed; the first failure ends it and names its seed."""
    logging.disable(logging.CRITICAL)
    first, requests, end = seed, 0, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            requests += len(simulate(seed).trace)
        except BaseException:
            print(f"seed {seed} failed; again: SIMULATION_SEED={seed} ./build.sh test tests/simulation -k seeds")
            raise
        seed += 1
    print(f"{seed - first} seeds from {first}, {requests} requests, nothing found")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(float(given[0]) if given else 600.0, int(given[1]) if len(given) > 1 else int(time.time()))
