"""Seeded rows of about 1 KB of word-like text, 10 % exact duplicates on (text, source_id). Standard library only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
_LANGUAGES = ["en", "de", "fr", "ja", "es"]


def texts(count: int, *, seed: int, words: int = 205) -> list[str]:
    """``count`` texts of words / 2 to words * 3 / 2 words; few words are frequent, most are rare."""
    source = random.Random(seed)
    vocabulary = ["".join(source.choices(_SYLLABLES, k=1 + n // 900)) for n in range(3000)]
    weights = [1 / (n + 2.7) ** 1.05 for n in range(3000)]
    lengths = [source.randint(words // 2, words * 3 // 2) for _ in range(count)]
    return [" ".join(source.choices(vocabulary, weights, k=length)) for length in lengths]


def row(number: int, text: str, source_id: str, key: int) -> dict[str, Any]:
    """One fresh row."""
    return {
        "id": f"doc-{key:016x}",
        "text": text,
        "source_id": source_id,
        "timestamp": f"2026-{1 + number % 12:02d}-{1 + number % 28:02d}T{number % 24:02d}:{number % 60:02d}:00Z",
        "metadata": {
            "url": f"https://example.org/{source_id}/{number}",
            "lang": _LANGUAGES[number % 5],
            "score": (key % 10_000) / 10_000,
            "pos": number,
            "tags": [f"t{number % 7}", f"u{number % 11}"],
        },
    }


def rows(count: int, *, pool: int = 5_000, duplicates: float = 0.10, seed: int = 1) -> Iterator[dict[str, Any]]:
    """``count`` rows. Texts come from a pool of prefixes, so that making a row costs about a microsecond.

    Every text is unique (its number stands in front) except in the share of ``duplicates``, which repeat the
    text and source of an earlier row under another id.
    """
    bodies = texts(pool, seed=seed)
    share = int(duplicates * 1024)
    for number in range(count):
        key = (number + seed) * 0x9E3779B97F4A7C15 & 0x7FFFFFFFFFFFFFFF  # scattered, and cheaper than a generator
        original = (key >> 20) % number if number and (key >> 10) % 1024 < share else number
        yield row(number, f"{original:x} {bodies[original % pool]}", f"src-{original % 50:02d}", key)
