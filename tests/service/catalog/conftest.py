"""A lake whose time a test turns by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock


@pytest.fixture
def store_clock() -> ManualClock:
    """The store's clock."""
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, store_clock: ManualClock) -> FolderStore:
    """A store whose time is turned by hand."""
    return FolderStore(tmp_path, durable=False, clock=store_clock)
