"""What the author of a handler imports: interfaces and values, with nothing but the standard library below them.

Write a ``SingleFileParser`` to turn records of files into documents, a ``Generator`` to bring rows from anywhere, an
``Annotator`` to add columns to rows that exist. ``datalake_interfaces.testing`` checks them on a sample.
"""

from __future__ import annotations

from datalake_interfaces.annotators import Annotation, AnnotationResult, Annotator, DataItem
from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.generators import AsyncRows, Generator, Rows
from datalake_interfaces.model import ParseDocumentResult, ParseDocumentResultStatus, RecordHintType, RecordParseHint
from datalake_interfaces.readers.parsers import SingleFileParser

__all__ = [
    "Annotation",
    "AnnotationResult",
    "Annotator",
    "AsyncRows",
    "DataItem",
    "Document",
    "ErrorDoc",
    "Generator",
    "HandlerContext",
    "ParseDocumentResult",
    "ParseDocumentResultStatus",
    "RecordHintType",
    "RecordParseHint",
    "Rows",
    "SingleFileParser",
    "SkipDoc",
]
