from __future__ import annotations

import threading
from pathlib import Path

import pytest

from datalake_service.engines.scheduler import Rules, Worker, run_in_slots
from datalake_service.storage import FolderStore
from tests.support.tasks import generator_job


def test_what_no_engine_expects_is_raised(tmp_path: Path) -> None:
    """A library that refuses a call: the run says so, rather than that nothing was to do."""

    def new_worker() -> Worker:
        raise ValueError("no such option")

    job = generator_job(FolderStore(tmp_path / "lake", durable=False), tmp_path)
    with pytest.raises(ValueError, match="no such option"):
        run_in_slots([job], slots=1, rules=Rules(new_worker), on_event=lambda _: None, stop=threading.Event())
