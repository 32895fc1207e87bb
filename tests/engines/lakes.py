"""Datasets that every engine runs, and what became of them as lines of text: equal lines, equal rows."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.load import load_dataset
from datalake_service.engines.local import LocalEngine
from datalake_service.pipeline.jobs.engine import Engine
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import run_dataset
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.open import open_store

TIMES = frozenset({"_created_at", "_annotated_at", "_seconds"})
"""The columns that are left out of comparisons: when a row was written, when it was annotated, how long that took."""


def run(config: DatasetConfig, lake: Path, engine: Engine, *, stop: threading.Event | None = None) -> RunReport:
    """Run a dataset file into a folder lake."""
    store = open_store(lake)
    return run_dataset(config, store=store, opener=open_store, engine=engine, stop=stop)


def lines(lake: Path) -> list[str]:
    """Every merged row of a lake, base and annotations, sorted; without ``TIMES``."""
    return rows_of(open_store(lake))


def rows_of(store: ObjectStore) -> list[str]:
    """The same of a lake that is open."""
    found: list[str] = []
    for meta in store.list(""):
        if meta.key.endswith("/merged.parquet"):
            place = meta.key.removesuffix("merged.parquet")
            rows = pq.read_table(io.BytesIO(store.get(meta.key)[0])).to_pylist()
            found += [place + json.dumps(lasting(row), sort_keys=True, default=str) for row in rows]
    return sorted(found)


def lasting(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs each time."""
    return {name: value for name, value in row.items() if name.rpartition(".")[2] not in TIMES}


class Lakes:
    """Runs each dataset once on the LOCAL engine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, list[str]] = {}

    def of(self, name: str, config: DatasetConfig) -> list[str]:
        """The lines of a dataset."""
        if name not in self._known:
            lake = self._folder / name
            report = run(config, lake, LocalEngine(concurrency=1))
            assert not report.failures
            self._known[name] = lines(lake)
            assert self._known[name]
        return self._known[name]


HANDLER = '''
import os, signal, time
from pathlib import Path
from datalake_interfaces import Annotation, Annotator, Generator, SingleFileParser
from datalake_interfaces import Document, ParseDocumentResult, RecordParseHint
from datalake_interfaces.annotators import BatchAnnotator


def once(marker, deaths):
    """Whether this is one of the first times; counts across processes."""
    path = Path(marker)
    if path.exists() and path.stat().st_size >= deaths:
        return False
    with path.open("a") as file:
        file.write("+")
    return True


class Lines(SingleFileParser):
    """One row a line; may kill its process at one of them, or never come back from it, or take its time."""

    def __init__(self, kill_at=None, hang_at=None, marker="", deaths=1, seconds=0.0):
        self.kill_at, self.hang_at, self.marker, self.deaths, self.seconds = kill_at, hang_at, marker, deaths, seconds

    def open(self, context):
        self.context = context

    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint("OFFSET", offset=0)

    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint("PATTERN", "\\n")

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        text = byte_arr[start_index:end_index].decode().strip()
        if self.seconds:
            time.sleep(self.seconds)
        if text == self.kill_at and once(self.marker, self.deaths):
            os.kill(os.getpid(), signal.SIGKILL)
        if text == self.hang_at and once(self.marker, self.deaths):
            time.sleep(600)
        if text.endswith("7"):
            self.context.logger.warning("a seven in %s", s3_filename)
        return Document({"text": text})


class Length(Annotator):
    """Notes each time it is opened; may kill its process at a row."""

    def __init__(self, opened="", kill_at=None, marker="", deaths=1):
        self.opened, self.kill_at, self.marker, self.deaths = opened, kill_at, marker, deaths

    def open(self, context):
        if self.opened:
            with open(self.opened, "a") as file:
                file.write(f"{os.getpid()}\\n")

    def annotate(self, item):
        if item.data["text"] == self.kill_at and once(self.marker, self.deaths):
            os.kill(os.getpid(), signal.SIGKILL)
        if item.data["text"] == "refuse":
            raise Odd("no", lambda: None)
        return Annotation({"length": len(item.data["text"])})


class Odd(Exception):
    """Cannot be pickled."""

    def __init__(self, message, function):
        super().__init__(message, function)
        self.message = message

    def __str__(self):
        return self.message


class Many(BatchAnnotator):
    """Takes rows together."""

    max_batch_size = 5

    async def annotate_batch(self, items):
        return [Annotation({"length": len(item.data["text"])}) for item in items]
'''


def project(folder: Path, *, files: int = 6, records: int = 20, **sections: Any) -> DatasetConfig:
    """A small dataset over a folder: ``files`` of ``records`` lines each. Sections are those of a dataset file."""
    source = folder / "input"
    source.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    for file in range(files):
        text = "".join(f"{file}-{record}\n" for record in range(records))
        (source / f"{file}.txt").write_text(text, encoding="utf-8")
    parameters = sections.pop("parameters", {})
    document = {
        "datasetName": "d",
        "readConnector": {
            "connectorDestination": "FOLDER",
            "path": "input",
            "singleFileParserImplementationClassName": "handler.Lines",
            "parameters": parameters,
        },
        "writeConnector": {"batch": "b", "chunkSize": 7},
    }
    return load_dataset(document | sections, folder=folder)


def annotator(reference: str = "handler.Length", **settings: Any) -> dict[str, Any]:
    """An annotator of ``project``."""
    return {
        "annotatorName": "length",
        "annotatorImplementationClassName": reference,
        "baseColumns": ["text"],
    } | settings
