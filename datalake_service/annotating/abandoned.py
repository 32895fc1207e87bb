"""Tasks that ignore that they are cancelled, and that nobody waits for any more."""

from __future__ import annotations

import asyncio
import ctypes


def abandon(task: asyncio.Task[None]) -> None:
    """Let ``asyncio.run``, and the process, end without ``task``.

    ``asyncio.run`` would cancel it once more, and then wait for it for ever; ``_unregister_task`` is named in
    "Extending" of asyncio's documentation. And when Python ends it would be told so by ``GeneratorExit``: code that
    catches that as well, and tries again and again what no longer works without an event loop, never lets Python end.
    So it has one reference too many, and is never freed.
    """
    asyncio.tasks._unregister_task(task)  # noqa: SLF001 - documented, as said above
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
