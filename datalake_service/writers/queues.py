"""Messages of a queue (SQS): one JSON object each, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from datalake_service.aws.service import AwsService
from datalake_service.errors import AccessDeniedError, RowError, StoreError
from datalake_service.writers.content import MESSAGE_CODES, raise_content
from datalake_service.writers.delivery import ACCEPTED, Again, Answer, Limits, Parcel, Refused
from datalake_service.writers.keys import shortened_ascii
from datalake_service.writers.outgoing import Outgoing
from datalake_service.writers.records import RecordText

MOST_MESSAGES: Final = 10
MOST_BYTES: Final = 1 << 20
"""Of a message, and of all messages of a request together."""
LONGEST_ID: Final = 128
"""Characters of a group id or a deduplication id."""
FIFO: Final = ".fifo"
"""How the names of FIFO queues end."""
_ID_BYTES: Final = 32
_ESCAPES: Final = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})
"""The characters that JSON has as they are and SQS refuses; inside JSON text they can only be in strings."""
_TRANSIENT: Final = ("throttl", "unavailable", "internal", "timeout", "overlimit")


class QueueWriter:
    """Sends records to one queue; see ``Writer``."""

    def __init__(self, service: AwsService, queue: str, text: RecordText, *, group: str, id_key: str | None) -> None:
        """Send to ``queue``.

        Args:
            service: SQS.
            queue: Its name.
            text: How records become bodies.
            group: The group of records without a partition key, in a FIFO queue.
            id_key: The key of a record that is its deduplication id, in a FIFO queue.
        """
        self._service = service
        self._queue = queue
        self._text = text
        self._group = group
        self._id_key = id_key
        self._fifo = queue.endswith(FIFO)
        self._url = ""
        self._most_bytes = MOST_BYTES
        self.limits = Limits(MOST_MESSAGES, MOST_BYTES)

    def open(self) -> None:
        """Ask for the queue's address and for the largest message that it takes."""
        answer = self._service.call("get_queue_url", action="sqs:GetQueueUrl", QueueName=self._queue)
        self._url = answer["QueueUrl"]
        try:
            attributes = self._service.call(
                "get_queue_attributes",
                action="sqs:GetQueueAttributes",
                QueueUrl=self._url,
                AttributeNames=["MaximumMessageSize"],
            ).get("Attributes", {})
        except AccessDeniedError:  # sending does not need it; the queue itself refuses what is too large
            return
        self._most_bytes = min(MOST_BYTES, int(attributes.get("MaximumMessageSize", MOST_BYTES)))

    def pack(self, outgoing: Outgoing) -> Parcel:
        """Pack a record as the entry of a batch; its number in the batch is put in when it is sent."""
        body = self._text.encode(outgoing.record)
        entry: dict[str, Any] = {"MessageBody": _body(body)}
        size = len(body) if len(body) == len(entry["MessageBody"]) else len(entry["MessageBody"].encode())
        if size > self._most_bytes:
            raise RowError(f"a message of {size} bytes; the queue {self._queue!r} takes {self._most_bytes}")
        if not self._fifo:
            return Parcel(entry, size, tag=outgoing.tag)
        group = shortened_ascii(outgoing.text("partitionKey") or self._group, limit=LONGEST_ID)
        entry["MessageGroupId"] = group
        entry["MessageDeduplicationId"] = self._deduplication_id(outgoing, body)
        return Parcel(entry, size, lane=group, tag=outgoing.tag)

    def send(self, parcels: Sequence[Parcel]) -> Sequence[Answer]:
        """Send one batch."""
        entries = [{"Id": str(number), **parcel.content} for number, parcel in enumerate(parcels)]
        try:
            answer = self._service.call_once(
                "send_message_batch", action="sqs:SendMessage", QueueUrl=self._url, Entries=entries
            )
        except StoreError as error:
            raise_content(error, MESSAGE_CODES)
            raise
        answers: list[Answer] = [Again(f"the queue {self._queue!r} did not answer for a message")] * len(parcels)
        for entry in answer.get("Successful", ()):
            answers[int(entry["Id"])] = ACCEPTED
        for entry in answer.get("Failed", ()):
            answers[int(entry["Id"])] = self._failed(entry)
        return answers

    def _failed(self, entry: dict[str, Any]) -> Answer:
        code, text = str(entry.get("Code", "")), " ".join(str(entry.get("Message") or "").split())
        reason = f"the queue {self._queue!r} refused a message with {code}: {text}".removesuffix(": ")
        if entry.get("SenderFault") and not any(word in code.lower() for word in _TRANSIENT):
            return Refused(reason)
        return Again(reason)

    def _deduplication_id(self, outgoing: Outgoing, body: bytes) -> str:
        """The record's own id if there is a setting for it; else one that only an equal record can have."""
        own = outgoing.text(self._id_key) if self._id_key is not None else None
        if own is not None:
            return shortened_ascii(own, limit=LONGEST_ID)
        digest = blake2b(outgoing.id.encode("utf-8", "surrogatepass") + b"\0", digest_size=_ID_BYTES)
        digest.update(body)
        return digest.hexdigest()


def _body(text: bytes) -> str:
    body = text.decode("utf-8")
    return body.translate(_ESCAPES) if b"\xef\xbf\xbe" in text or b"\xef\xbf\xbf" in text else body
