from __future__ import annotations

import pickle

from datalake_utils.secret import Secret


def test_a_secret_is_shown_to_those_who_ask_only() -> None:
    """Neither its text nor its length is in a message."""
    one, long = Secret("k"), Secret("kkkkkkkkkkkk")
    assert one.reveal() == "k"
    assert "k" not in f"{one} {one!r} {[one]} {{}}"
    assert (str(one), repr(one)) == (str(long), repr(long))
    assert one != long


def test_a_secret_goes_to_other_processes() -> None:
    """Whole."""
    assert pickle.loads(pickle.dumps(Secret("k"))).reveal() == "k"
