"""One SQS queue: receive, keep, delete. Knows nothing of handlers, rows or checkpoints.

Guarantee: nothing is deleted that ``delete`` was not called for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.service import AwsService
from datalake_service.errors import AccessDeniedError
from datalake_utils.clock import Clock
from datalake_utils.ids import random_hex

BATCH: Final = 10
"""Messages of one request: SQS's limit."""
LEAST_VISIBILITY: Final = 30
"""Seconds for which a message is taken at least: the extension has to come in time on a busy machine."""
_ATTEMPT_DIGITS: Final = 32
_AT_A_TIME: Final = 4
"""Requests that delete or extend, on threads of their own."""
_Entry = tuple[str, Mapping[str, object]]
"""A message, and what is said of it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery of one message."""

    id: str
    """The same for every delivery of the message."""
    receipt: str
    """Names this delivery: to delete it, or to keep it longer."""
    body: str
    attributes: Mapping[str, str | bytes]
    """What the sender put beside the body."""
    group: str | None
    deduplication: str | None
    sent_at: float | None
    """When it was sent, in seconds since 1970; ``None``: the server does not say."""


class Queue:
    """A queue that exists. Thread-safe."""

    def __init__(self, service: AwsService, name: str, url: str, visibility: int) -> None:
        """Use ``open_queue``."""
        self._service = service
        self.name = name
        self.url = url
        self.visibility = visibility
        """Seconds for which a message is taken, unless that is extended."""
        self.is_fifo = name.endswith(".fifo")

    def receive(self, *, wait: int, most: int = BATCH) -> list[Message]:
        """Take up to ``most`` messages; waits up to ``wait`` seconds for the first one.

        Raises:
            StoreUnavailableError: SQS does not answer, or asks to slow down.
            StoreError: It never will.
        """
        once: dict[str, object] = {}
        if self.is_fifo:  # a receive whose answer was lost is answered again, instead of blocking its groups
            once["ReceiveRequestAttemptId"] = random_hex(_ATTEMPT_DIGITS)
        answer = self._service.call(
            "receive_message",
            action="sqs:ReceiveMessage",
            QueueUrl=self.url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            VisibilityTimeout=self.visibility,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp", "MessageGroupId", "MessageDeduplicationId"],
            **once,  # type: ignore[arg-type]  # never the name of another parameter
        )
        return [_message(found) for found in answer.get("Messages", ())]

    def in_flight(self) -> int:
        """How many messages somebody has taken and not deleted, about; 0 if that may not be asked.

        Raises:
            StoreUnavailableError: SQS does not answer, or asks to slow down.
            StoreError: It never will.
        """
        name = "ApproximateNumberOfMessagesNotVisible"
        return int(_attributes(self._service, self.url, name).get(name, 0))

    def delete(self, messages: Mapping[str, str]) -> list[str]:
        """Delete messages, given as receipts by id; returns the ids of those that SQS refused to delete.

        A receipt that is not valid any more is no refusal: the message comes again, or is gone.

        Raises:
            StoreError: As for ``receive``; some are deleted and some are not.
        """
        return self._for_each(
            "delete_message_batch",
            "sqs:DeleteMessage",
            [(message, {"ReceiptHandle": receipt}) for message, receipt in messages.items()],
        )

    def extend(self, messages: Mapping[str, str], *, seconds: int) -> list[str]:
        """Keep messages from others for so long from now; 0: let others have them. Otherwise like ``delete``."""
        return self._for_each(
            "change_message_visibility_batch",
            "sqs:ChangeMessageVisibility",
            [
                (message, {"ReceiptHandle": receipt, "VisibilityTimeout": seconds})
                for message, receipt in messages.items()
            ],
        )

    def _for_each(self, operation: str, action: str, entries: Sequence[_Entry]) -> list[str]:
        """Send requests of ten entries each, several at a time; returns the ids of what was refused."""
        batches = [entries[start : start + BATCH] for start in range(0, len(entries), BATCH)]
        if len(batches) <= 1:
            return self._send_each(operation, action, entries) if entries else []
        with ThreadPoolExecutor(min(len(batches), _AT_A_TIME), thread_name_prefix="queue") as pool:
            refused = pool.map(lambda batch: self._send_each(operation, action, batch), batches)
            return [message for found in refused for message in found]

    def _send_each(self, operation: str, action: str, batch: Sequence[_Entry]) -> list[str]:
        named = {str(number): message for number, (message, _) in enumerate(batch)}
        answer = self._service.call(
            operation,
            action=action,
            QueueUrl=self.url,
            Entries=[{"Id": str(number)} | dict(entry) for number, (_, entry) in enumerate(batch)],
        )
        return [named[failure["Id"]] for failure in _serious(answer.get("Failed", ()))]


def open_queue(clients: AwsClients, name: str, *, clock: Clock) -> Queue:
    """Find a queue by its name.

    Raises:
        ObjectNotFoundError: There is no such queue.
        StoreError: It cannot be asked for.
    """
    service = AwsService(clients, "sqs", name=f"the queue {name!r}", setting="readConnector.queueName", clock=clock)
    url = str(service.call("get_queue_url", action="sqs:GetQueueUrl", QueueName=name)["QueueUrl"])
    found = _attributes(service, url, "VisibilityTimeout")
    return Queue(service, name, url, max(LEAST_VISIBILITY, int(found.get("VisibilityTimeout", 0))))


def _attributes(service: AwsService, url: str, *names: str) -> Mapping[str, str]:
    """Attributes of a queue; none if they may not be asked for, which a reader need not be allowed to."""
    try:
        answer = service.call(
            "get_queue_attributes", action="sqs:GetQueueAttributes", QueueUrl=url, AttributeNames=list(names)
        )
    except AccessDeniedError:
        return {}
    found: Mapping[str, str] = answer.get("Attributes", {})
    return found


def _message(found: Mapping[str, Any]) -> Message:
    system = found.get("Attributes", {})
    sent = system.get("SentTimestamp")
    return Message(
        found["MessageId"],
        found["ReceiptHandle"],
        found.get("Body", ""),
        {name: _value(value) for name, value in found.get("MessageAttributes", {}).items()},
        system.get("MessageGroupId"),
        system.get("MessageDeduplicationId"),
        None if sent is None else int(sent) / 1000,
    )


def _value(attribute: Mapping[str, Any]) -> str | bytes:
    value: str | bytes = attribute["BinaryValue"] if "BinaryValue" in attribute else attribute.get("StringValue", "")
    return value


def _serious(failures: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Failures that are not about a delivery that was over already."""
    over = ("ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight")
    return [failure for failure in failures if not str(failure.get("Code", "")).rpartition(".")[2].startswith(over)]
