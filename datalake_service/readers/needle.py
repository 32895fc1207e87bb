"""Finding a byte pattern fast. Pure.

``bytes.find`` of a single byte runs at memory speed, of several bytes at about an eighth of it. So the rarest byte of
the pattern is searched and the rest compared; where that byte turns out to be frequent, the pattern is searched whole.
"""

from __future__ import annotations

from typing import Final

_FALSE_HITS: Final = 8
"""After so many occurrences of the rare byte that are not the pattern, the rest is searched for the whole pattern."""
_NEAR: Final = 512
"""So many bytes are searched for the whole pattern first: headers are short, and full of what ends them."""
_FAR: Final = 16 * _NEAR
"""… if there are many more, so that it costs little where it does not help."""
_SAMPLE: Final = 32 << 10
"""Bytes of the first data in which the rarest byte is looked for; a wrong guess costs time, never a match."""


class Needle:
    """One pattern to look for."""

    __slots__ = ("byte", "pattern", "shift", "size")

    def __init__(self, pattern: bytes) -> None:
        """Take a pattern of at least one byte."""
        self.pattern = pattern
        self.size = len(pattern)
        self.byte = b""
        """The rarest byte, once some data was searched; the pattern is at ``shift`` before it."""
        self.shift = 0

    def find(self, data: bytes, at: int = 0) -> int:
        """Return where the pattern occurs first in ``data`` from ``at`` on; -1 if it does not."""
        pattern = self.pattern
        if data.startswith(pattern, at):
            return at
        if len(data) - at > _FAR:
            near = data.find(pattern, at, at + _NEAR)
            if near >= 0:
                return near
            at += max(0, _NEAR - self.size + 1)
        if not self.byte:
            self._learn(data, at)
        byte, shift = self.byte, self.shift
        hit = data.find(byte, at + shift)
        for _ in range(_FALSE_HITS):
            if hit < 0 or data.startswith(pattern, hit - shift):
                return hit - shift if hit >= 0 else -1
            hit = data.find(byte, hit + 1)
        return data.find(pattern, hit - shift) if hit >= 0 else -1

    def _learn(self, data: bytes, at: int) -> None:
        sample = data[at : at + _SAMPLE]
        shifts = range(self.size)
        self.shift = min(shifts, key=lambda shift: sample.count(self.pattern[shift]))
        self.byte = self.pattern[self.shift : self.shift + 1]
