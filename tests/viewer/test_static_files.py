from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from datalake_service.viewer.static_files import digest_of
from tests.support.repository import ROOT

STATIC = ROOT / "datalake_service" / "viewer" / "static"
OURS = [
    path for path in sorted(STATIC.rglob("*")) if path.is_file() and path.suffix in {".js", ".css", ".html", ".svg"}
    and path.parent.name != "vendor"
]  # fmt: skip
# An allowed address names a standard, not a place that is asked for anything.
ADDRESS = re.compile(r"(?:https?:)?//[\w.-]+\.\w+")
STANDARDS = {"http://www.w3.org"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_a_file_keeps_the_rules(path: Path) -> None:
    """Short, no other host, and no way in which text could become markup or code."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert set(ADDRESS.findall(text)) <= STANDARDS
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert forbidden not in text
    assert "dangerouslySetInnerHTML" not in text


def test_markup_has_no_scripts_or_styles_of_its_own() -> None:
    """The policy of the page forbids them; so does this."""
    text = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*src=)|\son\w+=|\sstyle=", text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {
        f"/static/{path.relative_to(STATIC).as_posix()}"
        for path in OURS
        if path.suffix == ".css" or path.name in {"main.js", "favicon.svg"}
    }


def test_a_changed_file_has_another_address(tmp_path: Path) -> None:
    """Whatever changes below the folder: a byte, a name, one file more."""
    digests = []
    for name, content in (("a", "1"), ("a", "2"), ("b", "2"), ("c/b", "2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
        digests.append(digest_of(tmp_path))
    assert len(set(digests)) == 4
    assert digest_of(tmp_path) == digests[-1]


def test_what_others_wrote_is_what_they_published() -> None:
    """The table beside the vendored files names every one of them, with its digest and its licence."""
    folder = STATIC / "vendor"
    table = (folder / "README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| `(\S+)` .* `([0-9a-f]{64})` \|$", table, re.MULTILINE))
    scripts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}
    assert named == scripts
    assert "MIT License" in (folder / "preact.LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in (folder / "htm.LICENSE").read_text(encoding="utf-8")
