"""JSON text to Python and back, exactly as the standard library does it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.jsontext import dumps, loads, orjson_reads_exactly
from tests.support.json_values import VALUES, canonical


@given(VALUES)
def test_every_value_goes_through(value: Any) -> None:
    """What ``dumps`` writes both readers read back alike, and ``loads`` reads what ``json`` writes."""
    assert canonical(loads(dumps(value))) == canonical(value)
    assert canonical(json.loads(dumps(value))) == canonical(value)
    assert canonical(loads(json.dumps(value))) == canonical(value)


@given(st.integers(-(10**25), 10**25))
def test_integers_at_the_edge_of_64_bits_stay_integers(number: int) -> None:
    """No integer becomes a float, alone or inside a document."""
    assert loads(str(number)) == number
    assert type(loads(f'{{"a":[{number}]}}')["a"][0]) is int


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_the_six_integers_around_the_edges(number: int) -> None:
    """The edges themselves, which random search meets rarely."""
    assert loads(str(number)) == number
    assert isinstance(loads(str(number)), int)


def test_long_digits_in_text_are_only_slower() -> None:
    """Digits inside text make the fast reader doubtful, not wrong."""
    text = json.dumps({"a": "1" * 50, "b": 1.5})
    assert not orjson_reads_exactly(text.encode())
    assert loads(text) == {"a": "1" * 50, "b": 1.5}


@pytest.mark.parametrize("data", [b"", b"{", b"nul", b"\xff", b'{"a":1}{"b":2}', b"[" * 100_000, b"01", b"{'a':1}"])
def test_what_is_no_json_is_a_value_error(data: bytes) -> None:
    """Garbage, cut text, bad UTF-8 and bottomless nesting are all the same kind of error."""
    with pytest.raises(ValueError, match=r".+"):
        loads(data)
