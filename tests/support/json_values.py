"""Hypothesis strategies for everything that the standard library's ``json`` writes, and an oracle of equality."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

# Characters of every plane, lone surrogates too: ``json`` writes them.
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
INTEGERS = st.one_of(
    st.integers(-5, 5),
    st.integers(-(2**53) - 2, 2**53 + 2),
    st.integers(-(2**63) - 2, 2**64 + 2),
    st.integers(-(10**40), 10**40),
)
FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1e16, 1e-320, 2.0**53]))
LOOKALIKES = st.sampled_from(["", "null", "true", "1", "1e5", "2026-01-01", "NaN", "[1]", '"x"', "00", "a" * 300])
SCALARS = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXT, LOOKALIKES)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
RESERVED = {"id", "_batch", "_created_at"}
COLUMNS = st.one_of(st.sampled_from(["text", "Text", "n", "a.b", "", 'a"b', "select", "é"]), TEXT).filter(
    lambda name: name not in RESERVED
)
ROWS = st.dictionaries(COLUMNS, VALUES, max_size=5)


def canonical(value: Any) -> str:
    """A text that is equal for two JSON values exactly if ``json`` would write them alike (key order aside)."""
    return json.dumps(value, sort_keys=True)


def as_read_back(row: dict[str, Any]) -> dict[str, Any]:
    """What must come out for ``row``: what ``json`` reads back from what it writes, nulls left out."""
    plain: dict[str, Any] = json.loads(json.dumps(row))
    return {key: value for key, value in plain.items() if value is not None}
