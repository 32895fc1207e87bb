"""The canned requests and their answers: one JSON file for each, ``{"request": …, "answer": …}``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

HANDLERS: Final = Path(__file__).parent / "handlers"
_FOLDER: Final = Path(__file__).parent / "requests"
REQUESTS: Final = sorted(path.stem for path in _FOLDER.glob("*.json"))


def request(name: str) -> dict[str, Any]:
    """What is asked."""
    found: dict[str, Any] = _read(name)["request"]
    return found


def expected(name: str) -> dict[str, Any]:
    """What has to be answered."""
    found: dict[str, Any] = _read(name)["answer"]
    return found


def without_places(answer: Any) -> Any:
    """The answer without stack traces, which name places of the machine it ran on."""
    if isinstance(answer, dict):
        return {name: [] if name == "stackTrace" else without_places(value) for name, value in answer.items()}
    return [without_places(value) for value in answer] if isinstance(answer, list) else answer


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found
