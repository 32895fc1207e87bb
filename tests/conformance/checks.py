"""What the checks of this folder share: how much they do, and what they note for the table."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

FULL = "TEST_S3_ENDPOINT" in os.environ
"""Against a named server they do more than in the suite, where the server is moto."""

Note = Callable[[str], None]
"""Notes what was seen, for the table of the run."""


def seed() -> int:
    """The seed of what is random; ``CONFORMANCE_SEED`` replays one."""
    return int(os.environ.get("CONFORMANCE_SEED") or random.SystemRandom().randrange(10**9))
