"""What a handler is told when it is opened: who it works for, and where its log lines go."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


def _no_parameters() -> Mapping[str, Any]:
    return MappingProxyType({})


def _default_logger() -> logging.Logger:
    return logging.getLogger("datalake.handler")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerContext:
    """Passed to ``open``. Every field has a default, so that a test can make one: ``HandlerContext()``."""

    dataset: str = ""
    """The name of the dataset."""
    task: str = ""
    """The id of the task (one line of the manifest), stable across attempts; empty where there is no task."""
    parameters: Mapping[str, Any] = field(default_factory=_no_parameters)
    """The ``parameters`` of the dataset file, the same that the constructor got; read-only."""
    logger: logging.Logger = field(default_factory=_default_logger)
    """Log here; never print. The dataset file's ``logLevel`` decides what is kept."""
