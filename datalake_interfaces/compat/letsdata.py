"""The names that handlers written for #Let's Data import: change their import lines to this module, and nothing else.

    from datalake_interfaces.compat.letsdata import Document, ErrorDoc, ParseDocumentResult, ParseDocumentResultStatus

Values have the original's positional constructors, camelCase attributes and accessors. Classes need no base class; the
ones here are empty, for handlers that name one. How such classes are recognised and called: ``adapters.py``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from datalake_interfaces.model import ParseDocumentResultStatus, RecordHintType

__all__ = [
    "Document",
    "DocumentType",
    "DynamoDBStreamsRecordReader",
    "DynamoDBTableItemReader",
    "ErrorDoc",
    "KinesisRecordReader",
    "ParseDocumentResult",
    "ParseDocumentResultStatus",
    "QueueMessageReader",
    "RecordHintType",
    "RecordParseHint",
    "SagemakerVectorsInterface",
    "SingleFileParser",
    "SkipDoc",
    "SparkMapperInterface",
    "SparkReducerInterface",
    "logger",
]

logger: Final = logging.getLogger("datalake.handler")
"""Where handlers log; the dataset file's ``logLevel`` decides what is kept."""


class DocumentType(StrEnum):
    """The kind of a document. Plain strings compare equal."""

    Document = "Document"
    ErrorDoc = "ErrorDoc"
    SkipDoc = "SkipDoc"


class Document:
    """One document. The written record has its fields, overlaid by the key-value map."""

    def __init__(
        self,
        documentType: Any,
        documentId: Any,
        recordType: Any,
        partitionKey: Any,
        documentMetadata: Any,
        documentKeyValuesMap: Any,
    ) -> None:
        """Keep everything as it is given."""
        self.documentType = documentType
        self.documentId = documentId
        self.recordType = recordType
        self.partitionKey = partitionKey
        self.documentMetadata = documentMetadata
        self.documentKeyValuesMap = documentKeyValuesMap

    def getDocumentType(self) -> Any:
        """Return the kind."""
        return self.documentType

    def getDocumentId(self) -> Any:
        """Return the id."""
        return self.documentId

    def getRecordType(self) -> Any:
        """Return the kind of record."""
        return self.recordType

    def getPartitionKey(self) -> Any:
        """Return the partition key."""
        return self.partitionKey

    def getDocumentMetadata(self) -> Any:
        """Return the metadata."""
        return self.documentMetadata

    def getDocumentKeyValuesMap(self) -> Any:
        """Return the key-value map."""
        return self.documentKeyValuesMap

    def serialize(self) -> str:
        """Return the record as it would be written, as JSON."""
        own = {
            "documentId": self.documentId,
            "recordType": self.recordType,
            "partitionKey": self.partitionKey,
            "documentMetadata": self.documentMetadata,
        }
        values = self.documentKeyValuesMap if isinstance(self.documentKeyValuesMap, Mapping) else {}
        return json.dumps(own | dict(values), default=str)


class _OffsetDocument(Document):
    """What error and skip documents have in common."""

    def __init__(
        self,
        documentType: DocumentType,
        fields: tuple[Any, Any, Any, Any, Any],
        offsets: tuple[Any, Any],
    ) -> None:
        super().__init__(documentType, *fields)
        self.errorStartoffsetMap, self.errorEndoffsetMap = offsets

    def getErrorStartOffsetMap(self) -> Any:
        """Return where the record starts."""
        return self.errorStartoffsetMap

    def getErrorEndOffsetMap(self) -> Any:
        """Return where the record ends."""
        return self.errorEndoffsetMap


class ErrorDoc(_OffsetDocument):
    """The record could not be used."""

    def __init__(
        self,
        documentId: Any,
        recordType: Any,
        partitionKey: Any,
        documentMetadata: Any,
        documentKeyValuesMap: Any,
        errorStartoffsetMap: Any,
        errorEndoffsetMap: Any,
        errorMessage: Any,
    ) -> None:
        """Keep everything as it is given."""
        fields = (documentId, recordType, partitionKey, documentMetadata, documentKeyValuesMap)
        super().__init__(DocumentType.ErrorDoc, fields, (errorStartoffsetMap, errorEndoffsetMap))
        self.errorMessage = errorMessage

    def getErrorMessage(self) -> Any:
        """Return what is wrong."""
        return self.errorMessage


class SkipDoc(_OffsetDocument):
    """The record is not wanted."""

    def __init__(
        self,
        documentId: Any,
        recordType: Any,
        partitionKey: Any,
        documentMetadata: Any,
        documentKeyValuesMap: Any,
        errorStartoffsetMap: Any,
        errorEndoffsetMap: Any,
        skipMessage: Any,
    ) -> None:
        """Keep everything as it is given."""
        fields = (documentId, recordType, partitionKey, documentMetadata, documentKeyValuesMap)
        super().__init__(DocumentType.SkipDoc, fields, (errorStartoffsetMap, errorEndoffsetMap))
        self.skipMessage = skipMessage

    def getSkipMessage(self) -> Any:
        """Return why it is not wanted."""
        return self.skipMessage


class ParseDocumentResult:
    """A document with its status."""

    def __init__(self, nextRecordType: Any, document: Any, status: Any) -> None:
        """Keep everything as it is given."""
        self.nextRecordType = nextRecordType
        self.document = document
        self.status = status

    def getNextRecordType(self) -> Any:
        """Return the kind of the next record."""
        return self.nextRecordType

    def getDocument(self) -> Any:
        """Return the document."""
        return self.document

    def getStatus(self) -> Any:
        """Return what is to become of it."""
        return self.status


class RecordParseHint:
    """Where a record starts or ends; ``offset`` is -1 where it is not used."""

    def __init__(self, recordHintType: Any, pattern: Any, offset: Any = -1) -> None:
        """Keep everything as it is given."""
        self.recordHintType = recordHintType
        self.pattern = pattern
        self.offset = offset

    def getRecordHintType(self) -> Any:
        """Return what the hint goes by."""
        return self.recordHintType

    def getPattern(self) -> Any:
        """Return the pattern."""
        return self.pattern

    def getOffset(self) -> Any:
        """Return the number of bytes."""
        return self.offset


class SingleFileParser:
    """An empty base class."""


class QueueMessageReader:
    """An empty base class."""


class KinesisRecordReader:
    """An empty base class."""


class DynamoDBStreamsRecordReader:
    """An empty base class."""


class DynamoDBTableItemReader:
    """An empty base class."""


class SagemakerVectorsInterface:
    """An empty base class."""


class SparkMapperInterface:
    """An empty base class."""


class SparkReducerInterface:
    """An empty base class."""
