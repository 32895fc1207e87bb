"""Handlers for queues: what document a message becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult


class QueueMessageReader(ABC):
    """Turns the messages of an SQS queue into documents.

    Guarantees:
        The class is constructed once for each task as ``Class(**parameters)``, with the ``parameters`` of the dataset
        file; then ``open``, any number of ``parse_message`` and ``close``, all by one thread. Several tasks read one
        queue at the same time, each with a handler of its own.

        ``parse_message`` runs **at least once** for each message; its row is published **exactly once**. A message that
        is delivered twice has the same ``message_id``, and the row's id is derived from it unless you give one: then
        derive yours from the message, too. Keep the time of processing out of the row, or the two rows differ.

        A message is deleted only after its row, or its rejection, is durable. It stays invisible to others meanwhile,
        however long you take.

        The messages of a FIFO queue come in the order of their group. Those of a standard queue come in any order.

        A handler that raises, or answers ``ErrorDoc``, makes a rejection that keeps the message's body; under
        ``onError.policy`` ``continue`` the message is then deleted, under ``fail`` it stays on the queue, where a
        dead-letter queue may take it.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def parse_message(
        self,
        message_id: str,
        message_group_id: str | None,
        message_deduplication_id: str | None,
        message_attributes: Mapping[str, str | bytes],
        message_body: str,
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document of one message.

        Args:
            message_id: What SQS named it; the same however often it is delivered.
            message_group_id: Its group, if it has one (FIFO queues).
            message_deduplication_id: What tells it from others of the last minutes (FIFO queues).
            message_attributes: What the sender put beside the body: text (numbers as they were written), or bytes.
            message_body: The body.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
