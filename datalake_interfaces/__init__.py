"""What the author of a handler imports: interfaces and values, with nothing but the standard library below them.

Write a ``SingleFileParser`` to turn records of files into documents (a state-machine reader, if they depend on one
another), a ``Generator`` to bring rows from anywhere, an ``Annotator`` to add columns to rows that exist.
``datalake_interfaces.testing`` checks them on a sample.
"""

from __future__ import annotations

from datalake_interfaces.annotators import (
    Annotation,
    AnnotationResult,
    Annotator,
    BatchAnnotator,
    BatchAnswers,
    DataItem,
    spend_together,
)
from datalake_interfaces.attempts import GiveUpError, TryLaterError, Usage
from datalake_interfaces.composites import FileReaderState, ParseCompositeDocumentResult
from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.generators import AsyncRows, Generator, Rows
from datalake_interfaces.model import ParseDocumentResult, ParseDocumentResultStatus, RecordHintType, RecordParseHint
from datalake_interfaces.readers.dynamodb import DynamoDBTableItemReader
from datalake_interfaces.readers.dynamodbstreams import DynamoDBStreamsRecordReader
from datalake_interfaces.readers.kinesis import KinesisRecordReader
from datalake_interfaces.readers.parsers import (
    MultipleFileStateMachineReader,
    SingleFileParser,
    SingleFileStateMachineParser,
    SingleFileStateMachineReader,
    SystemFileReader,
)
from datalake_interfaces.readers.sagemaker import SagemakerVectorsInterface
from datalake_interfaces.readers.sqs import QueueMessageReader
from datalake_interfaces.vectors import VectorModel

__all__ = [
    "Annotation",
    "AnnotationResult",
    "Annotator",
    "AsyncRows",
    "BatchAnnotator",
    "BatchAnswers",
    "DataItem",
    "Document",
    "DynamoDBStreamsRecordReader",
    "DynamoDBTableItemReader",
    "ErrorDoc",
    "FileReaderState",
    "Generator",
    "GiveUpError",
    "HandlerContext",
    "KinesisRecordReader",
    "MultipleFileStateMachineReader",
    "ParseCompositeDocumentResult",
    "ParseDocumentResult",
    "ParseDocumentResultStatus",
    "QueueMessageReader",
    "RecordHintType",
    "RecordParseHint",
    "Rows",
    "SagemakerVectorsInterface",
    "SingleFileParser",
    "SingleFileStateMachineParser",
    "SingleFileStateMachineReader",
    "SkipDoc",
    "SystemFileReader",
    "TryLaterError",
    "Usage",
    "VectorModel",
    "spend_together",
]
