from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from tests.support.repository import ROOT
from tests.support.viewer_lake import MERGED
from tests.support.viewer_page import open_rows

FILTERED = "/d/posts?columns=n&columns=lang.label&filter=all(equals(field=lang.label,value=de))"
EXPECTED = {number for number in range(MERGED) if number % 7 == 3 and number % 40 != 7}


def numbers(path: Path) -> set[int]:
    """The numbers in an exported file, whatever its format."""
    if path.suffix == ".parquet":
        return set(pq.read_table(path).column("n").to_pylist())
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return {int(row["n"]) for row in csv.DictReader(text.splitlines())}
    return {json.loads(line)["n"] for line in text.splitlines()}


@pytest.mark.parametrize(("label", "suffix"), [("JSON Lines", ".jsonl"), ("CSV", ".csv"), ("Parquet", ".parquet")])
def test_what_is_on_the_screen_is_a_file(page: Page, tmp_path: Path, label: str, suffix: str) -> None:
    """The filter and the columns of the table, in the format that was chosen."""
    open_rows(page, FILTERED)
    page.keyboard.press("e")
    dialog = page.get_by_role("dialog", name="Export")
    expect(dialog).to_contain_text(f"{len(EXPECTED)} rows with 2 columns, as filtered")
    dialog.get_by_role("button", name=label, exact=True).click()
    with page.expect_download() as download:
        dialog.get_by_role("link", name=f"Download {label}").click()
    path = tmp_path / f"export{suffix}"
    download.value.save_as(path)
    assert download.value.suggested_filename.endswith(suffix)
    assert numbers(path) == EXPECTED


def test_the_command_does_the_same(page: Page, tmp_path: Path) -> None:
    """What the dialog shows can be pasted into a shell."""
    open_rows(page, FILTERED)
    page.keyboard.press("e")
    dialog = page.get_by_role("dialog", name="Export")
    expect(dialog.get_by_role("region", name="Command")).to_contain_text("datalake export")
    dialog.get_by_role("button", name="Copy command").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert words[:2] == ["datalake", "export"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "datalake_service", *words[1:]]
    output = tmp_path / words[words.index("--output") + 1]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert numbers(output) == EXPECTED
