"""AWS for tests: an emulator on 127.0.0.1, started by whoever needs it, and clients beside those of the product."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from datalake_service.aws.clients import AwsClients
from datalake_service.runtime.dev_aws import dev_aws
from datalake_utils.ids import random_hex

ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key-that-must-never-be-shown"
REGION = "eu-west-1"
_START_SECONDS = 60.0
_numbers = itertools.count(1)
_run = random_hex(6)


@dataclass(frozen=True)
class Aws:
    """Where the emulator is, and the side door to what it holds."""

    endpoint_url: str
    models_url: str = ""
    """Of the stand-in for SageMaker's endpoints; empty with an emulator that somebody else started."""
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the product needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def clients(self, **options: Any) -> AwsClients:
        """The product's clients."""
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        return AwsClients(**{"region": REGION, "endpoint_url": self.endpoint_url, **keys, **options})

    def client(self, service: str) -> Any:
        """A plain client, for looking without the code under test."""
        if service not in self._clients:
            session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
            config = Config(retries={"total_max_attempts": 1})
            self._clients[service] = session.client(service, endpoint_url=self.endpoint_url, config=config)
        return self._clients[service]

    def make_queue(self, name: str = "", **attributes: str) -> str:
        """Make a queue; returns its name. ``fifo="true"`` makes a FIFO queue of it."""
        fifo = attributes.pop("fifo", "") == "true"
        name = name or fresh_name() + (".fifo" if fifo else "")
        if fifo:
            attributes["FifoQueue"] = "true"
        self.client("sqs").create_queue(QueueName=name, Attributes=attributes)
        return name

    def queue_url(self, name: str) -> str:
        """The address of a queue."""
        return str(self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])

    def send(self, queue: str, bodies: list[str], **entry: Any) -> list[str]:
        """Send messages in order; returns their ids."""
        url, ids = self.queue_url(queue), []
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(n), "MessageBody": body, **entry} for n, body in enumerate(bodies[start : start + 10])
            ]
            answer = self.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
            assert not answer.get("Failed"), answer["Failed"]
            found = {sent["Id"]: sent["MessageId"] for sent in answer["Successful"]}
            ids += [found[str(n)] for n in range(len(entries))]
        return ids

    def depth(self, queue: str) -> tuple[int, int]:
        """How many messages wait in a queue, and how many are taken."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=self.queue_url(queue), AttributeNames=names)
        waiting, taken = (int(answer["Attributes"][name]) for name in names)
        return waiting, taken


def fresh_name() -> str:
    """A name that nothing has yet."""
    return f"t-{_run}-{next(_numbers)}"


@contextmanager
def ministack(folder: Path) -> Iterator[Aws]:
    """Run ministack, with its files in ``folder``; or use the emulator that ``TEST_AWS_ENDPOINT`` names."""
    if endpoint := os.environ.get("TEST_AWS_ENDPOINT"):
        yield Aws(endpoint)
        return
    with dev_aws(0, folder=folder) as emulator:
        yield Aws(emulator.endpoint_url, emulator.models_url)
