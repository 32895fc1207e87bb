"""Bytes in, records out: where records start and end. Pure: fed blocks, it returns values and does no I/O.

The rules are in ``docs/design/003-record-extraction.md``. How the input is cut into blocks never shows in the result.
A record that spans blocks is held in pieces: each byte is searched about once and copied once, however many blocks a
record takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from datalake_interfaces import RecordHintType, RecordParseHint
from datalake_service.readers.needle import Needle

Frame = tuple[int, bytes]
"""A record: the offset where it starts, and its bytes. A plain tuple, because there are millions."""

MAX_RECORD_BYTES: Final = 256 << 20
"""Default limit of a record: an end pattern that never comes must not eat the memory."""
_KEPT_OF_OVERSIZE: Final = 64 << 10
"""How much of a record that is too large is kept to be looked at."""
_NEEDLES: Final = 64
"""So many patterns are remembered; a parser may make up a new one for every record."""
_PATTERN: Final = RecordHintType.PATTERN
"""Looked up in its class, it would cost as much as what is asked of it: state machines ask for every record."""


@dataclass(frozen=True, slots=True)
class Oversize:
    """A record that is larger than the limit; it was searched to its end and dropped."""

    start: int
    """Offset where it starts."""
    end: int
    """Offset where it ends (exclusive)."""
    head: bytes
    """Its first bytes."""


class Framer:
    """Cuts blocks of bytes into records.

    Use: ``push`` a block, ``take`` its records, and again; at the end of the input, ``finish``. Between two records
    ``expect`` may change what is looked for; then ``take(1)`` until it returns nothing.

    Inside, it either seeks a start, with ``_carry`` holding what was pushed before the block and may be part of a start
    pattern; or a record is open, with ``_pieces`` holding its bytes before the block. Both are contiguous with the
    block's first byte. Otherwise the search goes on at ``_at`` of the block.
    """

    def __init__(
        self,
        start: RecordParseHint,
        end: RecordParseHint,
        *,
        offset: int = 0,
        end_is_next_start: bool = False,
        max_record_bytes: int = MAX_RECORD_BYTES,
    ) -> None:
        """Begin at ``offset`` of the input.

        Args:
            start: Where a record starts.
            end: Where a record ends.
            offset: Position of the first byte that will be pushed: 0, or the ``resume`` of an earlier framer.
            end_is_next_start: The end pattern of a record also belongs to the next one: the search goes on before it
                instead of behind it. For state-machine parsers.
            max_record_bytes: A longer record is dropped and reported in ``oversize``.

        Raises:
            ValueError: With these hints, every record would be empty.
        """
        self._needles: dict[bytes, Needle] = {}
        self._start: Needle | None = None
        self._end: Needle | None = None
        self._start_hint: RecordParseHint | None = None
        self._end_hint: RecordParseHint | None = None
        self._overlaps = end_is_next_start
        self._limit = max_record_bytes
        self._kept = min(_KEPT_OF_OVERSIZE, max_record_bytes)
        self._block = b""
        self._at = 0
        self._base = offset  # position of the block's first byte
        self._carry = b""
        self._pieces: list[bytes] | None = None
        self._held = 0  # the open record's bytes before the block, dropped ones included
        self._edge = b""  # the last of them, behind the start pattern: an end pattern may begin here
        self._unsearched = 0  # first bytes of the block that still belong to the start pattern
        self._outside = 0
        self._last = offset  # where the last record ended; records may overlap
        self.oversize: list[Oversize] = []
        """Records beyond the limit, in order; the caller clears it."""
        self.resume = offset
        """Where the search went on after the last record that ended: a new framer may begin there."""
        self.expect(start, end)

    def expect(self, start: RecordParseHint, end: RecordParseHint) -> None:
        """Look for another kind of record from here on. Only at first, or right after ``take(1)`` returned a record.

        Raises:
            ValueError: With these hints, every record would be empty.
        """
        if start is not self._start_hint:
            needle = self._start = self._needle(start) if start.record_hint_type is _PATTERN else None
            offset = self._start_offset = self._gap = 0 if needle is not None else start.offset or 0
            self._start_hint = start
            # The end is searched behind the start. A record that starts before the end pattern of the one before, and
            # not with a pattern of its own, has to be at least one byte longer, or it would be found again for ever.
            self._lead = needle.size if needle is not None else int(self._overlaps and offset == 0)
        elif end is self._end_hint:
            return
        self._end_hint = None
        if end.record_hint_type is _PATTERN:
            self._end, self._end_offset = self._needle(end), 0
        else:
            self._end, self._end_offset = None, end.offset or 0
            if self._end_offset < 1:
                raise ValueError("an OFFSET of 0 as the end makes every record empty; it has to be 1 or more")
        self._end_hint = end

    def _needle(self, hint: RecordParseHint) -> Needle:
        """A pattern to look for; those that come again know already which of their bytes is rare."""
        pattern = hint.pattern
        if type(pattern) is not bytes:
            pattern = hint.pattern_bytes
        found = self._needles.get(pattern)
        if found is None:
            if len(self._needles) >= _NEEDLES:
                self._needles.clear()
            found = self._needles[pattern] = Needle(pattern)
        return found

    @property
    def skipped(self) -> int:
        """Bytes outside records, up to the last record; after ``finish``, up to the end."""
        return self._outside

    def push(self, block: bytes) -> None:
        """Give the next bytes. ``take`` has to have used up the block before."""
        if self._at != len(self._block):
            raise RuntimeError("the block before is not used up: call take() until it returns nothing")
        self._base += len(self._block)
        self._block, self._at = block, 0

    def take(self, limit: int | None = None) -> list[Frame]:
        """Return the records that end in what was pushed, in order.

        With a ``limit``, at most so many, those in ``oversize`` counted.
        """
        frames: list[Frame] = []
        more = True
        while more and (limit is None or len(frames) + len(self.oversize) < limit):
            if self._pieces is not None:
                more = self._close(frames)
            elif self._carry:
                more = self._open_from_carry()
            else:
                more = self._scan(frames, limit)
        return frames

    def take_one(self) -> Frame | None:
        """Return the next record; ``None`` if more input is needed, or if it is too large and in ``oversize``.

        The same as ``take(1)``, with a short way for a record that lies in the block as a whole.
        """
        if self._pieces is None and not self._carry:
            block, at, start, end = self._block, self._at, self._start, self._end
            begin = at + self._gap if start is None else start.find(block, at)
            if 0 <= begin < len(block):
                if end is None:
                    found = stop = begin + self._end_offset
                else:
                    found = end.find(block, begin + self._lead)
                    stop = found + end.size
                if found >= 0 and stop <= len(block) and stop - begin <= self._limit:
                    base, last = self._base, self._last
                    place, self._last = base + begin, base + stop
                    if place > last:
                        self._outside += place - last
                    at = self._at = found if self._overlaps else stop
                    self._gap = self._start_offset
                    self.resume = base + at
                    return place, block[begin:stop]
        frames = self.take(1)
        return frames[0] if frames else None

    def finish(self) -> Frame | None:
        """Return the record that was still open when the input ended: the end of the input closes it.

        If the input did not end well, it is not a record but a fragment of one; the caller knows.
        """
        end = self._base + self._at
        frames: list[Frame] = []
        if self._pieces is not None:
            self._emit(frames, end - self._held, self._held, self._pieces)
            self._pieces = None
            self.resume = end
        self._outside += end - self._last
        self._last = end
        return frames[0] if frames else None

    def _scan(self, frames: list[Frame], limit: int | None) -> bool:
        """Take records that lie in the block; ``False`` when it is used up."""
        block, base, size = self._block, self._base, len(self._block)
        start, end = self._start, self._end
        while limit is None or len(frames) + len(self.oversize) < limit:
            if limit is None and start is not None and end is not None:
                self._run(frames, start, end)
            at = self._at
            if start is not None:
                begin = start.find(block, at)
                if begin < 0:
                    self._carry = block[max(at, size - start.size + 1) :]
                    break
            else:
                begin = at + self._gap
                if begin >= size:
                    self._gap = begin - size
                    break
                self._gap = self._start_offset
            found = begin + self._end_offset if end is None else end.find(block, begin + self._lead)
            stop = found if end is None else found + end.size
            if found < 0 or stop > size:
                self._open(block[begin:], searched=found < 0)
                break
            self._emit(frames, base + begin, stop - begin, [block[begin:stop]])
            self._at = found if self._overlaps else stop
            self.resume = base + self._at
        else:
            return True
        self._at = size
        return False

    def _run(self, frames: list[Frame], start: Needle, end: Needle) -> None:
        """Take records that follow one another without a gap, as most do: the hot loop. What is unusual is left."""
        block, base, first = self._block, self._base, self._at
        byte, shift = end.byte, end.shift
        if self._overlaps or not byte or self._last != base + first:
            return
        starts, find, take, most = block.startswith, block.find, frames.append, self._limit
        start_pattern, end_pattern, before, behind = start.pattern, end.pattern, self._lead + shift, end.size - shift
        at = first
        while starts(start_pattern, at):
            hit = find(byte, at + before)
            stop = hit + behind
            if hit < 0 or stop - at > most or not starts(end_pattern, hit - shift):
                break
            take((base + at, block[at:stop]))
            at = stop
        self._at = at
        self._last = self.resume = base + at

    def _open(self, held: bytes, *, searched: bool) -> None:
        """A record starts with ``held``: the last bytes before the next block, ``searched`` for the end or not."""
        self._pieces = [held]
        self._held = len(held)
        self._unsearched = max(0, self._lead - self._held)
        known = self._held - self._end.size + 1 if searched and self._end is not None else 0
        self._edge = held[max(self._lead, known) :]

    def _open_from_carry(self) -> bool:
        """Look for a start among the carried bytes; ``False`` when more input is needed."""
        carry, block = self._carry, self._block
        if self._at == len(block):
            return False
        if self._start is None:
            begin = self._gap if self._gap < len(carry) else -1
            self._gap = self._start_offset if begin >= 0 else self._gap - len(carry)
        else:
            begin = self._start.find(carry + block[: self._start.size - 1])
        if begin < 0:
            return self._drop_carry()
        self._carry = b""
        self._open(carry[begin:], searched=False)
        return True

    def _drop_carry(self) -> bool:
        """No start begins in the carried bytes; ``False`` if the block is too short to tell for all of them."""
        carry, block = self._carry, self._block
        if self._start is None or len(block) >= self._start.size:
            self._carry = b""
            return True
        both = carry + block
        self._carry = both[max(0, len(both) - self._start.size + 1) :]
        self._at = len(block)
        return False

    def _close(self, frames: list[Frame]) -> bool:
        """Look for the end of the open record; ``False`` when more input is needed."""
        pieces, block = self._pieces or [], self._block
        if self._at == len(block):
            return False
        stop, found = self._end_by_offset() if self._end is None else self._end_by_pattern(self._end)
        if stop is None:
            self._hold(block)
            self._at = len(block)
            return False
        after = found if self._overlaps else stop
        if stop < 0:  # it ends among the few carried bytes that its start was found in
            whole = b"".join(pieces)
            pieces, self._carry, self._at = [whole[:stop]], whole[after:], 0
        else:
            self._carry, self._at = (self._edge[after:], 0) if after < 0 else (b"", after)
            pieces.append(block[:stop])
        self._emit(frames, self._base - self._held, self._held + stop, pieces)
        self._pieces = None
        self.resume = self._base + after
        return True

    def _end_by_offset(self) -> tuple[int | None, int]:
        """Where the open record ends in the block (``None``: not in it), and where the search goes on."""
        stop = self._end_offset - self._held
        return (stop, stop) if stop <= len(self._block) else (None, 0)

    def _end_by_pattern(self, end: Needle) -> tuple[int | None, int]:
        """The same; the pattern may begin before the block's first byte (the second is negative then)."""
        block, edge, skip = self._block, self._edge, self._unsearched
        if edge:  # then nothing of the block belongs to the start pattern
            found = end.find(edge + block[: end.size - 1])
            if found >= 0:
                return found + end.size - len(edge), found - len(edge)
        found = end.find(block, skip)
        if found >= 0:
            return found + end.size, found
        self._unsearched = max(0, skip - len(block))
        keep = end.size - 1
        tail = block[max(skip, len(block) - keep) :]
        both = tail if len(tail) == keep else edge + tail
        self._edge = both[max(0, len(both) - keep) :]
        return None, 0

    def _hold(self, block: bytes) -> None:
        """The whole block belongs to the open record."""
        pieces = self._pieces or []
        if self._held <= self._limit:
            pieces.append(block)
        self._held += len(block)
        if self._held > self._limit:
            pieces[:] = [b"".join(pieces)[: self._kept]]

    def _emit(self, frames: list[Frame], start: int, length: int, pieces: list[bytes]) -> None:
        self._outside += max(0, start - self._last)
        self._last = start + length
        if length <= self._limit:
            frames.append((start, b"".join(pieces)))
        else:
            self.oversize.append(Oversize(start, start + length, b"".join(pieces)[: self._kept]))
