"""The Lambda function: ``datalake_service.runtime.lambda_entry.handler``. Only here the environment is read.

Importing this has to be fast: it is most of a cold start.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Final

from datalake_service.errors import ConfigError
from datalake_service.runtime.bridge import Bridge, HandlerClass
from datalake_service.runtime.bridge_calls import INTERFACES

HANDLERS: Final = "DATALAKE_HANDLERS"
"""The variable that says which class handles which interface."""
FOLDER: Final = "DATALAKE_HANDLER_FOLDER"
"""The variable that says where their modules are."""


def handler(event: object, context: object) -> dict[str, object]:  # noqa: ARG001 - what Lambda passes
    """Answer one request; see ``docs/design/016-bridge.md``."""
    return bridge().answer(event)


@cache
def bridge() -> Bridge:
    """The bridge of this process; it keeps the handlers.

    Raises:
        ConfigError: ``DATALAKE_HANDLERS`` is wrong.
    """
    folder = os.environ.get(FOLDER) or os.environ.get("LAMBDA_TASK_ROOT") or "."
    return Bridge(handler_classes(os.environ.get(HANDLERS) or "{}"), folder=Path(folder))


def handler_classes(text: str) -> dict[str, HandlerClass]:
    """Return what ``DATALAKE_HANDLERS`` says.

    Raises:
        ConfigError: It is no JSON, or says something else.
    """
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{HANDLERS} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f'{HANDLERS} has to be an object: {{"SingleFileParser": "module.Class"}}')
    problems = [f"there is no interface {name!r}" for name in found if name.lower() not in INTERFACES]
    classes = {}
    for name, said in found.items():
        reference = said.get("class") if isinstance(said, dict) else said
        parameters = said.get("parameters", {}) if isinstance(said, dict) else {}
        if isinstance(reference, str) and isinstance(parameters, dict):
            classes[name] = HandlerClass(reference, parameters)
        else:
            problems.append(f'{name}: has to be "module.Class", or {{"class": "module.Class", "parameters": {{}}}}')
    if problems:
        raise ConfigError(HANDLERS, tuple(problems))
    return classes
