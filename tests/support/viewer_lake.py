"""A lake to look at, made as its users make one: rows, annotations, failures, rejections, and text that means harm."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from datalake_service import Annotation, DataItem, S3DataTool
from tests.support.repository import ROOT

MERGED: Final = 260
UNMERGED: Final = 12
ROWS: Final = MERGED + UNMERGED
FIRST_BATCH: Final = "2026-11-20"
SECOND_BATCH: Final = "2026-11-21"
ODD_ID: Final = "odd/../id?1&<i>#%41 \u202eא"
ODD_COLUMN: Final = "<b>odd</b> name: =&~"
SCRIPT: Final = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
OVERRIDE: Final = "report\u202egnp.exe\u202c and \u2066isolated\u2069"
ESCAPES: Final = "\x1b[31mred\x1b[0m bell\x07 nul\x00 del\x7f c1\x9b"
LINKS: Final = "see https://example.com/a_(b)?q=1. javascript:alert(1) https://user:pw@example.com/x"
LONG: Final = "long " * 20_000
HOSTILE: Final = (SCRIPT, OVERRIDE, ESCAPES, LINKS, LONG, "lone \ud83d half", "zero\u200bwidth\ufeff", "")
"""Texts that do harm, or look as what they are not, in the rows hostile-0 and on."""

_SUBJECTS = ("The ferry", "Our bakery", "The night train", "A small museum", "The old library", "The winter market")
_VERBS = ("opens at six", "was late again", "has a new captain", "sells the best rye bread", "closes for repairs")
_TAILS = (
    "and everybody on the pier knew it before the paper did.",
    "which the neighbours had predicted for years.",
    "so bring a coat, exact change, and patience.",
    "according to a notice that somebody had pinned over last year's notice.",
    "but the soup is still warm and the window seat is free.",
)
_GERMAN = ("Die Fähre fährt heute nicht, sagt der Kapitän, und geht nach Hause.", "Das Museum ist montags geschlossen.")
_TOPICS = ("travel", "food", "books", "weather", "harbour")


def post(number: int) -> dict[str, Any]:
    """One row, the same every time."""
    chance = random.Random(number)
    sentences = [
        f"{chance.choice(_SUBJECTS)} {chance.choice(_VERBS)}, {chance.choice(_TAILS)}" for _ in range(1 + number % 4)
    ]
    return {
        "id": f"post-{number:04}",
        "text": chance.choice(_GERMAN) if number % 7 == 3 else " ".join(sentences),
        "url": f"https://example.com/{chance.choice(_TOPICS)}/{number}",
        "score": None if number % 11 == 0 else round(chance.gauss(6, 2), 3),
        "n": number,
        "pinned": number % 13 == 0,
        "tags": {"topics": chance.sample(_TOPICS, 2), "depth": {"list": [1, {"two": None}]}},
    }


def hostile(number: int) -> dict[str, Any]:
    """One row that means harm."""
    return {
        "id": ODD_ID if number == 1 else f"hostile-{number}",
        "text": HOSTILE[number % len(HOSTILE)],
        "n": [2**70, -5, 0, 1, 2, 3, 4, 5][number % 8],
        "score": float("nan") if number == 0 else 1.5,
        ODD_COLUMN: "odd value",
        "tags": {SCRIPT: [SCRIPT, None, True]},
    }


async def language(item: DataItem) -> Annotation:
    """Say which language a text is in; some rows fail."""
    item.spend(input_tokens=40, output_tokens=3, cost=0.002)
    if item.data["n"] % 40 == 7:
        raise TimeoutError(f"no answer for row {item.data['n']} \x1b[31m<b>at all</b>")
    german = item.data["text"].startswith(("Die ", "Das "))
    return Annotation(
        data={"label": "de" if german else "en", "confidence": 0.5 + (item.data["n"] % 50) / 100},
        metadata={"model": "small"},
    )


async def questions(item: DataItem) -> Annotation:
    """Say whether a text asks something."""
    return Annotation(data={"is_question": "?" in item.data["text"], "words": len(item.data["text"].split())})


async def write(
    tool: S3DataTool, rows: Iterator[dict[str, Any]], batch: str, *, name: str = "posts", size: int = 100
) -> None:
    """Write rows that no merge has taken yet."""
    async with tool.dataset_generator as generator:
        await generator.from_async_iterator(
            rows, name=name, batch=batch, streaming_configs=S3DataTool.StreamingConfigs(chunk_size=size)
        )


async def annotate(tool: S3DataTool) -> None:
    """Annotate what is merged, not all of it."""
    async with tool.filter_for_annotation("posts", "lang", base_columns=["text", "n"]) as view:
        await view.annotate(language, max_concurrency=8)
    async with tool.filter_for_annotation("posts", "ask", base_columns=["text", "n"], fraction=0.4) as view:
        await view.annotate(questions, max_concurrency=8)


def write_posts(tool: S3DataTool, numbers: Iterable[int], *, merge: bool = False) -> None:
    """Write posts from a thread that may have an event loop already."""

    async def work() -> None:
        await write(tool, map(post, numbers), SECOND_BATCH)
        if merge:
            await tool.clean_up()

    _in_a_thread(work())


def annotate_once(tool: S3DataTool) -> None:
    """Let an annotator work, from such a thread."""
    _in_a_thread(annotate(tool))


def _in_a_thread(work: Coroutine[Any, Any, None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def run_dataset_file(lake: Path) -> None:
    """Run an example that has tasks and rejections: ``tracebacks``."""
    command = [
        sys.executable, "-m", "datalake_service", "datasets", "create",
        "--configFile", str(ROOT / "example_configs" / "tracebacks" / "dataset.json"),
    ]  # fmt: skip
    environment = {**os.environ, "DATALAKE_URI": str(lake), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


async def make_lake(folder: Path) -> S3DataTool:
    """Make the lake that most tests look at: ``posts`` has merged rows and others, ``hostile`` does what it can."""
    tool = S3DataTool(str(folder))
    await write(tool, map(post, range(MERGED // 2)), FIRST_BATCH)
    await write(tool, map(post, range(MERGED // 2, MERGED)), SECOND_BATCH)
    await tool.clean_up()
    await annotate(tool)
    await tool.clean_up()
    await write(tool, map(post, range(MERGED, ROWS)), SECOND_BATCH, size=5)
    await write(tool, map(hostile, range(len(HOSTILE))), "b", name="hostile")
    await tool.clean_up(["hostile"])
    await asyncio.to_thread(run_dataset_file, folder)
    return tool
