"""Where log events go: standard error, as lines for people or as JSON. Set up once, by the process entry."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TextIO

from datalake_service.errors import ConfigError
from datalake_service.events import FIELDS
from datalake_utils.printable import printable

VARIABLE: Final = "DATALAKE_LOG"
"""The environment variable: ``json``, a level, or both with a comma between."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    json: bool = False
    """One JSON object a line, instead of text for people."""
    level: int = logging.WARNING
    """Events below it are dropped."""


def log_settings(*, json: bool, level: str | None, environ: Mapping[str, str] | None = None) -> LogSettings:
    """Put together what the command line and the environment say; the command line wins.

    Raises:
        ConfigError: The variable says something else.
    """
    found = LogSettings()
    for word in (os.environ if environ is None else environ).get(VARIABLE, "").replace(",", " ").split():
        if word.lower() == "json":
            found = LogSettings(json=True, level=found.level)
        elif word.lower() in _LEVELS:
            found = LogSettings(json=found.json, level=_LEVELS[word.lower()])
        else:
            raise ConfigError(f"{VARIABLE}: {word!r} is not known; allowed: json, debug, info, warning, error")
    return LogSettings(json=json or found.json, level=found.level if level is None else _LEVELS[level.lower()])


def set_up_logging(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Send log events to ``stream`` (default: standard error). Other libraries are heard from WARNING on only."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(_json_formatter() if settings.json else _LineFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(settings.level, logging.WARNING))
    for ours in ("datalake", "datalake_service", "datalake_interfaces"):
        logging.getLogger(ours).setLevel(settings.level)
    warnings.formatwarning = _warning_text
    logging.captureWarnings(capture=True)


class _LineFormatter(logging.Formatter):
    """``warning: task.failed task=… error=…``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the record holds."""
        fields: Mapping[str, object] = getattr(record, FIELDS, {})
        told = [record.getMessage(), *(f"{name}={value}" for name, value in fields.items() if value is not None)]
        text = printable(" ".join(" ".join(told).split()))  # messages of exceptions may hold what stood in a row
        lines = [f"{record.levelname.lower()}: {text}"]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


def _json_formatter() -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            _add_fields,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("event"),
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ],
    )


def _add_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(getattr(event["_record"], FIELDS, {}))
    return event


def _warning_text(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning in one line; where it was raised says nothing to the user of a command."""
    del category, filename, lineno, line
    return str(message)
