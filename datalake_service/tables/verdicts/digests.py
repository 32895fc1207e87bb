"""128-bit digests of ids, of dedup keys and of whole rows: equal digests mean equal JSON values.

Values are compared as JSON values: key order in objects does not matter, ``1`` equals ``1.0`` but not ``true``,
NaN equals itself. They are written in a form that is the same for equal values and different for others, and that
form is hashed with BLAKE2b: nobody can make two rows collide, so digests may decide which rows are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from datalake_service.tables.verdicts.bits import Mask

DIGEST_BYTES = 16
Digests = npt.NDArray[np.uint64]
"""One row of two 64-bit halves for each digest."""

_MISSING = "n"


def digest_texts(texts: Sequence[str]) -> list[bytes]:
    """Digests of texts, lone surrogates included."""
    try:
        return [blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts]
    except UnicodeEncodeError:
        encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
        return [blake2b(data, digest_size=DIGEST_BYTES).digest() for data in encoded]


def digest_keys(columns: Sequence[Sequence[Any]]) -> tuple[list[bytes], Mask | None]:
    """Digests of the rows of ``columns`` (at least one), and which rows are ``None`` in all of them, if any is."""
    if all(set(map(type, column)) == {str} for column in columns):
        return digest_texts(_joined_texts(columns)), None
    keys = list(map("".join, zip(*(map(canonical, column) for column in columns), strict=True)))
    nothing = _MISSING * len(columns)
    empty = np.fromiter((key == nothing for key in keys), np.bool_, len(keys)) if nothing in keys else None
    return digest_texts(keys), empty


def _joined_texts(columns: Sequence[Sequence[str]]) -> list[str]:
    """The forms of texts, side by side; one or two columns are what nearly everybody has."""
    if len(columns) == 1:
        return [f"s{len(one)}:{one}" for one in columns[0]]
    if len(columns) == 2:  # noqa: PLR2004 - see above
        return [f"s{len(one)}:{one}s{len(other)}:{other}" for one, other in zip(*columns, strict=True)]
    return ["".join([f"s{len(text)}:{text}" for text in row]) for row in zip(*columns, strict=True)]


def digest_contents(rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Digests of whole rows; keys whose value is ``None`` count as missing."""
    return digest_texts([canonical({name: item for name, item in row.items() if item is not None}) for row in rows])


def as_array(digests: Sequence[bytes]) -> Digests:
    """The same digests as numbers."""
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def canonical(value: object) -> str:
    """A text that is the same for equal JSON values and different for others. No text is a beginning of another.

    Works without recursion: JSON may be nested deeper than Python can call.
    """
    parts: list[str] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(f"s{len(item)}:{item}")
        elif isinstance(item, dict):
            parts.append(f"o{len(item)}:")
            for key in sorted(item, reverse=True):
                stack.append(item[key])
                stack.append(key)
        elif isinstance(item, (list, tuple)):
            parts.append(f"a{len(item)}:")
            stack.extend(reversed(item))
        else:
            parts.append(_canonical_scalar(item))
    return parts[0] if len(parts) == 1 else "".join(parts)


def _canonical_scalar(value: object) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, float):
        if not value.is_integer():  # NaN and infinities too
            return f"d{value!r};"
        value = int(value)
    return f"i{value:x};"


def partition_numbers(digests: Digests, partitions: int) -> npt.NDArray[np.int64]:
    """Which of ``partitions`` (a power of two) each digest belongs to; independent of the slot in a table."""
    shift = np.uint64(64 - (partitions.bit_length() - 1))
    if partitions == 1:
        return np.zeros(len(digests), np.int64)
    return (digests[:, 1] >> shift).astype(np.int64)
