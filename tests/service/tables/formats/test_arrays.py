from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalake_service.tables.formats.arrays import array_of, mask_of, numbers_of, scalar_of

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
COLUMNS = st.sampled_from(
    [
        (pa.bool_(), st.booleans()),
        (pa.int64(), INTEGERS),
        (pa.float64(), st.floats() | st.integers(-(2**53), 2**53)),
        (pa.string(), TEXTS),
        (pa.large_string(), TEXTS | st.just("wörter " * 40)),
        (pa.large_string(), TEXTS.map(str.encode)),
    ]
)


@given(COLUMNS.flatmap(lambda one: st.tuples(st.just(one[0]), st.lists(one[1] | st.none(), max_size=20))))
@example((pa.large_string(), ["ä\0", "b"]))
@example((pa.large_string(), ["ä", "", ""]))
@example((pa.bool_(), [None] * 9))
def test_arrays_are_those_of_arrow(column: tuple[pa.DataType, list[Any]]) -> None:
    """Every list of values gives what ``pyarrow.array`` makes of it, and its buffers are sound."""
    kind, values = column
    ours, theirs = array_of(values, kind), pa.array(values, kind)
    ours.validate(full=True)
    assert ours.type == kind
    assert ours.null_count == theirs.null_count
    assert repr(ours.to_pylist()) == repr(theirs.to_pylist())  # NaN is not equal to itself
    assert repr(array_of(tuple(values), kind)[3:].to_pylist()) == repr(theirs[3:].to_pylist())


@given(st.lists(st.booleans(), max_size=20), st.lists(INTEGERS, max_size=20))
def test_what_numpy_has_is_taken_over(truths: list[bool], numbers: list[int]) -> None:
    """Masks and positions have the values that they had."""
    assert mask_of(np.array(truths, np.bool_)).to_pylist() == truths
    assert numbers_of(np.array(numbers, np.int64)).to_pylist() == numbers


def test_what_fits_in_no_array_is_refused() -> None:
    """Half a character and an integer of more than 64 bits are errors."""
    for text in ("\ud800", "ä\ud800"):
        with pytest.raises(UnicodeEncodeError):
            array_of([text], pa.string())
    with pytest.raises(OverflowError):
        array_of([2**63], pa.int64())


def test_texts_that_are_too_long_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offsets of a few bits never wrap around."""
    monkeypatch.setattr("datalake_service.tables.formats.arrays._OFFSETS", {pa.string(): np.int8})
    with pytest.raises(OverflowError, match="texts of 128 bytes"):
        array_of(["a" * 128], pa.string())


def test_no_array_and_no_scalar_loads_pandas() -> None:
    """It is installed here, and takes longer to load than most commands take."""
    assert scalar_of("a", pa.string()) == pa.scalar("a")
    program = (
        "import json, sys; import numpy as np, pyarrow as pa, pyarrow.compute as pc;"
        "from datalake_service.tables.formats.arrays import array_of, in_one, mask_of, scalar_of;"
        "texts = array_of(['a', None], pa.string()); chosen = texts.filter(mask_of(np.array([True, False])));"
        "pc.is_in(chosen, value_set=texts); pc.equal(chosen, scalar_of('a', pa.string())); pa.table({'a': texts});"
        "in_one(pa.chunked_array([texts])); in_one(pa.chunked_array([], pa.string()));"
        "ours = 'pandas' in sys.modules; pa.array(['a']);"
        "print(json.dumps([ours, 'pandas' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [False, True]
