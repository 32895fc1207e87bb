"""Handlers and tasks for destinations other than the lake."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage import FolderStore
from tests.support.tasks import LINES, file_job, write_module

DOCUMENTS = """
class Documents(Lines):
    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        answer = super().parse_document(s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index)
        if type(answer) is Document and answer.document_id is None:
            answer.partition_key = "p" + answer.document_key_values_map["text"]
            answer.record_type = "line"
        return answer

class Keyed(Lines):
    def parse_document(self, *arguments):
        answer = super().parse_document(*arguments)
        if type(answer) is Document:
            answer.document_key_values_map["pk"] = answer.document_key_values_map["text"]
        return answer
"""


def written(folder: Path) -> list[dict[str, Any]]:
    """The rows of all JSONL files below a folder, in the order of the files."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*.jsonl*")):
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        rows += [json.loads(line) for line in data.splitlines()]
    return rows


def by_text(rows: list[dict[str, Any]]) -> list[str]:
    """What the rows say, sorted."""
    return sorted(row["text"] for row in rows)


# One task, and what dies ---------------------------------------------------------------------------------------------

LOG = "".join(f"{word} {number}\n" for number in range(5) for word in ("doc", "own", "bad", "skip"))


class World:
    """A lake and a file, for one task that writes elsewhere."""

    def __init__(self, folder: Path, *, reference: str = "handler.Documents", content: str = LOG) -> None:
        self.lake = FolderStore(folder / "lake", durable=False)
        self.reference = reference
        self.code = write_module(folder / "code", LINES + DOCUMENTS)
        (self.code / "input").mkdir()
        (self.code / "input/in.log").write_text(content)

    def job(self, output: Any, *, store: Any = None, **fields: Any) -> TaskJob:
        job = file_job(self.lake, self.code, name="in.log", reference=self.reference, **fields)
        return replace(job, output=output, store=store or self.lake)
