from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from datalake_interfaces import HandlerContext
from datalake_service.vectors.local import LocalVectors


@pytest.fixture(scope="module")
def model() -> LocalVectors:
    """The model, loaded without a network."""
    model = LocalVectors()
    model.open(HandlerContext())
    return model


def dot(one: Any, other: Any) -> Any:
    """Of two vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_texts_that_mean_the_same_are_near_each_other(model: LocalVectors) -> None:
    """Nearer than those that do not, and each has length 1."""
    cat, feline, stocks = model.embed(["the cat sat down", "a feline was sitting", "the stock market fell"])
    assert len(cat) == 256
    assert math.isclose(dot(cat, cat), 1.0, rel_tol=1e-6)
    assert dot(cat, feline) > 0.3 > dot(cat, stocks)


def test_a_text_has_its_vector_whatever_comes_with_it(model: LocalVectors) -> None:
    """Also for several threads at once; an empty one is all zeros."""
    texts = ["one", "", "a much longer text than the others " * 50]
    alone = [model.embed([text])[0] for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(lambda _: model.embed(texts), range(8)):
            for one, other in zip(alone, together, strict=True):
                assert one == pytest.approx(other, abs=1e-5)
    assert set(alone[1]) == {0.0}
