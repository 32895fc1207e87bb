"""``manifest.yaml``: what a person wants to know about a merged object. Written for people, read back by nobody.

The YAML is written by hand, in a form that every YAML reader takes: a library would only be loaded for this.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from datalake_service.catalog.made import Made, Spending
from datalake_service.catalog.manifests import format_time

Scalar = str | float | None
_PLAIN: Final = re.compile("[a-z][A-Za-z]+")
"""Keys that need no quotes."""
_WORDS: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off"})
Node = Scalar | Mapping[str, "Node"] | Sequence["Node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The facts about one merged object."""

    dataset: str
    batch: str
    annotator: str | None = None
    """``None``: the rows themselves."""
    merged_at: datetime
    """When the last merge started."""
    size: int
    """Bytes of the merged object."""
    counts: Mapping[str, int]
    """Totals over all merges so far."""
    deduplicate_on: Sequence[str]
    """The columns that decide about duplicates now."""
    columns: Sequence[tuple[str, str]]
    """(name, type), in order."""
    files: Sequence[tuple[str, int | None]]
    """(name, bytes) of what the last merge took in."""
    made: Sequence[Made] = ()
    """Of annotations: what each maker has made in each generation."""
    spent: Spending | None = None
    """Of annotations: what all that were ever merged have cost."""


def summary_yaml(summary: Summary) -> bytes:
    """Write the page."""
    document: dict[str, Node] = {"dataset": summary.dataset, "batch": summary.batch}
    if summary.annotator is not None:
        document["annotator"] = summary.annotator
    document |= {
        "mergedAt": format_time(summary.merged_at),
        "bytes": summary.size,
        "counts": dict(summary.counts),
    }
    if summary.spent is not None:
        document |= {"made": [made.to_dict() for made in summary.made], "spent": summary.spent.to_dict()}
    document |= {
        "deduplicateOn": list(summary.deduplicate_on),
        "columns": [{"name": name, "type": kind} for name, kind in summary.columns],
        "lastMerge": {
            "files": len(summary.files),
            "bytes": sum(size or 0 for _, size in summary.files),
            "runs": sorted({name.partition("_chunk_")[0] for name, _ in summary.files if "_chunk_" in name}),
        },
    }
    return ("# Written by a merge for people to read; changing it changes nothing.\n" + _mapping(document, "")).encode()


def _mapping(items: Mapping[str, Node], indent: str) -> str:
    return "".join(f"{indent}{_key(key)}:{_after_key(value, indent)}" for key, value in items.items())


def _key(key: str) -> str:
    return key if _PLAIN.fullmatch(key) and key.lower() not in _WORDS else _inline(key)


def _after_key(value: Node, indent: str) -> str:
    if isinstance(value, Mapping):
        return "\n" + _mapping(value, indent + "  ") if value else " {}\n"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "\n" + "".join(f"{indent}  - {_item(item, indent)}" for item in value) if value else " []\n"
    return f" {_inline(value)}\n"


def _item(item: Node, indent: str) -> str:
    """One of a list: what has more than two parts stands on lines of its own."""
    if isinstance(item, Mapping) and len(item) > 2:  # noqa: PLR2004 - as said
        return _mapping(item, indent + "    ").removeprefix(indent + "    ")
    return f"{_inline(item)}\n"


def _inline(value: Node) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)}: {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, str):
        return "".join(_escaped(character) for character in json.dumps(value, ensure_ascii=False))
    return _number(value) if isinstance(value, float) else json.dumps(value)


def _number(value: float) -> str:
    """A float as YAML 1.1 reads it: with a point, however large."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    digits, letter, exponent = repr(value).partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{letter}{exponent}"


def _escaped(character: str) -> str:
    """One character of a JSON text as YAML allows it between double quotes."""
    code = ord(character)
    if 0x20 <= code < 0x7F:  # noqa: PLR2004 - printable ASCII
        return character
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - the basic plane
