"""A whole dataset file with handlers, input and lake, to be run in any way."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalake_service.config.load import load_dataset as read_config
from datalake_service.config.settings import Settings
from datalake_service.pipeline.runs.progress import Observer
from datalake_service.pipeline.runs.report import RunReport
from datalake_service.pipeline.runs.run import create_dataset, run_dataset
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage import FolderStore, open_store
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import ManualClock
from tests.support.tasks import LINES, InlineEngine, write_module

OTHERS = """
class MoreLines(Lines):
    pass

class Numbers(Generator):
    def __init__(self, count=5):
        self.count = count

    def generate(self):
        for number in range(self.count):
            yield {"number": number}
"""
ANNOTATOR = """
from datalake_interfaces import Annotation, Annotator

class Length(Annotator):
    def __init__(self, log):
        self.log = Path(log)

    def annotate(self, item):
        with self.log.open("a") as file:
            file.write(item.data["text"] + "\\n")
        if item.data["text"] == "skip me":
            return SkipDoc()
        return Annotation({"length": len(item.data["text"])})

class Closed(Length):
    def open(self, context):
        raise OSError("no model")
"""


class Project:
    """A folder with a dataset file's handlers and input, and the lake that it fills."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_module(folder / "project", LINES + OTHERS)
        write_module(self.folder, ANNOTATOR, name="notes")
        (self.folder / "input").mkdir()
        self.lake = folder / "lake"
        self.log = folder / "annotated.log"
        self.engine = InlineEngine()
        self.clock = ManualClock(datetime(2026, 11, 20, 13, tzinfo=UTC))
        self.store = FolderStore(self.lake, durable=False, clock=self.clock)
        self.document: dict[str, Any] = {
            "datasetName": "d",
            "readConnector": {
                "connectorDestination": "FOLDER",
                "path": "input",
                "singleFileParserImplementationClassName": "handler.Lines",
            },
            "writeConnector": {"batch": "b", "chunkSize": 3},
        }

    def write(self, name: str, text: str) -> None:
        """Put a file into the input."""
        (self.folder / "input" / name).write_text(text, encoding="utf-8")

    def annotate(self, name: str = "Length", **fields: Any) -> None:
        """Add an annotator to the dataset file."""
        settings = {"annotatorName": name.lower(), "annotatorImplementationClassName": f"notes.{name}"}
        entry = settings | {"parameters": {"log": str(self.log)}} | fields
        self.document["annotators"] = [*self.document.get("annotators", []), entry]

    def run(self, *, observer: Observer | None = None, stop: threading.Event | None = None) -> RunReport:
        """Run the dataset file as it is now."""
        self.engine.ran.clear()
        return create_dataset(
            read_config(self.document, folder=self.folder),
            settings=Settings.load(uri=str(self.lake), environ={}, env_file=None),
            engine=self.engine,
            observer=observer,
            stop=stop,
            clock=self.clock,
        )

    def run_in(self, store: ObjectStore) -> RunReport:
        """Run the dataset file in a lake that is seen through ``store``."""
        config = read_config(self.document, folder=self.folder)
        return run_dataset(config, store=store, opener=open_store, engine=InlineEngine(), clock=self.clock)

    def texts(self, batch: str = "b") -> list[str]:
        """The column ``text`` of a batch, sorted."""
        return sorted(row["text"] for row in DatasetView(self.store, ViewRequest(dataset="d", batches=[batch])))

    def objects(self) -> dict[str, str]:
        """Every object of the dataset with its version, but for its own state and what locks leave behind."""
        left_out = ("/dataset.json", "/.lock")
        return {meta.key: meta.etag for meta in self.store.list("d/") if not meta.key.endswith(left_out)}
