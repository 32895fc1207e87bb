"""A request to terminate ends the process the way an interrupt from the keyboard does: in order.

``SIGTERM`` is what a scheduler sends. Whoever handles interrupts at that moment (the engine, an event loop) handles it,
and is told the number of the signal: a shell starts what runs in the background with interrupts ignored.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from types import FrameType
from typing import Final

INTERRUPTED: Final = 128 + signal.SIGINT
"""Exit status after an interrupt from the keyboard."""
TERMINATED: Final = 128 + signal.SIGTERM
"""Exit status after a request to terminate."""


@dataclass(slots=True)
class Termination:
    """Whether a request to terminate came."""

    requested: bool = False

    @property
    def exit_status(self) -> int:
        """The status to end with after an interrupt of either kind."""
        return TERMINATED if self.requested else INTERRUPTED


def terminate_like_interrupt() -> Termination:
    """From now on treat ``SIGTERM`` like ``SIGINT``; the value returned tells afterwards which it was."""
    seen = Termination()

    def on_terminate(_number: int, frame: FrameType | None) -> None:
        seen.requested = True
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGTERM, frame)
        else:
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, on_terminate)
    return seen
