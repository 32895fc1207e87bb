"""Globs over object keys. Pure: patterns and keys in, matches out.

``*`` and ``?`` stay within a segment of the key, ``**`` spans any number of segments, none included, ``[ab]`` and
``[!ab]`` stand for one character; ``[*]`` is a plain star. A pattern that ends in ``/`` means everything below. As in a
shell, a wildcard at the beginning of a segment does not match a leading dot.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

_WILDCARD = re.compile(r"[*?\[]")
_NOT_HIDDEN = r"(?!\.)"
_ANY_SEGMENTS = r"(?:(?!\.)[^/]+/)*"


class Glob:
    """One pattern."""

    def __init__(self, pattern: str) -> None:
        """Take a pattern relative to the root of the store."""
        self.pattern = pattern
        full = f"{pattern}**" if pattern.endswith("/") else pattern
        segments = [segment for segment in full.split("/") if segment]
        self._expression = re.compile("".join(_translated(segments)), re.DOTALL)
        match = _WILDCARD.search(full)
        fixed = full[: match.start()] if match else full
        self.prefix = fixed[: fixed.rfind("/") + 1].lstrip("/")
        """The folder below which all matches are, with its slash, or empty: what has to be listed."""

    def matches(self, key: str) -> bool:
        """Whether the key of an object matches as a whole. Folder markers (keys that end in ``/``) never do."""
        return self._expression.fullmatch(key) is not None


def listing_prefixes(globs: Iterable[Glob]) -> list[str]:
    """Return the folders to list for some patterns, none of them inside another: each object is listed once."""
    prefixes: list[str] = []
    for prefix in sorted({glob.prefix for glob in globs}):
        if not prefixes or not prefix.startswith(prefixes[-1]):
            prefixes.append(prefix)
    return prefixes


def _translated(segments: list[str]) -> Iterable[str]:
    for number, segment in enumerate(segments):
        last = number == len(segments) - 1
        if segment == "**":
            yield f"{_ANY_SEGMENTS}{_NOT_HIDDEN}[^/]+" if last else _ANY_SEGMENTS
            continue
        if segment[0] in "*?[":
            yield _NOT_HIDDEN
        yield _segment(segment)
        if not last:
            yield "/"


def _segment(segment: str) -> str:
    """The expression of what stands between two slashes."""
    parts, at = [], 0
    while at < len(segment):
        character = segment[at]
        at += 1
        end = segment.find("]", at + 1 + segment.startswith("!", at)) if character == "[" else -1
        if character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif end > 0:
            parts.append(f"(?!/){_one_of(segment[at - 1 : end + 1])}")
            at = end + 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _one_of(brackets: str) -> str:
    """The expression of a set of characters; the standard library knows what empty ranges and odd hyphens mean."""
    whole = fnmatch.translate(brackets)  # (?s: … ) and the end of the text
    return whole[len("(?s:") : whole.rindex(")")]
