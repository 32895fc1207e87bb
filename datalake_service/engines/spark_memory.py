"""How much memory Spark's own process gets on this machine: half of what there is, within reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_LEAST: Final = 512
_MOST: Final = 8_192
_MEGABYTE: Final = 1 << 20
_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where a container is told how much it may use."""


def driver_megabytes(*, limits: tuple[str, ...] = _LIMITS) -> int:
    """Half of the memory that this process may use, 0.5 GiB at least and 8 GiB at most.

    The other half is for Python's workers, which are processes of their own.
    """
    return max(_LEAST, min(_MOST, available_bytes(limits) // 2 // _MEGABYTE))


def available_bytes(limits: tuple[str, ...] = _LIMITS) -> int:
    """The memory of this machine, or of the container that this is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in limits:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            memory = min(memory, int(text))
    return memory
