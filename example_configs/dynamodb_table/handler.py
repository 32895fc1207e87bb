"""Items of a table of books."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalake_interfaces import Document, DynamoDBTableItemReader, ErrorDoc, SkipDoc


class BookReader(DynamoDBTableItemReader):
    """One document for each book that is not withdrawn."""

    def parse_dynamo_db_item(
        self, table_name: str, segment_number: int, keys: Mapping[str, Any], item: Mapping[str, Any]
    ) -> Document | ErrorDoc | SkipDoc:
        """Make a document of an item. Numbers come exactly, ``Decimal`` where they are not whole; sets are sets."""
        if item.get("withdrawn"):
            return SkipDoc(skip_message="withdrawn")
        if "title" not in item:
            return ErrorDoc(error_message="a book without a title")
        return Document(
            {
                "title": item["title"],
                "author": item["author"],
                "century": None if item.get("year") is None else (item["year"] - 1) // 100 + 1,
                "subjects": item["subjects"],
                "price": item["price"],
            },
            document_id=keys["isbn"],
            record_type="book",
        )
