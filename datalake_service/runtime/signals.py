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


class TerminationRequested(KeyboardInterrupt):
    """What ends the work in order when nobody else handles interrupts.

    A class of its own, because the interpreter remembers it when a plain one comes through code that was made from text
    (as of every dataclass that is imported), and ends as if nobody had caught it.
    """


@dataclass(slots=True)
class Termination:
    """Whether a request to terminate came."""

    requested: bool = False
    settled: bool = False
    """Set by whoever has decided how the process ends: nothing is interrupted any more, a request just ends it."""

    @property
    def exit_status(self) -> int:
        """The status to end with after an interrupt of either kind."""
        return TERMINATED if self.requested else INTERRUPTED

    def handle(self) -> None:
        """From now on treat ``SIGTERM`` like ``SIGINT``, until it is settled."""

        def on_terminate(_number: int, frame: FrameType | None) -> None:
            if self.settled:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.raise_signal(signal.SIGTERM)
                return
            self.requested = True
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler) and handler is not signal.default_int_handler:
                handler(signal.SIGTERM, frame)
            else:
                raise TerminationRequested

        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, on_terminate)
