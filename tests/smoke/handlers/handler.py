"""Handlers of the smoke test, one for each interface, found by their names alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datalake_interfaces as interfaces
from datalake_interfaces import Document, ErrorDoc, RecordHintType, RecordParseHint


class SingleFileParser(interfaces.SingleFileParser):
    """Lines."""

    def get_s3_file_type(self) -> str:
        """One kind of file."""
        return "LOG"

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """Where the last one ended."""
        return RecordParseHint(RecordHintType.OFFSET, offset=0)

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """The end of the line."""
        return RecordParseHint(RecordHintType.PATTERN, "\n")

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document | ErrorDoc:
        """The line; an empty one is an error."""
        line = byte_arr[start_index:end_index].decode().strip()
        if not line:
            return ErrorDoc(error_message="an empty line", error_start_offset_map={s3_file_type: str(offset_bytes)})
        return Document({"line": line}, document_id=f"{s3_filename}@{offset_bytes}")


class QueueMessageReader(interfaces.QueueMessageReader):
    """The message's text."""

    def parse_message(self, *arguments: Any) -> Document:
        """Its id and body."""
        return Document({"body": arguments[-1]}, document_id=arguments[0])


class KinesisRecordReader(interfaces.KinesisRecordReader):
    """The record's bytes."""

    def parse_message(self, *arguments: Any) -> Document:
        """As they are."""
        return Document({"data": arguments[-1]}, document_id=arguments[3])


class DynamoDBStreamsRecordReader(interfaces.DynamoDBStreamsRecordReader):
    """What changed."""

    def parse_record(self, *arguments: Any) -> Document:
        """The kind of change and the new item."""
        return Document({"change": arguments[3], "new": arguments[-1]})


class DynamoDBTableItemReader(interfaces.DynamoDBTableItemReader):
    """The item."""

    def parse_dynamo_db_item(self, table_name: str, segment_number: int, keys: Any, item: Any) -> Document:
        """As it is."""
        return Document(dict(item))


class SagemakerVectorsInterface(interfaces.SagemakerVectorsInterface):
    """One text, one vector."""

    def extract_document_elements_for_vectorization(self, document: Mapping[str, Any]) -> dict[str, str]:
        """The text."""
        return {"text": document["text"]}

    def construct_vector_doc(self, document: Mapping[str, Any], vectors_map: Mapping[str, Sequence[float]]) -> Document:
        """How long the vector is."""
        return Document({"text": document["text"], "size": len(vectors_map["text"])})
