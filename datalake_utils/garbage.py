"""Fewer collections of cyclic garbage while many small objects come and go."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_holders = 0
_usual = gc.get_threshold()


@contextlib.contextmanager
def fewer_collections(objects: int) -> Iterator[None]:
    """Collect only when about ``objects`` more containers were made than freed (Python's default is 700 to 2,000).

    For code that holds thousands of short-lived rows at a time, none of them part of a cycle: looking through them
    again and again costs a twentieth of its time. Garbage that others make is still collected. Process-wide; may be
    nested and used by several threads; the last to leave restores what the first one found.
    """
    global _holders, _usual  # noqa: PLW0603 - the threshold is one for the process, too
    with _LOCK:
        if _holders == 0:
            _usual = gc.get_threshold()
            if _usual[0]:  # 0: somebody has switched collection off
                gc.set_threshold(max(objects, _usual[0]), *_usual[1:])
        _holders += 1
    try:
        yield
    finally:
        with _LOCK:
            _holders -= 1
            if _holders == 0:
                gc.set_threshold(*_usual)
