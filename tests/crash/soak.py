"""The properties here and in ``tests/properties``, over and over: ``python -m tests.crash.soak [examples [seed]]``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

FOLDERS = [Path(__file__).parent, Path(__file__).parents[1] / "properties"]


def main(count: int, seed: int) -> int:
    """Run every property; a failure shows the seed, and the smallest example that was found."""
    again = f"./build.sh soak --crashes {count} {seed}"
    print(f"{count} examples of each property, seed {seed}; again: {again}", flush=True)
    os.environ["CRASH_EXAMPLES"] = str(count)
    status = pytest.main([
        *map(str, FOLDERS), f"--hypothesis-seed={seed}", "-p", "no:randomly", "-o", "timeout=0", "-m", "hypothesis",
        "--hypothesis-show-statistics", "-q",
    ])  # fmt: skip
    print(f"seed {seed}: {'nothing found' if not status else f'failed; again: {again}'}")
    return int(status)


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(int(given[0]) if given else 2_000, int(given[1]) if len(given) > 1 else int(time.time())))
