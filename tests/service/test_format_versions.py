"""A lake that a newer version wrote to: every kind of object says its version, and a newer one is refused politely."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimRecord
from datalake_service.catalog.deletions import mark_deleted, restore
from datalake_service.catalog.leases import Lease
from datalake_service.catalog.locks import find_locks
from datalake_service.catalog.makers import Maker
from datalake_service.catalog.manifests import claim_run
from datalake_service.catalog.stops import load_stops, request_stop
from datalake_service.catalog.tasks import load_tasks
from datalake_service.errors import DatalakeError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, Reuse
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.pipeline.upkeep.cleanup import clean_up
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.probe import RECORD_KEY, require_conditions
from tests.support.annotations import Asked, ListRows
from tests.support.careless_store import CarelessStore
from tests.support.project import Project

NOW = datetime(2026, 11, 20, 13, tzinfo=UTC)
WORKER = "a" * 32


class Lake:
    """A lake that holds at least one object of every kind, and what can be done with it."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder)
        self.project.document["writeConnector"] = {"batch": "b", "chunkSize": 3, "deduplicateOn": ["text"]}
        self.project.write("a.log", "doc one\ndoc two\ndoc two\nbad y\n")
        self.project.annotate()
        self.project.run()
        self.store: ObjectStore = self.project.store
        with DatasetView(self.store, ViewRequest(dataset="d", annotator_columns={})) as rows:
            self.annotate(shared=False, ids=[row["id"] for row in rows], reuse="label")
        merge_annotator(self.store, "d", "length")
        asyncio.run(ingest_iterator(self.store, [{"text": "waits"}], dataset="d", batch="b", chunk_size=1))
        temp = layout.annotator_temp_prefix("d", "length")
        claim_run(
            self.store, temp, kind="annotation", deduplicate_on=None, chunk_size=1, now=NOW, draw=lambda: "0a1b2c"
        )
        assert Lease(self.store, layout.worker_lease_key("d", "length", WORKER), ttl=timedelta(hours=1)).acquire()
        claim = ClaimRecord(WORKER, 1).to_json()
        self.store.put(layout.claim_key("d", "length", "b"), claim, mode=Overwrite())
        request_stop(self.store, "d", now=NOW)
        mark_deleted(self.store, "d")
        assert restore(self.store, "d")
        require_conditions(self.remote())

    def remote(self) -> CarelessStore:
        """The same lake under the address of a bucket."""
        return CarelessStore(self.store)

    def versions(self, prefix: str = "") -> dict[str, str]:
        """Every object with its version, but for what only tells the store's time."""
        found = {meta.key: meta.etag for meta in self.store.list(prefix)}
        return {key: etag for key, etag in found.items() if not key.endswith(("/time", ".time"))}

    def annotate(self, *, shared: bool, ids: Sequence[str] = ("new",), reuse: Reuse | None = None) -> None:
        """Ask about every row, as the second version."""
        job = AnnotationJob("d", "length", ["b"], maker=Maker(version="v2", code="0" * 12))
        options = AnnotationOptions(shared=shared, reuse=reuse)
        rows = ListRows({"b": ids})
        asyncio.run(annotate(self.store, job, rows=rows, function=Asked(lambda _: {}), options=options))

    def view(self, *, version: str | None = None) -> None:
        """Read every row with its annotation, of one version of the annotator or of any."""
        versions = None if version is None else {"length": version}
        request = ViewRequest(dataset="d", annotator_columns={"length": None}, versions=versions)
        with DatasetView(self.store, request) as rows:
            list(rows)


Operation = Callable[[Lake], object]


def cleaned(lake: Lake) -> Iterable[str]:
    """What a clean-up has to complain of."""
    return [result.error for result in clean_up(lake.store) if result.error is not None]


def checked(lake: Lake) -> Iterable[str]:
    """What fsck finds."""
    return [finding.message for finding in check_dataset(lake.store, "d")]


def locks(lake: Lake) -> Iterable[str]:
    """What is said of locks."""
    return [str(lock.error) for lock in find_locks(lake.store, "d")]


OPERATIONS: dict[str, dict[str, Operation]] = {
    ".datalake/probe.json": {"probe": lambda lake: require_conditions(lake.remote())},
    "d/.state/dataset.json": {"run": lambda lake: lake.project.run()},
    "d/.state/deleted.json": {"run": lambda lake: lake.project.run(), "clean-up": cleaned, "view": Lake.view},
    "d/.state/stop.json": {
        "stop": lambda lake: request_stop(lake.store, "d", now=NOW),
        "look": lambda lake: load_stops(lake.store, "d"),
    },
    "d/.state/tasks/*.json": {
        "run": lambda lake: lake.project.run(),
        "list": lambda lake: load_tasks(lake.store, "d"),
    },
    "d/b/*.manifest.json": {"clean-up": cleaned, "fsck": checked},
    "d/b/merged.parquet": {"clean-up": cleaned, "view": Lake.view, "fsck": checked},
    "d/annotations/length/.temp/*.manifest.json": {"clean-up": cleaned, "fsck": checked},
    "d/annotations/length/.temp/.lock": {
        "annotate": lambda lake: lake.annotate(shared=False),
        "share": lambda lake: lake.annotate(shared=True),
        "locks": locks,
    },
    "d/annotations/length/.shared/workers/*.lock": {"annotate": lambda lake: lake.annotate(shared=False)},
    "d/annotations/length/.shared/batches/*.json": {"share": lambda lake: lake.annotate(shared=True)},
    "d/annotations/length/b/merged.parquet": {"view": Lake.view, "fsck": checked},
    "d/annotations/length/b/older/*.parquet": {"view": lambda lake: lake.view(version="v2"), "fsck": checked},
    "d/annotations/length/.state/generations.json": {
        "share": lambda lake: lake.annotate(shared=True),
        "fsck": checked,
    },
}
"""Every kind of object that carries a version, and who must refuse a newer one."""
WITHOUT_VERSION = ("*_chunk_*.jsonl", "*/rejected/*.jsonl", "*/duplicates/*.jsonl", "*/manifest.yaml")
"""Rows, whose manifest or merged object says the version; what only people read; what has no content."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake, made once."""
    folder = tmp_path_factory.mktemp("versions")
    Lake(folder)
    return folder


@pytest.fixture
def lake(original: Path, tmp_path: Path) -> Lake:
    """A copy of it."""
    copy = Lake.__new__(Lake)
    copy.project = Project(tmp_path)
    shutil.rmtree(tmp_path / "project")
    for name in ("project", "lake"):
        shutil.copytree(original / name, tmp_path / name)
    copy.project.document["annotators"] = []
    for path in tmp_path.rglob("*"):
        path.touch()  # the clock of the original stands still; what is old would be left over
    copy.store = FolderStore(tmp_path / "lake", durable=False)
    return copy


def newer(lake: Lake, pattern: str) -> str:
    """Give one object of this kind a newer version; returns its key."""
    key = next(key for key in lake.versions() if fnmatch.fnmatchcase(key, pattern))
    path = Path(lake.store.uri) / key
    if key.endswith(".parquet"):
        table = pq.read_table(path)
        said = json.loads(pq.ParquetFile(path).metadata.metadata[b"datalake"])
        pq.write_table(table.replace_schema_metadata({"datalake": json.dumps(renewed(said))}), path)
    else:
        path.write_text(json.dumps(renewed(json.loads(path.read_bytes()))), encoding="utf-8")
    return key


def renewed(document: dict[str, Any]) -> dict[str, Any]:
    """What a newer version may write: nothing is as it was but the version's place."""
    assert document["format"] == 1
    return {"format": 2, "everything": ["else", "differs"]}


CASES = [pytest.param(kind, name, id=f"{kind}-{name}") for kind in OPERATIONS for name in OPERATIONS[kind]]


@pytest.mark.parametrize(("kind", "operation"), CASES)
def test_a_newer_version_is_refused_politely_and_nothing_is_written(lake: Lake, kind: str, operation: str) -> None:
    """The object, its version and ours are named, in one line."""
    key = newer(lake, kind)
    # What is no part of the refused object's own is merged all the same, and a run that failed is noted.
    scope = "d/annotations/" if kind.startswith("d/annotations/") else "d/b/" if operation == "run" else ""
    before = lake.versions(scope)
    try:
        result = OPERATIONS[kind][operation](lake)
        said = "\n".join(result) if isinstance(result, list) else ""
    except DatalakeError as error:
        said = str(error)
    assert f"{key} has format 2; this version of datalake reads up to 1: please upgrade it" in said
    after = lake.versions(scope)
    if operation == "annotate":  # its own lock, which it takes before it looks at those of others, and gives back
        after[layout.annotator_lease_key("d", "length")] = before[layout.annotator_lease_key("d", "length")]
    if operation == "share":  # what it has done, for the report of all workers: nothing
        after = {key: etag for key, etag in after.items() if "/tallies/" not in key}
    assert after == before


def test_every_kind_of_object_carries_a_version(original: Path) -> None:
    """But for rows and what only people read; a kind that is new has to be added above."""
    store = FolderStore(original / "lake", durable=False)
    keys = [meta.key for meta in store.list("") if not meta.key.endswith(("/time", ".time"))]
    unknown = [
        key for key in keys if not any(fnmatch.fnmatchcase(key, kind) for kind in (*OPERATIONS, *WITHOUT_VERSION))
    ]
    assert unknown == []
    for kind in (*OPERATIONS, *WITHOUT_VERSION):
        assert any(fnmatch.fnmatchcase(key, kind) for key in keys), kind
    assert RECORD_KEY in OPERATIONS
