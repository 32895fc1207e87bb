"""Vectors for documents: which texts of a document become vectors, and the document that they make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResult


class SagemakerVectorsInterface(ABC):
    """A step between reader and writer: texts out of a document, vectors of a model back into it.

    Guarantees:
        The class is constructed once for each task as ``Class(**parameters)``, with the ``parameters`` of the dataset
        file; then ``open``, any number of the two methods and ``close``. Documents are vectorized several at a time, so
        both methods are called by several threads.

        For each document first ``extract_document_elements_for_vectorization``, then, with a vector for every text,
        ``construct_vector_doc``: both **at least once**. If no text is extracted, the second one gets no vectors.

        If a method raises or answers ``ErrorDoc``, or the model refuses a text for good, the document becomes a
        rejection. A document that is answered with ``SkipDoc`` counts as a skip, and nothing is written.
    """

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed. Called once, before anything else. If it raises, the task fails."""
        return

    @abstractmethod
    def extract_document_elements_for_vectorization(self, document: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the texts to be made vectors of, each under a name of your choice.

        Args:
            document: The flat record, as it would be written. Do not change it.
        """

    @abstractmethod
    def construct_vector_doc(
        self, document: Mapping[str, Any], vectors_map: Mapping[str, Sequence[float]]
    ) -> ParseDocumentResult | Document | ErrorDoc | SkipDoc:
        """Return the document to write.

        Args:
            document: The flat record.
            vectors_map: The vector of each text, under its name.
        """

    def close(self) -> None:
        """Release what ``open`` acquired. Called when the task ends or fails; not if the process is killed."""
        return
