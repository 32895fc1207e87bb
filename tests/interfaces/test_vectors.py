from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from datalake_interfaces import Document, ErrorDoc, HandlerContext, SagemakerVectorsInterface, SkipDoc
from datalake_interfaces.testing import check_vectors
from datalake_interfaces.vectors import VectorModel


class Titles(SagemakerVectorsInterface):
    """A vector for the title, if there is one."""

    def extract_document_elements_for_vectorization(self, document: Mapping[str, Any]) -> Mapping[str, str]:
        return {"title": document["title"]} if document["title"] else {}

    def construct_vector_doc(
        self, document: Mapping[str, Any], vectors_map: Mapping[str, Sequence[float]]
    ) -> Document | ErrorDoc | SkipDoc:
        if document["title"] == "bad":
            return ErrorDoc(error_message="not good")
        if not vectors_map:
            return SkipDoc(skip_message="no title")
        return Document({**document, "vector": list(vectors_map["title"])})


def test_documents_get_vectors() -> None:
    """Of a model that is made up; errors and skips are what they are."""
    report = check_vectors(Titles(), [{"title": "two words"}, {"title": ""}, {"title": "bad"}])
    assert report.ok, report
    assert report.rows == [{"title": "two words", "vector": [9.0, 2.0]}]
    assert report.skips == ["document 1: no title"]
    assert report.errors == ["document 2: not good"]


def test_a_model_may_be_given() -> None:
    """One of the user's; what it breaks over is an error, and one that leaves texts out breaks the contract."""
    opened: list[HandlerContext] = []

    class Ones(VectorModel):
        def open(self, context: HandlerContext) -> None:
            opened.append(context)

        def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if "breaks" in texts:
                raise ValueError("this one")
            return [] if "lost" in texts else [[1.0] for _ in texts]

    report = check_vectors(Titles(), [{"title": title} for title in ("a", "breaks", "lost")], model=Ones())
    assert report.rows == [{"title": "a", "vector": [1.0]}]
    assert report.errors[0].startswith("document 1: ValueError: this one")
    assert report.problems == ["document 2: embed returned 0 vectors for 1 texts"]
    assert len(opened) == 1


class Odd(Titles):
    """Breaks the contract in one way."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.numbers = itertools.count()

    def open(self, context: HandlerContext) -> None:
        del context
        if self.way == "closed":
            raise OSError("no such file")

    def extract_document_elements_for_vectorization(self, document: Mapping[str, Any]) -> Any:
        return {"list": ["a"], "number": {"title": 1}}.get(self.way) or {"title": "a"}

    def construct_vector_doc(self, document: Mapping[str, Any], vectors_map: Mapping[str, Sequence[float]]) -> Any:
        if self.way == "changes" and isinstance(document, dict):
            document["more"] = 1
        return {"dict": {"a": 1}, "random": Document({"number": next(self.numbers)})}.get(self.way, Document({"a": 1}))


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        ("list", "returned list; it has to be a mapping of names to texts"),
        ("number", "'title' is int; it has to be text"),
        ("dict", "wrap it: Document(row)"),
        ("random", "it is another document: delivered twice"),
        ("changes", "the document that was given was changed"),
        ("closed", "open or close failed: OSError: no such file"),
    ],
)
def test_what_breaks_the_contract_is_told(way: str, problem: str) -> None:
    """Once, in words."""
    (found,) = check_vectors(Odd(way), [{"title": "a"}]).problems
    assert problem in found
