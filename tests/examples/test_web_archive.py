from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

from tests.support.repository import ROOT

FOLDER = ROOT / "example_configs/web_archive"


def test_the_archives_are_what_the_script_makes(tmp_path: Path) -> None:
    """Nobody has to take them on trust; compression may differ between versions of zlib."""
    subprocess.run([sys.executable, FOLDER / "make_input.py", tmp_path], check=True, cwd=tmp_path)
    made = {path.name: gzip.decompress(path.read_bytes()) for path in tmp_path.iterdir()}
    kept = {path.name: gzip.decompress(path.read_bytes()) for path in (FOLDER / "input").iterdir()}
    assert made == kept
