"""Where the project's files are. The tests run from any directory."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("datalake_interfaces", "datalake_service", "datalake_utils")


def files() -> list[Path]:
    """Every file of the project that git knows or would take, as paths that exist."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def modules(package: str) -> list[Path]:
    """Every Python file of one of the packages."""
    return sorted((ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    """The module name of a Python file of a package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
