from __future__ import annotations

import re

import pytest

from datalake_utils.ids import random_hex


@pytest.mark.parametrize("digits", [1, 2, 5, 6, 32])
def test_length_and_alphabet(digits: int) -> None:
    """A name has as many lower-case hexadecimal digits as were asked for."""
    assert re.fullmatch(f"[0-9a-f]{{{digits}}}", random_hex(digits))


def test_names_differ() -> None:
    """Long names do not repeat."""
    assert len({random_hex(32) for _ in range(1_000)}) == 1_000


def test_the_source_decides() -> None:
    """A test that brings its own source knows the names."""
    assert random_hex(6, source=lambda count: bytes(range(0xA0, 0xA0 + count))) == "a0a1a2"
    assert random_hex(5, source=lambda count: b"\xab" * count) == "ababa"


@pytest.mark.parametrize("digits", [0, -1])
def test_no_digits_is_a_mistake(digits: int) -> None:
    """A name of no length is refused."""
    with pytest.raises(ValueError, match="at least one"):
        random_hex(digits)
