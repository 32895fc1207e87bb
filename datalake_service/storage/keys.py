"""What may be a key or a prefix of the object store; the same for every implementation. Pure."""

from __future__ import annotations

_MAX_KEY_BYTES = 1024
"""The limit of S3 (the prefix of the lake counts too); a folder's own limits are reported by the file system."""


def check_key(key: str) -> None:
    """Refuse a key that some implementation could not hold, or that would leave the root.

    Raises:
        ValueError: The key is empty or too long, starts or ends with a slash, or has a segment that is empty,
            ``.`` or ``..``, or contains a NUL or half a surrogate pair.
    """
    if not key or any(segment in {"", ".", ".."} for segment in key.split("/")):
        raise ValueError(f"{key!r} is not a key: segments between slashes must not be empty, '.' or '..'")
    if "\0" in key:
        raise ValueError(f"{key!r} is not a key: it contains a NUL character")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{key!r} is not a key: it is not valid Unicode text") from None
    if size > _MAX_KEY_BYTES:
        raise ValueError(f"the key {key[:60]!r}... has more than {_MAX_KEY_BYTES} bytes")


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that could see the neighbours of what was meant (``b1`` would see ``b10``).

    Raises:
        ValueError: The prefix is neither empty nor a key followed by one slash.
    """
    if not prefix:
        return
    if not prefix.endswith("/"):
        raise ValueError(f"the prefix {prefix!r} must be empty or end in a slash: without it, 'b1' would see 'b10'")
    check_key(prefix[:-1])
