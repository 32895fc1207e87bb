"""Handlers for DynamoDB tables: what document an item becomes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult


class DynamoDBTableItemReader(ABC):
    """Turns the items of a DynamoDB table into documents.

    Guarantees:
        The class is constructed once for each task (a segment of the scan) as ``Class(**parameters)``, with the
        ``parameters`` of the dataset file; then ``open``, any number of ``parse_dynamo_db_item`` and ``close``, all
        by one thread.

        The method runs **at least once** for each item that is in the table from the beginning of a scan to its end, in
        no order; its row is published **exactly once**. An item that is written, changed or deleted during the scan may
        be seen as it was before or after. A task that was killed resumes behind the last page that was stored.

        Keys and items are plain Python values: ``str``, ``bytes``, ``bool``, ``None``, ``list``, ``dict``, sets as
        ``set``, and numbers exactly as they are stored: ``int`` if they are whole, else ``decimal.Decimal``.

        A handler that raises, or answers ``ErrorDoc``, makes a rejection that keeps the item and its keys; the dataset
        file's ``onError`` decides whether the task goes on.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def parse_dynamo_db_item(
        self, table_name: str, segment_number: int, keys: Mapping[str, Any], item: Mapping[str, Any]
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document of one item.

        Args:
            table_name: The table.
            segment_number: The segment of the scan, from 0.
            keys: The primary key of the item.
            item: The item, keys included.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
