"""An SQS of our own over HTTP: exact where emulators are not, scriptable, with a clock that tests turn.

It speaks the JSON protocol of the service, so that the product reaches it through the real client library. What it
promises is what AWS documents: a message that was taken comes again when its time is over; of a FIFO group nobody gets
anything while one of its messages is taken; a message that was taken too often goes to the dead-letter queue. An empty
receive does not wait, it turns the clock a little.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from datalake_service.aws.clients import AwsClients
from tests.support.loopback import QuietHandler, running, server_of

_EPOCH = 1_795_179_600.0  # 2026-11-20 13:00 UTC


@dataclass
class Stored:
    """One message of a queue."""

    id: str
    body: str
    sent_at: float
    group: str | None = None
    deduplication: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    visible_at: float = 0.0
    receives: int = 0
    receipt: str = ""


@dataclass
class StoredQueue:
    """A queue, the oldest message first."""

    name: str
    visibility: int = 30
    most_receives: int | None = None
    """After so many a message goes to ``dead``."""
    messages: list[Stored] = field(default_factory=list)
    dead: list[Stored] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    """Bodies, in the order of their deletion."""


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, *, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class Sqs:
    """The queues, and what is to go wrong. Thread-safe."""

    def __init__(self) -> None:
        self.endpoint_url = ""
        self._lock = threading.RLock()
        self._clients: AwsClients | None = None
        self.reset()

    def reset(self) -> None:
        """Forget everything: for the next test."""
        self.now = _EPOCH
        self.queues: dict[str, StoredQueue] = {}
        self.requests: list[str] = []
        """The operations that were asked for, in order."""
        self.fault: Callable[[str, int], RefusedError | None] = lambda _operation, _number: None
        """Says how a request goes wrong, by its operation and its number from 1."""
        self.empty_seconds = 0.1
        """So much time passes in an empty receive."""
        self._numbers = 0

    def clients(self) -> AwsClients:
        """The product's clients: always the same, because it takes long to make one."""
        if self._clients is None:
            self._clients = AwsClients(
                region="eu-west-1",
                endpoint_url=self.endpoint_url,
                access_key="test-access-key",
                secret_key="test-secret-key",
            )
        return self._clients

    def make_queue(self, name: str = "orders", **settings: Any) -> StoredQueue:
        """Make a queue."""
        self.queues[name] = StoredQueue(name, **settings)
        return self.queues[name]

    def send(self, queue: str, *bodies: str, group: str | None = None, **attributes: Any) -> list[str]:
        """Send messages; returns their ids."""
        with self._lock:
            return [self._send(queue, body, group, attributes) for body in bodies]

    def _send(self, queue: str, body: str, group: str | None, attributes: dict[str, Any]) -> str:
        self._numbers += 1
        message = f"00000000-0000-0000-0000-{self._numbers:012d}"
        stored = Stored(message, body, self.now, group, f"d{self._numbers}" if group else None, attributes)
        self.queues[queue].messages.append(stored)
        return message

    def answer(self, operation: str, data: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for."""
        with self._lock:
            self.requests.append(operation)
            if (fault := self.fault(operation, len(self.requests))) is not None:
                raise fault
            name = str(data.get("QueueName") or data["QueueUrl"].rpartition("/")[2])
            if name not in self.queues:
                raise RefusedError("com.amazonaws.sqs#QueueDoesNotExist")
            method: Callable[[StoredQueue, dict[str, Any]], dict[str, Any]] = getattr(self, f"_on_{operation}")
            return method(self.queues[name], data)

    def _on_GetQueueUrl(self, queue: StoredQueue, _: dict[str, Any]) -> dict[str, Any]:
        return {"QueueUrl": f"{self.endpoint_url}/123456789012/{queue.name}"}

    def _on_GetQueueAttributes(self, queue: StoredQueue, _: dict[str, Any]) -> dict[str, Any]:
        taken = sum(message.visible_at > self.now for message in queue.messages)
        return {
            "Attributes": {
                "VisibilityTimeout": str(queue.visibility),
                "ApproximateNumberOfMessages": str(len(queue.messages) - taken),
                "ApproximateNumberOfMessagesNotVisible": str(taken),
            }
        }

    def _on_ReceiveMessage(self, queue: StoredQueue, data: dict[str, Any]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        blocked = {message.group for message in queue.messages if message.group and message.visible_at > self.now}
        for stored in list(queue.messages):
            if len(found) == data["MaxNumberOfMessages"]:
                break
            if stored.visible_at > self.now or stored.group in blocked:
                continue
            stored.receives += 1
            if queue.most_receives is not None and stored.receives > queue.most_receives:
                queue.messages.remove(stored)
                queue.dead.append(stored)
                continue
            self._numbers += 1
            stored.receipt = f"{stored.id}/{self._numbers}"
            stored.visible_at = self.now + data["VisibilityTimeout"]
            found.append(_told(stored))
        if not found:
            self.now += self.empty_seconds
        return {"Messages": found} if found else {}

    def _on_DeleteMessageBatch(self, queue: StoredQueue, data: dict[str, Any]) -> dict[str, Any]:
        return self._each(queue, data, lambda stored, _: self._delete(queue, stored))

    def _on_ChangeMessageVisibilityBatch(self, queue: StoredQueue, data: dict[str, Any]) -> dict[str, Any]:
        def change(stored: Stored, entry: dict[str, Any]) -> None:
            stored.visible_at = self.now + entry["VisibilityTimeout"]

        return self._each(queue, data, change)

    def _delete(self, queue: StoredQueue, stored: Stored) -> None:
        queue.messages.remove(stored)
        queue.deleted.append(stored.body)

    def _each(
        self, queue: StoredQueue, data: dict[str, Any], act: Callable[[Stored, dict[str, Any]], None]
    ) -> dict[str, Any]:
        assert 1 <= len(data["Entries"]) <= 10
        done, failed = [], []
        for entry in data["Entries"]:
            taken = [stored for stored in queue.messages if stored.receipt == entry["ReceiptHandle"]]
            if taken and taken[0].visible_at > self.now:
                act(taken[0], entry)
                done.append({"Id": entry["Id"]})
            else:
                failed.append({"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": True})
        return {"Successful": done, "Failed": failed}


def _told(stored: Stored) -> dict[str, Any]:
    system = {"SentTimestamp": str(int(stored.sent_at * 1000)), "ApproximateReceiveCount": str(stored.receives)}
    if stored.group is not None:
        system |= {"MessageGroupId": stored.group, "MessageDeduplicationId": str(stored.deduplication)}
    return {
        "MessageId": stored.id,
        "ReceiptHandle": stored.receipt,
        "Body": stored.body,
        "Attributes": system,
        "MessageAttributes": stored.attributes,
    }


@contextmanager
def sqs_server() -> Iterator[Sqs]:
    """Run it on 127.0.0.1, in threads of this process."""
    sqs = Sqs()

    class Handler(QuietHandler):
        disable_nagle_algorithm = True
        wbufsize = -1  # an answer is one packet

        def do_POST(self) -> None:
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = 200, {}
            try:
                answer = sqs.answer(self.headers["X-Amz-Target"].rpartition(".")[2], data)
            except RefusedError as error:
                status, answer = error.status, {"__type": error.code, "message": "as the test wants it"}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with running(server_of(Handler), "sqs-server") as sqs.endpoint_url:
        yield sqs
