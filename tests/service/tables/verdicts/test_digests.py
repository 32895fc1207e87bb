from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.tables.verdicts.digest_table import (
    SMALL_ENTRIES,
    DigestTable,
    SmallDigestTable,
    bytes_for,
    table_for,
)
from datalake_service.tables.verdicts.digests import as_array, canonical, digest_contents, digest_keys, digest_texts
from tests.support.json_values import VALUES

CLOSE = st.recursive(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, 1.5, "", "1", "n", "t", "i1;", math.nan, 2**70, 1e22]
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)


def equal(one: Any, other: Any) -> bool:
    """Equality of JSON values, spelled out."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        if isinstance(one, int) and isinstance(other, int):
            return one == other
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return isinstance(one, str) and isinstance(other, str) and one == other


@given(st.one_of(CLOSE, VALUES), st.one_of(CLOSE, VALUES))
def test_equal_values_have_equal_forms_and_others_have_others(one: Any, other: Any) -> None:
    """Key order and the writing of numbers don't matter, everything else does."""
    assert (canonical(one) == canonical(other)) == equal(one, other)
    assert canonical(one) == canonical(one)


@given(st.lists(CLOSE, min_size=2, max_size=2), st.lists(CLOSE, min_size=2, max_size=2))
def test_keys_are_compared_column_by_column(one: list[Any], other: list[Any]) -> None:
    """No value runs over into the next column, whatever way a block of values takes."""
    for pair in (("x", "y"), one):  # a block of texts only, or of anything
        digests, _ = digest_keys([[one[0], other[0], pair[0]], [one[1], other[1], pair[1]]])
        assert (digests[0] == digests[1]) == (equal(one[0], other[0]) and equal(one[1], other[1]))
        (alone,), _ = digest_keys([[one[0]], [one[1]]])
        assert alone == digests[0]


@given(st.lists(st.tuples(st.one_of(st.none(), CLOSE), st.one_of(st.none(), CLOSE)), max_size=6))
def test_rows_without_a_key_are_told(rows: list[tuple[Any, Any]]) -> None:
    """Null in all columns, and only then."""
    _, empty = digest_keys([[first for first, _ in rows], [second for _, second in rows]])
    expected = [first is None and second is None for first, second in rows]
    assert (empty.tolist() if empty is not None else [False] * len(rows)) == expected


def test_null_columns_of_a_row_do_not_count() -> None:
    """A missing column and a null are the same; inside of a value they are not."""
    one, two, three = digest_contents([{"a": 1, "b": None}, {"a": 1}, {"a": 1, "b": {"c": None}}])
    assert one == two != three


def test_deep_values_have_a_form() -> None:
    """Deeper than Python can call."""
    value: Any = 0
    for _ in range(50_000):
        value = [value]
    assert canonical(value).startswith("a1:a1:")


def test_known_digests() -> None:
    """The digest of a text is that of its UTF-8 bytes, on every machine and in every version."""
    assert digest_texts(["abc"])[0].hex() == "cf4ab791c62b8d2b2109c90275287816"
    assert as_array(digest_texts(["abc"])).tobytes() == digest_texts(["abc"])[0]
    assert digest_texts(["\ud800"]) != digest_texts(["?"])


TABLES: list[Callable[[], DigestTable | SmallDigestTable]] = [lambda: DigestTable(300), SmallDigestTable]


@pytest.mark.parametrize("make", TABLES)
@given(blocks=st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=10))
def test_a_table_remembers_where_it_saw_a_digest_first(
    make: Callable[[], DigestTable | SmallDigestTable], blocks: list[list[int]]
) -> None:
    """Within a block and across blocks, like a dictionary."""
    by_digest, by_text, model, start = make(), make(), dict[int, int](), 0
    for numbers in blocks:
        positions = np.arange(start, start + len(numbers))
        expected = [
            model.setdefault(number, position) for number, position in zip(numbers, positions.tolist(), strict=True)
        ]
        texts = [str(number) if number % 2 else f"{number}" * 100 for number in numbers]
        assert by_digest.add(digest_texts(texts), positions).tolist() == expected
        assert by_text.add_texts(texts, positions).tolist() == expected
        start += len(numbers)
    assert len(by_digest) == len(by_text) == len(model)


def test_a_full_table_still_works() -> None:
    """As many as it was made for, and not one more."""
    table = DigestTable(1000)
    digests = digest_texts([str(number) for number in range(1001)])
    assert table.add(digests[:1000], np.arange(1000)).tolist() == list(range(1000))
    assert table.add(digests[:1000], np.arange(1000, 2000)).tolist() == list(range(1000))
    with pytest.raises(ValueError, match="more than 1000 distinct digests"):
        table.add(digests[1000:], np.arange(1))


def test_digests_that_want_the_same_slot_are_told_apart() -> None:
    """Same lower half, different upper half."""
    crowd = [bytes(8) + number.to_bytes(8, "little") for number in range(200)]
    table = DigestTable(200)
    assert table.add(crowd, np.arange(200)).tolist() == list(range(200))
    assert table.add(crowd[::-1], np.arange(200, 400)).tolist() == list(range(199, -1, -1))


def test_many_rows_take_the_compact_table() -> None:
    """The budget counts what each would take."""
    assert isinstance(table_for(SMALL_ENTRIES), SmallDigestTable)
    assert isinstance(table_for(SMALL_ENTRIES + 1), DigestTable)
    assert bytes_for(1_000_000) < 40 << 20
    assert bytes_for(1 << 40) > 1 << 60
    with pytest.raises(ValueError, match="holds up to"):
        DigestTable(1 << 40)
