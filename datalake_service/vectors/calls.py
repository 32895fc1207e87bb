"""Calls of a model: in batches, repeated while it is busy, divided while it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from datalake_interfaces.vectors import VectorModel
from datalake_service.errors import StoreUnavailableError
from datalake_service.vectors.answers import ModelFailedError, TextRefusedError, vectors_in
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock

PATIENCE_SECONDS: Final = 300.0
"""A model that does not answer for so long fails the task. A serverless endpoint needs minutes to start."""
_TRIES: Final = 3
"""How often a model may break over the same texts before they are divided, and refused in the end."""
_BACKOFF: Final = Backoff(first=0.2, longest=10.0)

Vector = list[float]


@dataclass(frozen=True, slots=True)
class NoVector:
    """The model does not take a text."""

    message: str


def vectors_of(
    model: VectorModel, texts: Sequence[str], *, batch_size: int, clock: Clock, given_up: Callable[[], bool] = bool
) -> list[Vector | NoVector]:
    """Return a vector for each text, or why there is none. Once ``given_up`` says yes, nothing is asked again.

    Raises:
        StoreUnavailableError: The model did not answer for too long.
        StoreError: It cannot be asked, or its answers cannot be used.
    """
    found: list[Vector | NoVector] = []
    for start in range(0, len(texts), batch_size):
        found += _asked(model, texts[start : start + batch_size], clock, given_up)
    return found


def _asked(
    model: VectorModel, texts: Sequence[str], clock: Clock, given_up: Callable[[], bool]
) -> list[Vector | NoVector]:
    failures, broken, since = 0, 0, clock.monotonic()
    while True:
        try:
            return list(vectors_in(model.embed(texts), expected=len(texts)))
        except StoreUnavailableError as error:
            if given_up() or clock.monotonic() - since >= PATIENCE_SECONDS:
                raise StoreUnavailableError(f"{error} (given up after {PATIENCE_SECONDS:.0f} s)") from error
        except ModelFailedError as error:
            broken += 1
            if broken >= _TRIES:
                return _divided(model, texts, str(error), clock, given_up)
        except TextRefusedError as error:
            return _divided(model, texts, str(error), clock, given_up)
        failures += 1
        clock.sleep(_BACKOFF.seconds(failures))


def _divided(
    model: VectorModel, texts: Sequence[str], message: str, clock: Clock, given_up: Callable[[], bool]
) -> list[Vector | NoVector]:
    if len(texts) == 1:
        return [NoVector(message)]
    half = len(texts) // 2
    return _asked(model, texts[:half], clock, given_up) + _asked(model, texts[half:], clock, given_up)
