"""Annotators that are shared."""

from __future__ import annotations

import pytest

from datalake_service.pipeline.annotation import output as annotation_output
from datalake_service.pipeline.annotation import rows_to_ask


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that wait look again soon."""
    monkeypatch.setattr(rows_to_ask, "_LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(annotation_output, "_GIVE_BACK_SECONDS", 0.05)
