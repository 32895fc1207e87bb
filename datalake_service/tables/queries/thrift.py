"""Thrift's compact protocol, as far as Parquet's footers and page headers need it: read any struct, write small ones.

A struct is a dict of its fields by their numbers: the format's own names stand where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_NUMBERS: Final = frozenset({_I16, _I32, _I64})
_LONG_LIST: Final = 15
_DEEPEST: Final = 32

Struct = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """A number that takes more bytes than it needs, for a struct whose length has to be known before."""

    value: int
    width: int


class ThriftError(ValueError):
    """These bytes are no such struct. Never leaves this package."""


def read_struct(data: bytes) -> Struct:
    """Read the struct at the beginning of some bytes.

    Raises:
        ThriftError: There is none.
    """
    try:
        return _Reader(data).struct(0)
    except (IndexError, RecursionError) as error:
        raise ThriftError("the bytes end in the middle of a struct") from error


def write_struct(fields: Sequence[tuple[int, int | bool | bytes | Number]]) -> bytes:
    """Write a struct, by ascending field numbers: numbers that are not negative, truth values, or written structs."""
    out = bytearray()
    last = 0
    for number, value in fields:
        if isinstance(value, bool):
            kind = _TRUE if value else _FALSE
        else:
            kind = _STRUCT if isinstance(value, bytes) else _I32
        out.append((number - last) << 4 | kind)
        if isinstance(value, bytes):
            out += value
        elif isinstance(value, Number):
            out += varint(value.value << 1, value.width)
        elif not isinstance(value, bool):
            out += varint(value << 1)
        last = number
    out.append(0)
    return bytes(out)


def varint(number: int, width: int = 1) -> bytes:
    """A whole number that is not negative, seven bits a byte; in ``width`` bytes at least."""
    out = bytearray()
    while number > 127 or len(out) + 1 < width:  # noqa: PLR2004 - seven bits
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int) -> Struct:
        found: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._signed()
            found[number] = self._value(head & 15, depth)
        return found

    def _value(self, kind: int, depth: int) -> object:  # noqa: PLR0911 - one for each kind
        if kind in _NUMBERS:
            return self._signed()
        if kind in {_TRUE, _FALSE}:
            return kind == _TRUE
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            if depth >= _DEEPEST:
                raise ThriftError("structs in structs without end")
            return self.struct(depth + 1)
        if kind in {_LIST, _SET}:
            return self._list(depth)
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ThriftError(f"a value of the kind {kind}")

    def _list(self, depth: int) -> list[object]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == _LONG_LIST:
            count = self._varint()
        if count > len(self._data):
            raise ThriftError("a list that is longer than its bytes")
        if kind in {_TRUE, _FALSE}:  # in a list, a truth value has a byte
            return [self._byte() == _TRUE for _ in range(count)]
        return [self._value(kind, depth) for _ in range(count)]

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise ThriftError("the bytes end in the middle of a value")
        value = self._data[self._at : end]
        self._at = end
        return value

    def _signed(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the highest bit says that there is more
                return value
            shift += 7
