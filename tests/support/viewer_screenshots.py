"""Pictures of the viewer for the README and the guide: ``python -m tests.support.viewer_screenshots``.

The rows are the same every time, and as old as they were the last time; only the dates move on.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import expect

from datalake_service import Annotation, DataItem, S3DataTool
from datalake_service.catalog import layout
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.formats.schema import row_schema
from tests.support import lake as merged_lake
from tests.support.browser import MISSING, BrowserThread, find_browser
from tests.support.repository import ROOT
from tests.support.viewer_lake import post, write
from tests.support.viewer_server import ViewerServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES: Final = ROOT / "docs" / "images"
MOST_BYTES: Final = 300_000
_ENGLISH: Final = (
    "filter=all(equals(field=lang.label,value=en),any(range(field=score,ge=6),null(field=score,value=true)))"
)
_COLUMNS: Final = "columns=text&columns=score&columns=tags&columns=lang.label&columns=lang.confidence&columns=ask.words"
PICTURES: Final = {
    "viewer-lake": "/",
    "viewer-rows": f"/d/posts?{_ENGLISH}&{_COLUMNS}",
    "viewer-row": f"/d/posts?{_COLUMNS}&openBatch=day-3&open=post-2998",
    "viewer-charts": "/d/posts/charts?column=lang.label&against=pinned",
}
_SETTLED: Final = "main :is(.tr:not(.pending), .card, .panel .facts)"
_ROWS: Final = 3_000
_LABELS: Final = ("en", "en", "en", "en", "fr", "it", "nl")


def rows_of(numbers: range, batch: str, now: datetime) -> Iterator[dict[str, Any]]:
    """Rows of a batch, as old as their numbers say: more by day than by night."""
    for number in numbers:
        row = {key: value for key, value in post(number).items() if key not in {"n", "tags"}}
        hours = 66 * (1 - number / _ROWS) ** 1.1
        day = now - timedelta(hours=hours)
        created = day + timedelta(hours=6) if day.hour < 5 and hours > 14 else day
        tags = {"topics": post(number)["tags"]["topics"]}
        yield row | {
            "tags": tags,
            "_batch": batch,
            "_created_at": created.isoformat(timespec="microseconds")[:26] + "Z",
        }


async def label(item: DataItem) -> Annotation:
    """Say which language a text is in, or fail."""
    chance = random.Random(item.id)
    item.spend(input_tokens=60, output_tokens=4, cost=0.0004)
    if chance.random() < 0.02:
        raise TimeoutError("the model did not answer within 30 s")
    german = item.data["text"].startswith(("Die ", "Das "))
    language = "de" if german else chance.choice(_LABELS)
    return Annotation(data={"label": language, "confidence": round(0.55 + 0.45 * chance.random(), 3)})


async def words(item: DataItem) -> Annotation:
    """Count words."""
    return Annotation(data={"words": len(item.data["text"].split())})


async def annotate(tool: S3DataTool) -> None:
    """Two annotators, neither of them done; and some rows that nobody merged yet."""
    async with tool.filter_for_annotation("posts", "lang", base_columns=["text"], fraction=0.93) as view:
        await view.annotate(label, max_concurrency=8)
    async with tool.filter_for_annotation("posts", "ask", base_columns=["text"], fraction=0.4) as view:
        await view.annotate(words, max_concurrency=8)
    await tool.clean_up()
    fresh = ({key: value for key, value in post(number).items() if key != "n"} for number in range(_ROWS, _ROWS + 4))
    await write(tool, fresh, "day-3")


def make_lake(store: FolderStore, now: datetime) -> None:
    """Two datasets, as merges left them."""
    for dataset, days in (("posts", 4), ("letters", 2)):
        each = _ROWS // days // (1 if dataset == "posts" else 4)
        for day in range(days):
            batch = f"day-{day}"
            numbers = range(day * _ROWS // days, day * _ROWS // days + each)
            plain = list(rows_of(numbers, batch, now))
            schema = row_schema(merged_lake.census(plain, without=("id", "_batch", "_created_at")))
            key = layout.merged_key(layout.batch_prefix(dataset, batch))
            merged_lake._put(store, key, "rows", schema, plain, group_rows=1_000)


def take(page: Page, address: str, path: Path) -> None:
    """Take one picture, when everything is there."""
    page.goto(address)
    page.locator(_SETTLED).first.wait_for()
    expect(page.locator(".loading")).to_have_count(0)
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.locator(".live.live").wait_for()
    page.wait_for_timeout(1500)  # what changes by itself has changed
    page.screenshot(path=path)
    assert path.stat().st_size < MOST_BYTES, path


def take_all(folder: Path) -> None:
    """Take every picture, in light and dark."""
    executable = find_browser()
    if executable is None:
        sys.exit(MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    browser = BrowserThread(executable)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            lake = Path(scratch) / "lake"
            make_lake(FolderStore(lake, durable=False), datetime.now(UTC))
            asyncio.run(annotate(S3DataTool(str(lake))))
            with ViewerServer(lake) as server:
                for scheme in ("light", "dark"):
                    page = browser.new_page(
                        base_url=server.url, color_scheme=scheme, viewport={"width": 1280, "height": 720},
                        reduced_motion="reduce",
                    )  # fmt: skip
                    for name, address in PICTURES.items():
                        browser.call(take, page, address, folder / f"{name}-{scheme}.png")
                    browser.close_page(page)
    finally:
        browser.close()


if __name__ == "__main__":
    take_all(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
