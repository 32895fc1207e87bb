"""Tasks whose records are walked by a state machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage import FolderStore
from tests.support.machines import MACHINES, Make, machine_job
from tests.support.tasks import write_module


@pytest.fixture
def make(store: FolderStore, tmp_path: Path) -> Make:
    """Makes a task for files with the given contents, by type; ``code`` is added to the module."""

    def job(contents: bytes | dict[str, bytes | None], *, code: str = "", **fields: Any) -> TaskJob:
        folder = write_module(tmp_path / "code", MACHINES + code)
        (folder / "input").mkdir(exist_ok=True)
        several = contents if isinstance(contents, dict) else {"": contents}
        for kind, content in several.items():
            path = folder / "input" / f"f{kind}"
            if content is not None and not (path.exists() and path.read_bytes() == content):
                path.write_bytes(content)
        reader = "handler.Pairs" if not isinstance(contents, dict) else "handler.LockStep"
        return machine_job(store, folder, {kind: f"f{kind}" for kind in several}, **({"reader": reader} | fields))

    return job
