"""Small tasks around queues, with a reader of messages that a test makes up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datalake_service.aws.clients import AwsClients
from datalake_service.catalog.tasks import TaskState, create_task
from datalake_service.pipeline.jobs.engine import HandlerSpec, QueueInput, TaskJob
from datalake_service.storage.base import ObjectStore
from tests.support.tasks import NOW, job_fields

MESSAGES = """
import asyncio
from datalake_interfaces import ParseDocumentResult, QueueMessageReader

class Messages(QueueMessageReader):
    # "doc ...", "skip ...", "bad ...", "raise ...", "own ID ...", "set ...", "list", "none", "dict", "coroutine".
    def __init__(self, *, accept=()):
        self.accept = accept

    def parse_message(self, message_id, message_group_id, message_deduplication_id, message_attributes, message_body):
        word, _, rest = message_body.partition(" ")
        if word in self.accept or word == "doc":
            return Document({"text": rest, "group": message_group_id, **message_attributes})
        if word == "skip":
            return SkipDoc()
        if word == "own":
            return Document({"text": rest}, document_id=rest.split()[0])
        if word == "set":
            return Document({"text": object()})
        if word == "raise":
            raise RuntimeError(rest)
        if word == "coroutine":
            async def later():
                return Document({"text": rest})
            return later()
        if word in ("list", "none", "dict"):
            return {"list": [Document({})], "none": None, "dict": {"text": rest}}[word]
        return ErrorDoc(error_message=f"bad message: {rest}")
"""
"""A reader for messages that a test makes up."""


def queue_job(
    store: ObjectStore,
    folder: Path,
    clients: AwsClients,
    *,
    queue: str = "orders",
    task: str = "t1",
    empty_receives: int | None = 2,
    parameters: Mapping[str, Any] | None = None,
    reference: str = "handler.Messages",
    **fields: Any,
) -> TaskJob:
    """A task whose object exists, for a queue."""
    create_task(store, "d", TaskState(id=task, item=f"{queue}#0", batch="b", created_at=NOW))
    source = QueueInput(clients=clients, queue=queue, empty_receives=empty_receives)
    handler = HandlerSpec(reference, folder, parameters or {})
    return TaskJob(task=task, source=f"sqs://{queue}", input=source, handler=handler, store=store, **job_fields(fields))
