"""Vectors for rows that exist: the step of ``vectorizing.py`` as an annotator of batches."""

from __future__ import annotations

from collections.abc import Sequence

from datalake_interfaces import (
    Annotation,
    AnnotationResult,
    BatchAnnotator,
    BatchAnswers,
    DataItem,
    Document,
    ErrorDoc,
    HandlerContext,
    SkipDoc,
)
from datalake_service.pipeline.vectorizing import Unusable, Vectorizer


class VectorAnnotator(BatchAnnotator):
    """Annotates a row with what ``construct_vector_doc`` makes of it: the keys of its map are the columns.

    If the model cannot be asked, all rows of the call have failed: none is at fault, so it is not asked about halves.
    """

    max_wait_seconds = 0.02
    split_failed = False

    def __init__(self, vectorizer: Vectorizer, *, batch_size: int) -> None:
        """Take a vectorizer that is not open."""
        self._vectorizer = vectorizer
        self.max_batch_size = batch_size

    def open(self, context: HandlerContext) -> None:
        """Open handler and model."""
        self._vectorizer.open(dataset=context.dataset, task=context.task)

    def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers:
        """Make the vectors of all texts of these rows in one call."""
        return [_answer(one) for one in self._vectorizer.vectorize([item.data for item in items])]

    def close(self) -> None:
        """Close handler and model."""
        self._vectorizer.close()


def _answer(made: Document | ErrorDoc | SkipDoc | Unusable) -> AnnotationResult:
    if isinstance(made, Unusable):
        return ErrorDoc(error_message=made.message)
    if isinstance(made, ErrorDoc | SkipDoc):
        return made
    metadata = made.document_metadata
    return Annotation(dict(made.document_key_values_map), None if metadata is None else dict(metadata))
