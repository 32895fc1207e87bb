"""The bridge: a request in, an answer out, whatever the request is. Knows nothing of Lambda or the environment.

The wire format is in ``docs/design/016-bridge.md``.
"""

from __future__ import annotations

import difflib
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any, Final

from datalake_interfaces import HandlerContext
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.answers import AnswerError
from datalake_service.handling.folders import public_text
from datalake_service.handling.load import load_handler
from datalake_service.handling.telling import one_line, told
from datalake_service.runtime.bridge_calls import INTERFACES, Function, Interface, RequestError
from datalake_service.runtime.bridge_values import rendered

_HEADERS: Final = {"Content-Type": "application/json"}
_REQUEST_ID_LENGTH: Final = 1_000
"""A longer one is no id, and is not echoed."""


@dataclass(frozen=True, slots=True)
class HandlerClass:
    """Which class handles an interface."""

    reference: str
    """``module.Class``."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Bridge:
    """Answers requests. Handlers are loaded when they are needed first, once, and kept."""

    def __init__(self, classes: Mapping[str, HandlerClass], *, folder: Path) -> None:
        """Take the classes by interface, and the folder of their modules; left out ones are ``handler.{interface}``."""
        self._classes = {name.lower(): found for name, found in classes.items()}
        self._folder = folder
        self._handlers: dict[str, object] = {}
        self._lock = RLock()

    def answer(self, event: object) -> dict[str, object]:
        """Return the answer to a request. Never raises for what is in it or for what a handler does."""
        request_id = _request_id(event)
        try:
            body: dict[str, object] = {"statusCode": "SUCCESS", "requestId": request_id, **self._result(event)}
            status = 200
        except Exception as error:  # noqa: BLE001 - the user's code, and whatever JSON a caller sends
            body = {"statusCode": "EXCEPTION", "requestId": request_id, **self._failure(error)}
            status = 500
        return {"StatusCode": status, "headers": dict(_HEADERS), "body": body}

    def _result(self, event: object) -> dict[str, object]:
        if not isinstance(event, Mapping):
            raise RequestError("the request has to be an object")
        interface, function = _target(event)
        batch = event.get("batchedData")
        if batch is not None and not isinstance(batch, list):
            raise RequestError("batchedData: has to be a list")
        if batch and event.get("data"):
            raise RequestError("data and batchedData: give one of them")
        handler = self._handler(interface)
        if not batch:
            return {"data": self._call(handler, function, event.get("data"), "data")}
        return {
            "batchedData": [
                self._one(handler, function, data, f"batchedData[{number}]") for number, data in enumerate(batch)
            ]
        }

    def _one(self, handler: object, function: Function, data: object, path: str) -> dict[str, object]:
        """One answer of a batch: a bad one spoils no other."""
        try:
            return {"statusCode": "SUCCESS", "data": self._call(handler, function, data, path)}
        except Exception as error:  # noqa: BLE001 - as in answer()
            return {"statusCode": "EXCEPTION", **self._failure(error)}

    def _call(self, handler: object, function: Function, data: object, path: str) -> object:
        values = function.arguments(data, path)
        with self._lock:
            try:
                answer = function.call(handler, values)
            except SystemExit as error:  # a handler that wants to leave is one that failed
                raise RuntimeError(f"the handler called exit({error.code!r})") from error
        return rendered(answer)

    def _handler(self, interface: Interface) -> object:
        with self._lock:
            found = self._handlers.get(interface.name)
            if found is None:
                found = self._handlers[interface.name] = self._loaded(interface)
            return found

    def _loaded(self, interface: Interface) -> object:
        named = self._classes.get(interface.name.lower(), HandlerClass(f"handler.{interface.name}"))
        handler: Any = load_handler(
            named.reference, folder=self._folder, interface=interface.type, parameters=named.parameters
        )
        if hasattr(handler, "open"):
            logger = logging.getLogger("datalake.handler")
            try:
                handler.open(HandlerContext(parameters=named.parameters, logger=logger))
            except (Exception, SystemExit) as error:
                name = f"{type(handler).__name__}.open"
                raise HandlerLoadError(f"{name} raised {told(error, self._folder)}") from error
        return handler

    def _failure(self, error: Exception) -> dict[str, object]:
        expected = isinstance(error, RequestError | AnswerError | HandlerLoadError)
        message = one_line(str(error)) if expected else _message(error)
        trace = [] if expected else _trace(error)
        exception = {"errorMessage": message, "errorType": type(error).__name__, "stackTrace": trace}
        return {"errorMessage": message, "exception": exception}


def _request_id(event: object) -> str | None:
    found = event.get("requestId") if isinstance(event, Mapping) else None
    return found if isinstance(found, str) and len(found) <= _REQUEST_ID_LENGTH else None


def _target(event: Mapping[Any, object]) -> tuple[Interface, Function]:
    """What is to be called.

    Raises:
        RequestError: The envelope is incomplete, or names nothing that there is.
    """
    problems = [
        f"{key}: {'missing' if event.get(key) is None else 'has to be text'}"
        for key in ("requestId", "interface", "function")
        if not isinstance(event.get(key), str)
    ]
    if problems:
        raise RequestError("; ".join(problems))
    auth = event.get("letsdataAuth")
    if auth is not None and not isinstance(auth, Mapping):
        raise RequestError("letsdataAuth: has to be an object")
    name, wanted = str(event["interface"]), str(event["function"])
    interface = INTERFACES.get(name.lower())
    if interface is None:
        raise RequestError(f"interface: {_unknown(name, [known.name for known in INTERFACES.values()])}")
    function = interface.functions.get(wanted)
    if function is None:
        raise RequestError(f"function: {_unknown(wanted, list(interface.functions))}")
    return interface, function


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
    return f"there is no {name[:100]!r}; {hint}"


def _message(error: Exception) -> str:
    try:
        return one_line(str(error)) or type(error).__name__
    except Exception as second:  # noqa: BLE001 - the user's own exception class cannot be printed
        return f"{type(error).__name__} (its message cannot be shown: {type(second).__name__})"


def _trace(error: Exception) -> list[str]:
    """File, line and function of each frame of the handler: ours say nothing to its author."""
    ours = str(Path(__file__).resolve().parents[2] / "datalake_")
    frames = traceback.extract_tb(error.__traceback__)
    return [
        public_text(f"{frame.filename}:{frame.lineno} in {frame.name}")
        for frame in frames
        if not frame.filename.startswith(ours)
    ]
