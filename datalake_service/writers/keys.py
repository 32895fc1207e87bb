"""Keys that a service limits: shortened in the one documented way. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_DIGEST_BYTES: Final = 16
MARK: Final = "~"
"""Between the beginning of a key and the digest of the whole."""
_DIGEST_LENGTH: Final = 2 * _DIGEST_BYTES + len(MARK)
SQS_CHARACTERS: Final = frozenset(map(chr, range(0x21, 0x7F)))
"""What group and deduplication ids may consist of: letters, digits and punctuation of ASCII."""


def shortened_bytes(key: str, *, limit: int) -> str:
    """Return ``key`` if it has at most ``limit`` bytes of UTF-8; else its beginning, a mark and its digest."""
    if len(key) * 4 <= limit:
        return key
    encoded = key.encode("utf-8", "surrogatepass")
    if len(encoded) <= limit:
        return key
    start = encoded[: limit - _DIGEST_LENGTH].decode("utf-8", "ignore")
    return f"{start}{MARK}{_digest(encoded)}"


def shortened_ascii(key: str, *, limit: int) -> str:
    """Return ``key`` if it has at most ``limit`` characters, all of ``SQS_CHARACTERS``; else as ``shortened_bytes``."""
    if len(key) <= limit and SQS_CHARACTERS.issuperset(key):
        return key
    allowed = "".join(character for character in key if character in SQS_CHARACTERS)
    return f"{allowed[: limit - _DIGEST_LENGTH]}{MARK}{_digest(key.encode('utf-8', 'surrogatepass'))}"


def _digest(encoded: bytes) -> str:
    return blake2b(encoded, digest_size=_DIGEST_BYTES).hexdigest()
