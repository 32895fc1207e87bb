"""What runs in a process of an annotator: it is made and opened there, then asked until the pipe is closed.

One of the places where ``except Exception`` is right: nothing that user code raises may end the process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from datalake_interfaces.annotators import Annotator, BatchAnnotator, DataItem
from datalake_interfaces.attempts import Usage
from datalake_interfaces.context import HandlerContext
from datalake_service.annotating.calls import ElsewhereError, failure_of
from datalake_service.annotating.failures import Worth, judge
from datalake_service.annotating.results import ANSWER, Failure
from datalake_utils.clock import SystemClock

MOST_BYTES: Final = 64 << 20
"""Of rows, or of answers, that go through a pipe at once."""
_STATUS: Final = {Worth.AGAIN: 500, Worth.OVERLOADED: 503, Worth.REFUSED: 403}
"""How an exception that has to stay behind says what it was worth."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an annotator is made in another process; all of it can be pickled."""

    make: Callable[[], object]
    """Makes an ``Annotator``, or a function; both plain."""
    context: HandlerContext


@dataclass(frozen=True, slots=True)
class Asked:
    """A call: the rows of a batch, or one row alone."""

    rows: Sequence[DataItem]
    together: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a call."""

    answer: object
    error: Exception | None
    usage: Sequence[Usage]
    """What each row has cost by now."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The process can be asked, unless something failed."""

    failure: str | None = None


def serve(pipe: Connection, recipe: bytes) -> None:
    """Run in the process: open, answer, close."""
    # The terminal sends an interrupt to all processes; the run decides what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.dup2(2, 1)  # standard output belongs to whoever started the run
    sys.stdout = sys.stderr
    with contextlib.suppress(EOFError, OSError):  # the run has ended, however
        try:
            made, context = _made(pickle.loads(recipe))  # noqa: S301 - from our own parent
            call = _opened(made, context)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
            pipe.send_bytes(pickle.dumps(Opened(failure_of(error).in_words())))
            return
        pipe.send_bytes(pickle.dumps(Opened()))
        with contextlib.suppress(EOFError):  # the run needs no more
            while True:
                pipe.send_bytes(_answer(call, pickle.loads(pipe.recv_bytes())))  # noqa: S301 - as above
        if isinstance(made, Annotator):
            made.close()


def _made(recipe: Recipe) -> tuple[object, HandlerContext]:
    return recipe.make(), recipe.context


def _opened(made: object, context: HandlerContext) -> Callable[[Any], object]:
    if isinstance(made, Annotator):
        made.open(context)
        return made.annotate_batch if isinstance(made, BatchAnnotator) else made.annotate
    assert callable(made)  # looked at before it came here
    return made


def _answer(call: Callable[[Any], object], asked: Asked) -> bytes:
    answer: object = None
    error: Exception | None = None
    try:
        answer = call(list(asked.rows) if asked.together else asked.rows[0])
    except (Exception, SystemExit) as raised:  # noqa: BLE001 - the user's code
        error = _portable(raised)
    usage = [row.usage for row in asked.rows]
    if asked.together and isinstance(answer, list | tuple):
        answer = [_portable(one) if isinstance(one, Exception) else one for one in answer]
    try:
        told = pickle.dumps(Told(answer, error, usage), pickle.HIGHEST_PROTOCOL)
    except Exception as raised:  # noqa: BLE001 - the user's values
        failure = Failure(ANSWER, f"the answer cannot be sent to another process: {failure_of(raised).in_words()}")
        return pickle.dumps(Told(None, ElsewhereError(failure), usage))
    if len(told) > MOST_BYTES:
        failure = Failure(
            ANSWER, f"the answer has {len(told):,} bytes; from another process come at most {MOST_BYTES:,}"
        )
        return pickle.dumps(Told(None, ElsewhereError(failure), usage))
    return told


def _portable(error: BaseException) -> Exception:
    """An exception that arrives; if it cannot itself, then one that says as much."""
    if isinstance(error, Exception):
        try:
            if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301 - it was made here
                return error
        except Exception:  # noqa: BLE001, S110 - the user's class
            pass
    verdict = judge(error, now=SystemClock().now)
    return ElsewhereError(failure_of(error), _STATUS.get(verdict.worth), verdict.after_seconds)
