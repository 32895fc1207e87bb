"""What ``testing`` looks at in a ``SagemakerVectorsInterface``, told in words. The service has code of its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from datalake_interfaces.readers.sagemaker import SagemakerVectorsInterface
from datalake_interfaces.vectors import VectorModel

_EXTRACT = "extract_document_elements_for_vectorization"


class VectorError(Exception):
    """What breaks the contract, in words."""


class Lengths(VectorModel):
    """A model for those who have none at hand: a text's number of characters, and of words."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Two numbers for each text."""
        return [[float(len(text)), float(len(text.split()))] for text in texts]


def answer_of(handler: SagemakerVectorsInterface, model: VectorModel, document: Mapping[str, Any]) -> object:
    """What the handler makes of a document.

    Raises:
        VectorError: It breaks the contract before that.
    """
    given = copy.deepcopy(dict(document))
    texts: Any = handler.extract_document_elements_for_vectorization(given)  # Any: what is returned is not trusted
    if not isinstance(texts, Mapping):
        raise VectorError(f"{_EXTRACT} returned {type(texts).__name__}; it has to be a mapping of names to texts")
    for name, text in texts.items():
        if not isinstance(text, str):
            raise VectorError(f"{_EXTRACT}: {name!r} is {type(text).__name__}; it has to be text")
    vectors: Sequence[Sequence[float]] = model.embed(list(texts.values())) if texts else ()
    if len(vectors) != len(texts):
        raise VectorError(f"embed returned {len(vectors)} vectors for {len(texts)} texts")
    answer: object = handler.construct_vector_doc(given, dict(zip(texts, vectors, strict=True)))
    if given != dict(document):
        raise VectorError("the document that was given was changed; make a new one")
    return answer
