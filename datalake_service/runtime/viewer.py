"""What the viewer takes from its process: the token of the environment, and how many files it may open."""

from __future__ import annotations

import os
import resource
from typing import Final

TOKEN: Final = "DATALAKE_VIEWER_TOKEN"  # noqa: S105 - its name
"""The variable that holds the token."""
_FILES: Final = 16_384


def viewer_token() -> str | None:
    """The token that the environment gives."""
    return os.environ.get(TOKEN) or None


def open_file_limit() -> None:
    """Allow as many open files as the system lets us, up to what a large lake needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return
