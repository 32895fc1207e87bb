"""Orders that arrive as messages of a queue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal

from datalake_interfaces import Document, QueueMessageReader, SkipDoc


class OrderReader(QueueMessageReader):
    """One document for each order that was paid; a message that is no order becomes a rejection."""

    def parse_message(
        self,
        message_id: str,
        message_group_id: str | None,
        message_deduplication_id: str | None,
        message_attributes: Mapping[str, str | bytes],
        message_body: str,
    ) -> Document | SkipDoc:
        """Make a document of a message. What is raised here is kept with the message, and the next one is read."""
        order = json.loads(message_body, parse_float=Decimal)
        if not order["paid"]:
            return SkipDoc(skip_message="not paid yet")
        total = sum((item["price"] * item["pieces"] for item in order["items"]), Decimal())
        return Document(
            {"customer": order["customer"], "total": f"{total:.2f}", "items": len(order["items"])},
            document_id=order["order"],
            record_type="order",
            partition_key=order["customer"],
            document_metadata={"messageId": message_id},
        )
