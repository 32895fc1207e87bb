"""Calls of the user's methods outside of any record: what names, patterns and preparations are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from datalake_service.errors import HandlerLoadError
from datalake_service.handling.telling import told


def ask(method: Callable[..., object], *arguments: object, name: str, folder: Path | None) -> object:
    """Call a method that has to be a plain one, and return its answer.

    Args:
        method: Of the user's class.
        arguments: What it gets.
        name: What errors call it, with its class.
        folder: Where the user's code is, if that is known.

    Raises:
        HandlerLoadError: It raised, or is async.
    """
    try:
        answer = method(*arguments)
    except (Exception, SystemExit) as error:
        raise HandlerLoadError(f"{name} raised {told(error, folder)}") from error
    if hasattr(answer, "__await__") and hasattr(answer, "close"):
        answer.close()
        raise HandlerLoadError(f"{name} is async; it has to be a plain method: def {name.rpartition('.')[2]}")
    return answer
