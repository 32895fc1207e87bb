"""The fenced blocks of a Markdown page, and its links. Knows nothing of what the blocks mean."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)")
_NOT_RUN = re.compile(r"[ \t]*<!--\s*not run\b:?\s*(?P<reason>.*?)\s*-->[ \t]*")
_NEEDS = re.compile(r"[ \t]*<!--\s*needs\b:?\s*(?P<modules>.*?)\s*-->[ \t]*")
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    """The first word after the fence, in lower case; empty if there is none."""
    text: str
    """The lines between the fences, without common indentation."""
    line: int
    """The line of the page that holds the first line of the text, from 1."""
    not_run: str | None
    """The reason in ``<!-- not run: reason -->`` right before the block; ``None`` without such a comment."""
    needs: tuple[str, ...] = ()
    """The modules in ``<!-- needs: one, other -->`` right before the block: it is run where they are installed."""


def blocks(page: str) -> list[Block]:
    """Find the fenced blocks of a page, in order.

    Raises:
        ValueError: A fence is never closed, so that the rest of the page would be hidden in it.
    """
    found: list[Block] = []
    needs: tuple[str, ...]
    lines = page.splitlines()
    number, not_run, needs = 0, None, ()
    while number < len(lines):
        line = lines[number]
        number += 1
        if comment := _NOT_RUN.fullmatch(line):
            not_run = comment["reason"]
        elif comment := _NEEDS.fullmatch(line):
            needs = tuple(name.strip() for name in comment["modules"].split(","))
        elif opening := _FENCE.fullmatch(line):
            closing = re.compile(rf"[ \t]*{opening['fence'][0]}{{{len(opening['fence'])},}}[ \t]*")
            end = next((at for at in range(number, len(lines)) if closing.fullmatch(lines[at])), None)
            if end is None:
                raise ValueError(f"the fence in line {number} is never closed")
            language = (opening["info"].split() or [""])[0].lower()
            text = textwrap.dedent("\n".join(lines[number:end])) + "\n"
            found.append(Block(language, text, number + 1, not_run, needs))
            number, not_run, needs = end + 1, None, ()
        elif line.strip():
            not_run, needs = None, ()
    return found


def links(page: str) -> list[str]:
    """The targets of all inline links outside fenced blocks, without fragments; those within the page are left out."""
    inside: set[int] = set()
    for block in blocks(page):
        inside |= set(range(block.line, block.line + block.text.count("\n")))
    prose = "\n".join(line for number, line in enumerate(page.splitlines(), start=1) if number not in inside)
    return [target for match in _LINK.finditer(prose) if (target := match["target"].partition("#")[0])]
