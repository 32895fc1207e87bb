"""Storms of paid annotation, one after the other: ``python -m tests.processes.paid_soak [seconds [seed]]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path


def main(seconds: float, seed: int) -> None:
    """As many as there is time for; the first failure ends it, and its folder is left for a look."""
    from tests.processes.paid import paid_storm

    until = time.monotonic() + seconds
    while True:
        folder = Path(tempfile.mkdtemp(prefix="datalake-paid-"))
        print(f"seed {seed}, in {folder}", flush=True)
        try:
            figures = paid_storm(folder, seed=seed, batches=40, rows=25, kills=16, finishers=4)
        except BaseException:
            print(f"seed {seed} failed; again: ./build.sh soak --annotate 1 {seed}")
            raise
        print(f"  nothing paid twice: {figures}", flush=True)
        seed += 1
        if time.monotonic() >= until:
            return


if __name__ == "__main__":
    given = sys.argv[1:]
    main(float(given[0]) if given else 600.0, int(given[1]) if len(given) > 1 else int(time.time()))
