"""Cursors: where a page ends, as opaque text that survives a restart of the server and any merge."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from hashlib import blake2b

from datalake_service.tables.live.paging import Place
from datalake_service.viewer.problems import QueryError


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an order, and the moment of the dataset in which pages are turned."""

    version: str
    place: Place
    backwards: bool
    question: str
    """A digest of what was asked: a cursor of another question means nothing."""

    def to_text(self) -> str:
        """Write it."""
        value = self.place.value
        special = isinstance(value, float) and not math.isfinite(value)
        fields = [
            self.version, None if special else value, repr(value) if special else "", self.place.batch, self.place.id,
            int(self.backwards), self.question,
        ]  # fmt: skip
        return base64.urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def from_text(cls, text: str) -> Cursor:
        """Read it.

        Raises:
            QueryError: Not a cursor.
        """
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            fields = json.loads(base64.urlsafe_b64decode(padded))
            version, value, special, batch, row_id, backwards, question = fields
        except (binascii.Error, UnicodeError, ValueError, TypeError, RecursionError):
            raise _wrong() from None
        texts = (version, special, batch, row_id, question)
        if not all(isinstance(one, str) and is_text(one) for one in texts) or not _is_value(value):
            raise _wrong()
        if special:
            value = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}.get(special)
        return cls(version, Place(value, batch, row_id), bool(backwards), question)


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**64) < value < 2**64
    return value is None or isinstance(value, bool | float)


def is_text(value: str) -> bool:
    """Whether text is UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong() -> QueryError:
    return QueryError("this is no cursor of this viewer; begin at the first page", "cursor")


def question_of(*parts: object) -> str:
    """What names a question: cursors are only good for the one they came from."""
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
