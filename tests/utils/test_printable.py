from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datalake_utils.printable import printable


@given(st.text())
def test_what_is_shown_cannot_steer_the_terminal(text: str) -> None:
    """Names and messages come from files that somebody else wrote."""
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text
