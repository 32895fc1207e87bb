"""State machines that a test writes as text, and tasks around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datalake_service.catalog.tasks import TaskState, create_task
from datalake_service.pipeline.jobs.engine import HandlerSpec, MachineInput, TaskJob
from datalake_service.storage import FolderStore
from datalake_service.storage.base import ObjectStore
from tests.support.tasks import NOW, job_fields, merged_rows, stored_rejections

MACHINES = """
import re
from datalake_interfaces import (
    FileReaderState, MultipleFileStateMachineReader, ParseCompositeDocumentResult, ParseDocumentResult,
    RecordParseHint, SingleFileStateMachineParser, SingleFileStateMachineReader,
)

HEADER, HEADER_END = RecordParseHint("PATTERN", "@"), RecordParseHint("PATTERN", "\\n")
AT_ONCE = RecordParseHint("OFFSET", offset=0)

class Sized(SingleFileStateMachineParser):
    # "@KEY LENGTH\\n" and so many bytes, and so on; between them, anything without "@".
    def end_is_next_start(self, s3_file_type):
        return False

    def get_next_expected_record_type(self, s3_file_type, last_processed_record_type):
        return "BODY" if last_processed_record_type == "HEADER" else "HEADER"

    def get_next_record_start_pattern(self, s3_file_type, next_expected_record_type, last_processed_doc):
        return HEADER if next_expected_record_type == "HEADER" else AT_ONCE

    def get_next_record_end_pattern(self, s3_file_type, next_expected_record_type, last_processed_doc):
        if next_expected_record_type == "HEADER":
            return HEADER_END
        return RecordParseHint("OFFSET", offset=last_processed_doc.document_key_values_map["length"])

    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index,
                       last_processed_record_type, last_processed_doc):
        data = byte_arr[start_index:end_index]
        if last_processed_record_type == "HEADER" and isinstance(last_processed_doc, Document):
            if data.startswith(b"bad"):
                return ErrorDoc(error_message="bad body", document_id=last_processed_doc.document_key_values_map["key"])
            if data.startswith(b"raise"):
                raise RuntimeError("raised body")
            return Document({"body": data.decode()}, record_type="BODY")
        key, length = data[1:].split()
        if key.startswith(b"skip"):
            return SkipDoc({"key": key.decode(), "length": int(length)})
        return Document({"key": key.decode(), "length": int(length)}, record_type="HEADER")

class Pairs(SingleFileStateMachineReader):
    # One row for a header and its body; it tells what it knows of the step before.
    def get_s3_file_type(self):
        return "SIZED"

    def parse_document(self, s3_file_type, last_processed_record_type, last_processed_doc, file_reader):
        before = None if last_processed_doc is None else last_processed_doc.document_key_values_map.get("key")
        place = file_reader.get_offset_bytes()
        header = file_reader.next_record()
        if header.status == "ERROR":
            return ParseCompositeDocumentResult(header.document, status="ERROR")
        body, key = file_reader.next_record(), header.document.document_key_values_map["key"]
        if header.status == "SKIP":
            return SkipDoc({"key": key})
        if body is None:
            return ErrorDoc(error_message=f"{key} has no body")
        if body.status == "ERROR":
            refused = ParseCompositeDocumentResult(body.document, status="ERROR")
            return Document({"key": key}) if key == "keep" else refused
        text = body.document.document_key_values_map["body"]
        if text == "stop":
            return ParseCompositeDocumentResult(Document({"key": key}), reader_state="completed")
        if text == "step":
            raise ValueError("raised step")
        if text == "odd":
            return [1]
        if text == "set":
            return Document({"key": ...})
        return Document({"key": key, "body": text, "before": before, "last": last_processed_record_type})

class LockStep(MultipleFileStateMachineReader):
    # One row for a pair of every file.
    def get_s3_file_types(self):
        return {"A", "B"}

    def parse_document(self, last_processed_record_types, last_processed_doc, file_readers):
        row, errors = {}, []
        for kind, reader in sorted(file_readers.items()):
            header, body = reader.next_record(), reader.next_record()
            if header is None:
                continue
            row[kind + "_key"] = header.document.document_key_values_map.get("key")
            if body is not None and body.status == "SUCCESS":
                row[kind] = body.document.document_key_values_map["body"]
        if last_processed_doc is not None:
            row["before"] = last_processed_doc.document_key_values_map.get("A_key")
        return Document(row)
"""
"""Parser and readers for files of headers, each of which says how long its body is."""


def pair(key: str, body: str) -> bytes:
    """A header and its body."""
    return f"@{key} {len(body)}\n{body}".encode()


def machine_job(
    store: ObjectStore,
    folder: Path,
    files: Mapping[str, str],
    *,
    reader: str = "handler.Pairs",
    parser: str | None = "handler.Sized",
    source: ObjectStore | None = None,
    parameters: Mapping[str, Any] | None = None,
    **fields: Any,
) -> TaskJob:
    """A task whose object exists, for files below ``folder / "input"`` by type; type ``""`` for a single one."""
    line = files.get("") or "|".join(f"{kind}:{name}" for kind, name in files.items())
    create_task(store, "d", TaskState(id="t1", item=line, batch="b", created_at=NOW))
    machine = MachineInput(
        store=source or FolderStore(folder / "input", durable=False),
        files=files,
        parsers={} if parser is None else dict.fromkeys(files, parser),
        prefix="",
    )
    handler = HandlerSpec(reader, folder, parameters or {})
    return TaskJob(task="t1", source=line, input=machine, handler=handler, store=store, **job_fields(fields))


Make = Callable[..., TaskJob]


def pairs(count: int, *, begin: int = 0) -> bytes:
    """Numbered pairs."""
    return b"".join(pair(f"k{number}", f"body {number}") for number in range(begin, count))


def rejections(store: FolderStore) -> list[dict[str, Any]]:
    """All of them, in order."""
    return [line for _, file in sorted(stored_rejections(store).items()) for line in file]


def in_order(store: FolderStore) -> list[dict[str, Any]]:
    """The rows, as a merge would keep them, in the order of their ids; without those."""
    return [{**row, "id": None} for _, row in sorted(merged_rows(store).items())]
