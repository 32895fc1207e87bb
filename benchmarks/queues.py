"""Messages of a queue into a lake, against the bare loop of the client library: the same emulator, batches of ten.

The bare loop receives ten messages, parses nothing, and deletes them: if it is killed, or a message is not stored,
that message is lost. Ours calls a handler, stores chunks durably, makes checkpoints, and deletes behind them.
Each side starts an emulator of its own and fills a queue before the clock starts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Comparison, main, timed
from tests.support.aws import Aws, ministack

HANDLER = """
from datalake_interfaces import Document, QueueMessageReader
import json

class Messages(QueueMessageReader):
    def parse_message(self, message_id, group, deduplication, attributes, body):
        return Document(json.loads(body))
"""


@contextmanager
def filled(folder: Path, messages: int) -> Iterator[tuple[Aws, str]]:
    """An emulator, and a queue with so many messages of 1 KB."""
    with ministack(folder) as aws:
        queue = aws.make_queue()
        aws.send(queue, [json.dumps({"number": number, "text": "x" * 1000}) for number in range(messages)])
        yield aws, queue


def bare(folder: Path, arguments: argparse.Namespace) -> object:
    """``boto3``: receive ten, delete ten, until it is empty."""
    seen = 0
    with filled(folder, arguments.messages) as (aws, queue):
        client, url = aws.client("sqs"), aws.queue_url(queue)
        with timed():
            while found := client.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            ).get("Messages"):
                seen += len(found)
                entries = [
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(found)
                ]
                client.delete_message_batch(QueueUrl=url, Entries=entries)
    return seen


def ours(folder: Path, arguments: argparse.Namespace) -> object:
    """A task of the dataset, in this process."""
    from datalake_service.catalog.tasks import TaskState, create_task
    from datalake_service.pipeline.jobs.engine import HandlerSpec, LakeOutput, QueueInput, TaskJob
    from datalake_service.pipeline.tasks.task import run_task
    from datalake_service.storage.folder import FolderStore
    from datalake_utils.clock import SystemClock

    clock = SystemClock()
    (folder / "handler.py").write_text(HANDLER, encoding="utf-8")
    with filled(folder, arguments.messages) as (aws, queue):
        store = FolderStore(folder / "lake")
        create_task(store, "d", TaskState(id="t", item=queue, batch="b", created_at=clock.now()))
        clients = aws.clients()
        clients.client("sqs")
        job = TaskJob(
            task="t",
            source=f"sqs://{queue}",
            input=QueueInput(clients=clients, queue=queue, empty_receives=None),
            output=LakeOutput(chunk_size=1000),
            handler=HandlerSpec("handler.Messages", folder),
            store=store,
            dataset="d",
            batch="b",
        )
        seen = 0

        def done() -> bool:
            return seen == int(arguments.messages)  # the bare loop does not wait for an empty queue either

        def watch(progress: object) -> None:
            nonlocal seen
            seen = progress.counts.records  # type: ignore[attr-defined]  # a TaskProgress, imported with the work

        with timed():
            result = run_task(job, stop=done, report=watch, clock=clock)
        assert aws.depth(queue) == (0, 0), aws.depth(queue)
    return result.counts.documents


def options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--messages", type=int, default=3_000, help="how many messages there are")


if __name__ == "__main__":
    main(
        __file__,
        Comparison(
            "Messages of a queue, from an emulator",
            {"bare boto3 loop": bare, "datalake": ours},
            options,
            by="inner_wall",
            rows=lambda arguments: arguments.messages,
        ),
    )
