"""Engines as the acceptance suite sees them: each with a kind of lake, and with what has to be done before a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datalake_service.catalog.stops import request_stop
from datalake_service.catalog.tasks import load_tasks
from datalake_service.config.dataset import DatasetConfig
from datalake_service.pipeline.jobs.engine import Engine
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store
from datalake_utils.clock import SystemClock
from tests.engines.scenarios import SCENARIOS, Scenario, World, everything

_PATIENCE: Final = 120.0
"""Seconds until a run that should be stopped has read everything, on a machine that does ten other things."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where tasks run."""

    engine: Engine
    world: World
    lake: Callable[[], ObjectStore]
    """Makes an empty lake."""
    settings: Mapping[str, object]
    """``computeEngine`` of a dataset file that asks for the same."""
    deploy: Callable[[Path], None] = lambda _folder: None
    """Brings the user's classes to where tasks run, if the engine does not do that."""

    def run(self, config: DatasetConfig, lake: ObjectStore, *, stop: threading.Event | None = None) -> RunReport:
        """Run a dataset file."""
        self.deploy(config.folder)
        return run_dataset(config, store=lake, opener=self.opened, engine=self.engine, stop=stop)

    def run_in_folder(self, config: DatasetConfig, lake: Path, *, stop: threading.Event | None = None) -> RunReport:
        """Run it into a lake in a folder, which is enough where tasks die."""
        return self.run(config, open_store(lake), stop=stop)

    def opened(self, uri: str) -> ObjectStore:
        """Open a store as the lake is opened."""
        return open_store(uri, **self.world.s3.options)

    def lines_of(self, scenario: Scenario) -> list[str]:
        """Run an example to its end, and merge; returns what it made."""
        config, target = scenario.config(self.world)
        lake = self.lake()
        with stopped(lake, config.dataset_name, after=scenario.records):
            report = self.run(config, lake)
        assert not report.failures
        assert [batch.error for batch in clean_up(lake) if batch.error is not None] == []
        return everything(lake, config, target)


class Expected:
    """What one place makes of each example, run at first use."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: dict[str, list[str]] = {}

    def of(self, name: str) -> list[str]:
        """The lines of an example."""
        if name not in self._known:
            scenario = SCENARIOS[name]
            self._known[name] = self._place.lines_of(scenario)
            assert len(self._known[name]) >= scenario.least
        return self._known[name]


@contextmanager
def stopped(lake: ObjectStore, dataset: str, *, after: int | None) -> Iterator[None]:
    """``datalake datasets stop``, when the tasks have read so many records."""
    over = threading.Event()

    def watch(records: int) -> None:
        for _ in range(int(_PATIENCE / 0.2)):
            read = sum(stored.state.counts.records for stored in load_tasks(lake, dataset))
            if read >= records or over.wait(0.2):
                break
        request_stop(lake, dataset, now=SystemClock().now())

    if after is None:
        yield
        return
    thread = threading.Thread(target=watch, args=(after,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
