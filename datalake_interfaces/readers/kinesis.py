"""Handlers for Kinesis streams: what document a record becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult


class KinesisRecordReader(ABC):
    """Turns the records of a Kinesis stream into documents.

    Guarantees:
        The class is constructed once for each task (a shard) as ``Class(**parameters)``, with the ``parameters`` of the
        dataset file; then ``open``, any number of ``parse_message`` and ``close``, all by one thread.

        ``parse_message`` runs **at least once** for each record, in the order of the shard; its row is published
        **exactly once**. A shard that comes from a split or a merge is read after its parents.

        A task that was killed resumes behind the last record that was stored, with a new handler: keep nothing in
        ``self`` that the next record depends on. Keep the time of processing out of the row.

        A handler that raises, or answers ``ErrorDoc``, makes a rejection that keeps the data and the sequence number;
        the dataset file's ``onError`` decides whether the task goes on.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def parse_message(
        self,
        stream_arn: str,
        shard_id: str,
        partition_key: str,
        sequence_number: str,
        approximate_arrival_timestamp: int,
        data: bytes,
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document of one record.

        Args:
            stream_arn: The stream.
            shard_id: The shard.
            partition_key: The record's.
            sequence_number: Its place in the shard. Text: it is larger than JSON numbers can hold.
            approximate_arrival_timestamp: When the stream took it, in milliseconds since 1970.
            data: What the record holds. Data that is gzip, as this framework's writers make it, is decompressed.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
