"""Real worker processes that are killed while they write to a queue."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.pipeline.jobs.outputs import FileKind, FilesOutput, QueueOutput
from datalake_service.storage import FolderStore
from tests.support.aws import Aws
from tests.support.tasks import generator_job, run_jobs, state_of, write_module

DYING = """
class Rows(Generator):
    def __init__(self, marker):
        self.marker = Path(marker)

    def generate(self):
        for number in range(100):
            if number in (30, 70):
                deaths = len(self.marker.read_text()) if self.marker.exists() else 0
                if deaths < (1 if number == 30 else 2):
                    time.sleep(0.5)  # what is on its way arrives
                    self.marker.write_text("x" * (deaths + 1))
                    os.kill(os.getpid(), signal.SIGKILL)
            yield Document({"n": number}, partition_key=f"g{number % 10}")
"""


def bodies(aws: Aws, queue: str) -> list[dict[str, Any]]:
    """Everything that a queue holds, repetitions included."""
    client, url, found = aws.client("sqs"), aws.queue_url(queue), []
    while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            found.append(json.loads(message["Body"]))
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


@pytest.mark.parametrize("fifo", ["true", "false"])
def test_a_queue_gets_everything_although_workers_are_killed(aws: Aws, tmp_path: Path, fifo: str) -> None:
    """A standard queue at least once; a FIFO queue once, because the same record has the same deduplication id."""
    queue = aws.make_queue(fifo=fifo)
    store = FolderStore(tmp_path / "lake", durable=False)
    folder, marker = write_module(tmp_path / "code", DYING), tmp_path / "deaths"
    job = generator_job(store, folder, parameters={"marker": str(marker)})
    output = QueueOutput(clients=aws.clients(), queue=queue)
    results = run_jobs([replace(job, output=output)])
    assert results["t1"].status is TaskStatus.COMPLETED
    assert marker.read_text(encoding="utf-8") == "xx"
    found = [body["n"] for body in bodies(aws, queue)]
    assert set(found) == set(range(100))
    assert state_of(store).counts.documents == 100
    if fifo == "true":
        assert len(found) == 100
        assert all([n for n in found if n % 10 == group] == list(range(group, 100, 10)) for group in range(10))
    else:
        assert len(found) > 100  # the deaths did happen after something was sent


def test_files_hold_each_row_once_although_workers_are_killed(tmp_path: Path) -> None:
    """What a worker wrote before it died is replaced."""
    store, out = FolderStore(tmp_path / "lake", durable=False), FolderStore(tmp_path / "out", durable=False)
    folder, marker = write_module(tmp_path / "code", DYING), tmp_path / "deaths"
    job = generator_job(store, folder, parameters={"marker": str(marker)})
    output = FilesOutput(store=out, kind=FileKind.JSONL, rows_per_file=7)
    assert run_jobs([replace(job, output=output)])["t1"].status is TaskStatus.COMPLETED
    assert marker.read_text(encoding="utf-8") == "xx"
    rows = [json.loads(line)["n"] for meta in out.list("d/") for line in out.get(meta.key)[0].splitlines()]
    assert rows == list(range(100))
