from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog import layout
from datalake_service.errors import RowError, StoreUnavailableError
from datalake_service.pipeline.jobs.engine import LakeOutput
from datalake_service.pipeline.sinks.lake_sink import MOST_OPEN, LakeSink
from datalake_service.pipeline.sinks.sink import Origin
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import Fault, FaultyStore, at
from tests.support.tasks import generator_job

HOUR = 3600.0
START = 1_795_179_600.0  # 2026-11-20 13:00 UTC


def sink_of(store: ObjectStore, template: str | None = "{date:%Y%m%d-%H}", *, chunk_size: int = 3) -> LakeSink:
    """A sink for a task of batch ``b``."""
    output = LakeOutput(chunk_size=chunk_size, batch_by_time=template)
    return LakeSink(generator_job(store, Path("unused")), output, clock=ManualClock())


def rows_of(store: ObjectStore) -> dict[str, list[int]]:
    """The numbers of all rows, by batch."""
    found: dict[str, list[int]] = {}
    for meta in store.list("d/"):
        _, batch, name = meta.key.split("/", 2)
        if layout.parse_chunk(name):
            found.setdefault(batch, []).extend(json.loads(line)["n"] for line in store.get(meta.key)[0].splitlines())
    return {batch: sorted(numbers) for batch, numbers in found.items()}


def at_hour(hour: float) -> Origin:
    """A record that came into being then."""
    return Origin(None, START + hour * HOUR)


def test_a_row_goes_to_the_batch_of_its_record(store: FolderStore) -> None:
    """In whatever order the records come; one without a time goes to the batch of the task."""
    sink = sink_of(store)
    assert sink.needs_origins
    hours = [0, 1, 0, 2, 0.9, 1]
    for number, hour in enumerate(hours):
        sink.add({"n": number}, at_hour(hour))
    sink.add({"n": 6}, Origin(None))
    assert sink.rows_buffered == 4  # three of the first hour are a full chunk
    sink.close()
    assert rows_of(store) == {"20261120-13": [0, 2, 4], "20261120-14": [1, 5], "20261120-15": [3], "b": [6]}


def test_few_batches_are_open_at_a_time(store: FolderStore) -> None:
    """The one that got nothing for longest is closed; its rows are durable, and it may come again."""
    sink = sink_of(store)
    for hour in range(MOST_OPEN + 2):
        sink.add({"n": hour}, at_hour(hour))
        sink.add({"n": 100 + hour}, at_hour(0))
    assert len(rows_of(store)) >= 2
    sink.add({"n": 1000}, at_hour(1))
    sink.close()
    found = rows_of(store)
    assert len(found) == MOST_OPEN + 2
    assert found["20261120-14"] == [1, 1000]
    assert found["20261120-13"] == [0, *range(100, 110)]


def test_flush_makes_the_rows_of_all_batches_durable(store: FolderStore) -> None:
    """Before a checkpoint is made."""
    sink = sink_of(store)
    for hour in range(3):
        sink.add({"n": hour}, at_hour(hour))
    sink.flush()
    assert len(rows_of(store)) == 3
    assert sink.rows_buffered == 0
    assert sink.refused() == ()
    sink.close()


def test_one_batch_needs_no_origins(store: FolderStore) -> None:
    """Nothing is claimed before the first row; what cannot be stored leaves the others alone."""
    sink = sink_of(store, None)
    assert not sink.needs_origins
    assert list(store.list("d/b/")) == []
    before = sink.run
    sink.add({"n": 1}, None)
    assert (before, sink.run is None) == (None, False)
    with pytest.raises(RowError):
        sink.add({"n": object()}, None)
    sink.close()
    assert rows_of(store) == {"b": [1]}


def test_a_batch_that_cannot_be_stored_does_not_keep_the_others(store: FolderStore) -> None:
    """All of them are closed; the error is raised."""
    faulty = FaultyStore(store, at("put", Fault.UNAVAILABLE, key="-14/", nth=2))
    sink = sink_of(faulty)
    for hour in range(3):
        sink.add({"n": hour}, at_hour(hour))
    with pytest.raises(StoreUnavailableError):
        sink.close()
    assert rows_of(store).keys() == {"20261120-13", "20261120-15"}


def test_every_batch_of_an_attempt_has_a_run_of_its_own(store: FolderStore) -> None:
    """Complete in the end."""
    sink = sink_of(store)
    for number in range(6):
        sink.add({"n": number}, at_hour(number % 2))
    sink.close()
    manifests: list[dict[str, Any]] = [
        json.loads(store.get(meta.key)[0]) for meta in store.list("d/") if meta.key.endswith(".manifest.json")
    ]
    assert len({manifest["run"] for manifest in manifests}) == 2
    assert all(manifest["completedAt"] for manifest in manifests)
