"""A bridge with a handler for each interface."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.runtime.bridge import Bridge, HandlerClass
from tests.support.bridge import HANDLERS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the handlers are."""
    path = tmp_path_factory.mktemp("handlers")
    (path / "handler.py").write_text(HANDLERS, encoding="utf-8")
    return path


@pytest.fixture
def bridge(folder: Path) -> Bridge:
    """A bridge that has loaded nothing yet."""
    return Bridge({"SingleFileParser": HandlerClass("handler.SingleFileParser", {"word": "x"})}, folder=folder)
