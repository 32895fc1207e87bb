"""Arrow arrays of Python's values and of numpy's, put together from their buffers.

``pyarrow.array`` and ``pyarrow.scalar`` do the same, but load pandas first where it is installed, to see whether they
were given something of it: a third of a second of every process. So do the functions of ``pyarrow.compute`` that are
given one of Python's values; ``scalar_of`` makes one for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, repeat
from operator import is_not
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_NUMBERS = {pa.int64(): np.int64, pa.float64(): np.float64}
_OFFSETS: dict[pa.DataType, type[np.signedinteger[Any]]] = {pa.string(): np.int32, pa.large_string(): np.int64}
_LONG = 64
"""Characters of a text on average from which it is not worth while to encode several together."""

_Number = TypeVar("_Number", bound=np.generic)
_Valid = npt.NDArray[np.bool_] | None
"""Which values are there; ``None``: all."""


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Store values (``None``: missing): truth values, numbers of 64 bits, or texts.

    Args:
        values: All of them of the type, or ``None``.
        kind: ``bool``, ``int64``, ``float64``, ``string`` or ``large_string``. Texts may be UTF-8, too.

    Raises:
        OverflowError: An integer has more than 64 bits; or texts are too long, all together, for the offsets.
        UnicodeEncodeError: A text has half a character in it.
    """
    valid = np.fromiter(map(is_not, values, repeat(None)), np.bool_, len(values)) if None in values else None
    there = values if valid is None else list(compress(values, valid))
    if kind in _OFFSETS:
        return _texts(there, kind, valid)
    if kind == pa.bool_():
        return _of_buffers(kind, valid, len(there), _bits(_spread(np.fromiter(there, np.bool_, len(there)), valid)))
    return _of_buffers(kind, valid, len(there), _spread(np.fromiter(there, _NUMBERS[kind], len(there)), valid))


def mask_of(mask: npt.NDArray[np.bool_]) -> pa.BooleanArray:
    """Store truth values."""
    return _of_buffers(pa.bool_(), None, len(mask), _bits(mask))


def numbers_of(numbers: npt.NDArray[np.int64]) -> pa.Int64Array:
    """Take over integers; they are not copied."""
    return _of_buffers(pa.int64(), None, len(numbers), numbers)


def in_one(column: pa.ChunkedArray) -> pa.Array:
    """All of a column in one piece. ``combine_chunks`` does it, too, with ``pyarrow.array`` if there is no piece."""
    return column.combine_chunks() if column.num_chunks else array_of([], column.type)


def scalar_of(value: Any, kind: pa.DataType) -> pa.Scalar:  # noqa: ANN401 - any value of the type
    """One value; see ``array_of``."""
    return array_of([value], kind)[0]


def _texts(there: Sequence[str] | Sequence[bytes], kind: pa.DataType, valid: _Valid) -> pa.Array:
    joined, lengths = _utf8(there)
    if len(joined) > np.iinfo(_OFFSETS[kind]).max:
        msg = f"texts of {len(joined)} bytes are too long for one array"
        raise OverflowError(msg)
    sizes = _spread(lengths, valid)
    offsets = np.zeros(len(sizes) + 1, _OFFSETS[kind])
    np.cumsum(sizes, out=offsets[1:])
    return _of_buffers(kind, valid, len(there), offsets, joined)


def _utf8(texts: Sequence[str] | Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]]:
    """All texts in one piece, and the bytes of each. Short ones are encoded together: one by one takes longer."""
    both: Any = texts  # all of one type, as the first one is
    if texts and isinstance(texts[0], str):
        joined = "".join(both)
        if joined.isascii():
            return joined.encode("ascii"), _lengths(texts)
        if len(joined) < _LONG * len(texts):
            separated = "\0".join(both).encode()
            ends = np.flatnonzero(np.frombuffer(separated, np.uint8) == 0)
            if len(ends) == len(texts) - 1:
                return separated.replace(b"\0", b""), np.diff(ends, prepend=-1, append=len(separated)) - 1
        both = [text.encode() for text in both]
    return b"".join(both), _lengths(both)


def _lengths(texts: Sequence[str] | Sequence[bytes]) -> npt.NDArray[np.int64]:
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _spread(there: npt.NDArray[_Number], valid: _Valid) -> npt.NDArray[_Number]:
    """The values that are there at their places among all."""
    if valid is None:
        return there
    spread = np.zeros(len(valid), there.dtype)
    spread[valid] = there
    return spread


def _bits(values: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    return np.packbits(values, bitorder="little")


def _of_buffers(kind: pa.DataType, valid: _Valid, there: int, *buffers: npt.NDArray[Any] | bytes) -> pa.Array:
    count, validity = (there, None) if valid is None else (len(valid), pa.py_buffer(_bits(valid)))
    return pa.Array.from_buffers(kind, count, [validity, *map(pa.py_buffer, buffers)], count - there)
