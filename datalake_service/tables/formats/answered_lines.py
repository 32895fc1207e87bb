"""Whose rows the lines of an annotator's chunk are, without parsing them: the beginnings of lines say it.

Our writer begins every line with id, batch and status. Lines of any other kind are for a parser. Knows nothing of what
a status means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import pyarrow as pa

from datalake_service.tables.formats.arrays import numbers_of

if TYPE_CHECKING:
    import numpy.typing as npt

_ID: Final = b'{"id":"'
_BEGINS: Final = re.compile(rb'\{"id":"[^"\\]*(","_batch":"([^"\\]+)","_status":"([^"\\]+)",)')
_SAYS_MORE: Final = (b'"_version":', b'"_code":', b'"_generation":')
"""Who made a line says its run; a line that says it itself is parsed."""
_LINE_FEED, _QUOTE, _BRACE = b'\n"}'
_MOST_KINDS: Final = 16
"""Batches and statuses of the lines of one chunk, beyond which it is parsed."""

Ids: TypeAlias = pa.Array
"""Ids as a column of text."""
Answers = tuple[str, str, Ids]
"""Batch, status, and the ids of all lines that begin so."""


def answered_lines(data: bytes) -> list[Answers] | None:
    """The ids in whole lines of a chunk, by batch and status; ``None``: they have to be parsed.

    What stands behind the beginning of a line is not looked at, but for its last byte.
    """
    if not data.endswith(b"}\n") or any(name in data for name in _SAYS_MORE):
        return None
    try:
        data.decode()
        return list(_by_beginning(data))
    except (_OtherwiseError, UnicodeDecodeError):
        return None


class _OtherwiseError(Exception):
    """A line is not as our writer begins one. Never leaves this module."""


def _by_beginning(data: bytes) -> Iterator[Answers]:
    """Line by line would be five times as long: all lines are looked at together, once for each beginning."""
    held = np.frombuffer(data, np.uint8)
    feeds = np.flatnonzero(held == _LINE_FEED)
    starts = np.concatenate(([0], feeds[:-1] + 1))
    if not (held[feeds - 1] == _BRACE).all() or not _stands_at(data, starts, _ID).all():
        raise _OtherwiseError
    quotes = np.flatnonzero(held == _QUOTE)
    begins = starts + len(_ID)
    if quotes[-1] < begins[-1]:
        raise _OtherwiseError
    ends = quotes[np.searchsorted(quotes, begins)]
    left = np.arange(len(starts))
    for _ in range(_MOST_KINDS):
        begin = _BEGINS.match(data, int(starts[left[0]]))
        if begin is None:
            raise _OtherwiseError
        same = _stands_at(data, ends[left], begin[1])
        some = left[same]
        if not len(some):
            raise _OtherwiseError
        yield begin[2].decode(), begin[3].decode(), _texts(data, begins[some], ends[some])
        left = left[~same]
        if not len(left):
            return
    raise _OtherwiseError


def _stands_at(data: bytes, places: npt.NDArray[np.int64], wanted: bytes) -> npt.NDArray[np.bool]:
    """Where ``wanted``, which ends with no zero, stands, of some places."""
    last = len(data) - len(wanted)
    if last < 0:
        raise _OtherwiseError
    windows: npt.NDArray[np.bytes_] = np.ndarray((last + 1,), f"S{len(wanted)}", data, strides=(1,))
    found: npt.NDArray[np.bool] = (windows[np.minimum(places, last)] == wanted) & (places <= last)
    return found


def _texts(data: bytes, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Array:
    """What stands between two places, as texts: every second piece of the data, which is copied by none of them."""
    offsets = np.empty(2 * len(begins) + 1, np.int32)
    offsets[0], offsets[1::2], offsets[2::2] = 0, begins, ends
    pieces = pa.StringArray.from_buffers(2 * len(begins), pa.py_buffer(offsets), pa.py_buffer(data))
    texts = pieces.take(numbers_of(np.arange(1, 2 * len(begins), 2, dtype=np.int64)))
    if b"\\" in texts.buffers()[2].to_pybytes():
        raise _OtherwiseError
    return texts
