"""What a model answers, checked; and what it means if it does not. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from datalake_service.errors import StoreError

_KEYS: Final = ("vectors", "embeddings", "predictions")
"""Under which containers put their vectors, if the answer is an object."""


class TextRefusedError(StoreError):
    """The model does not take these texts, or one of them."""

    kind = "text_refused"


class ModelFailedError(StoreError):
    """The model broke over these texts; it may work the next time, or never."""

    kind = "model_failed"


def vectors_in(answer: object, *, expected: int) -> list[list[float]]:
    """Return the vectors of an answer: a list of them, or an object with it.

    Raises:
        StoreError: It is something else, or not one vector for each of the ``expected`` texts.
    """
    found: Any = answer
    if isinstance(answer, Mapping):
        found = next((answer[key] for key in _KEYS if key in answer), None)
    if hasattr(found, "tolist"):
        found = found.tolist()
    if not isinstance(found, Sequence) or isinstance(found, str | bytes):
        keys = ", ".join(_KEYS)
        raise StoreError(
            f"the model answered with {_told(answer)}; it has to be a list of vectors, or an object with it ({keys})"
        )
    if len(found) != expected:
        raise StoreError(f"the model answered with {len(found)} vectors for {expected} texts")
    return [_vector(vector) for vector in found]


def _vector(vector: object) -> list[float]:
    if hasattr(vector, "tolist"):
        vector = vector.tolist()
    if not isinstance(vector, Sequence) or isinstance(vector, str | bytes) or not vector:
        raise StoreError(f"the model answered with {_told(vector)} where a vector has to be: a list of numbers")
    numbers = [value.item() if hasattr(value, "item") else value for value in vector]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        if all(isinstance(value, Sequence) and not isinstance(value, str) for value in numbers):
            raise StoreError(
                "the model answered with a vector for each token; have it pool them into one for each text"
            )
        raise StoreError("the model answered with a vector that holds something else than numbers")
    if not all(math.isfinite(value) for value in numbers):
        raise TextRefusedError("the model answered with NaN or an infinity")
    return numbers


def _told(value: object) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"
