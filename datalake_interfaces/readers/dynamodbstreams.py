"""Handlers for DynamoDB Streams: what document a change of a table becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult


class DynamoDBStreamsRecordReader(ABC):
    """Turns the changes of a DynamoDB table into documents.

    Guarantees:
        The class is constructed once for each task (a shard) as ``Class(**parameters)``, with the ``parameters`` of the
        dataset file; then ``open``, any number of ``parse_record`` and ``close``, all by one thread.

        ``parse_record`` runs **at least once** for each change, changes of one item in their order; its row is
        published **exactly once**. A task that was killed resumes behind the last change that was stored, with a new
        handler: keep nothing in ``self`` that the next one depends on. Keep the time of processing out of the row.

        Keys and images are plain Python values: ``str``, ``bytes``, ``bool``, ``None``, ``list``, ``dict``, sets as
        ``set``, and numbers exactly as they are stored: ``int`` if they are whole, else ``decimal.Decimal``.

        A handler that raises, or answers ``ErrorDoc``, makes a rejection that keeps the change and the sequence number;
        the dataset file's ``onError`` decides whether the task goes on.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def parse_record(  # noqa: PLR0913, PLR0917 - what the original passes
        self,
        stream_arn: str,
        shard_id: str,
        event_id: str,
        event_name: str,
        identity_principal_id: str | None,
        identity_type: str | None,
        sequence_number: str,
        size_bytes: int,
        stream_view_type: str,
        approximate_creation_date_time: int,
        keys: Mapping[str, Any],
        old_image: Mapping[str, Any] | None,
        new_image: Mapping[str, Any] | None,
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document of one change.

        Args:
            stream_arn: The stream.
            shard_id: The shard.
            event_id: What DynamoDB named the change.
            event_name: ``INSERT``, ``MODIFY`` or ``REMOVE``.
            identity_principal_id: ``dynamodb.amazonaws.com`` if the item ran out of its time to live.
            identity_type: ``Service`` in that case.
            sequence_number: The change's place in the shard. Text: it is larger than JSON numbers can hold.
            size_bytes: Of keys and images.
            stream_view_type: ``KEYS_ONLY``, ``NEW_IMAGE``, ``OLD_IMAGE`` or ``NEW_AND_OLD_IMAGES``.
            approximate_creation_date_time: When the change was made, in seconds since 1970.
            keys: The primary key of the item.
            old_image: The item before; ``None`` if there was none, or the view does not hold it.
            new_image: The item after; ``None`` if there is none, or the view does not hold it.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
