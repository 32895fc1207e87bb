"""The Lambda function: ``datalake_service.runtime.lambda_entry.handler``. Only here the environment is read.

It answers requests of the bridge, and runs tasks for the LAMBDA engine. Importing it has to be fast: it is most of a
cold start. What tasks need is loaded by the first task.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from datalake_service.errors import ConfigError
from datalake_service.runtime.bridge import Bridge, HandlerClass
from datalake_service.runtime.bridge_calls import INTERFACES

HANDLERS: Final = "DATALAKE_HANDLERS"
"""The variable that says which class handles which interface."""
FOLDER: Final = "DATALAKE_HANDLER_FOLDER"
"""The variable that says where their modules are."""
TASK: Final = "datalakeTask"
"""The key of an event that is a task; see ``docs/design/021-lambda.md``."""


class Invocation(Protocol):
    """What Lambda passes beside an event, as far as it is used."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the function may still run."""


def handler(event: object, context: Invocation) -> dict[str, object]:
    """Answer one request of the bridge (``docs/design/016-bridge.md``), or run a task until its time is up."""
    if isinstance(event, dict) and TASK in event:
        return run_task(event, seconds_left=context.get_remaining_time_in_millis() / 1_000)
    return bridge().answer(event)


def run_task(event: dict[str, Any], *, seconds_left: float) -> dict[str, object]:
    """Run the task of an event."""
    from datalake_service.config.settings import Settings
    from datalake_service.engines.lambda_task import run_request
    from datalake_service.storage.open import open_store
    from datalake_utils.clock import SystemClock

    options = Settings.load().store_options()
    return run_request(
        event,
        seconds_left=seconds_left,
        folder=_folder(),
        open_store=lambda region: lambda uri: open_store(uri, region=region, **options),
        tell=print_line,
        clock=SystemClock(),
    )


def print_line(line: str) -> None:
    """Write a line where CloudWatch finds it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _folder() -> Path:
    """Where the user's modules are."""
    return Path(os.environ.get(FOLDER) or os.environ.get("LAMBDA_TASK_ROOT") or ".")


@cache
def bridge() -> Bridge:
    """The bridge of this process; it keeps the handlers.

    Raises:
        ConfigError: ``DATALAKE_HANDLERS`` is wrong.
    """
    return Bridge(handler_classes(os.environ.get(HANDLERS) or "{}"), folder=_folder())


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
