from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import PACKAGES, ROOT

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
PLANTS = {
    "a part that sees a sibling": ("plan", "import datalake_service.tables", "Imports point one way"),
    "a lower layer that sees a higher one": ("storage", "import datalake_service.catalog", "Imports point one way"),
    "errors that see anything": ("errors.py", "import datalake_service.events", "Imports point one way"),
    "AWS outside storage": ("config", "import botocore", "AWS lives behind the storage port and in aws"),
    "SQL outside tables": ("chunks", "import duckdb", "SQL, Parquet and Arrow live in tables"),
    "Arrow outside tables": ("runtime", "import pyarrow", "SQL, Parquet and Arrow live in tables"),
    "a package with no place": ("newcomer", "", "Imports point one way"),
    "a part that sees pipeline": ("handling", "import datalake_service.pipeline", "Imports point one way"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter as ``./build.sh check`` does, on the packages in a folder."""
    command = [sys.executable, "-c", LINT, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The three packages and the rules, to be spoiled."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way() -> None:
    """Every contract in pyproject.toml is kept."""
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_import_is_found(copy: Path, plant: str) -> None:
    """Each kind of forbidden import breaks the contract that forbids it."""
    place, line, contract = PLANTS[plant]
    module = copy / "datalake_service" / place
    if module.suffix != ".py":
        module.mkdir(exist_ok=True)
        (module / "__init__.py").touch()
        module /= "planted.py"
    with module.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("package", "line", "contract"),
    [
        ("datalake_interfaces", "import pydantic", "need the standard library only"),
        ("datalake_utils", "import orjson", "need the standard library only"),
        ("datalake_interfaces", "import datalake_utils.units", "know nobody"),
        ("datalake_utils", "import datalake_service.errors", "know nobody"),
    ],
)
def test_what_authors_import_stays_light(copy: Path, package: str, line: str, contract: str) -> None:
    """The two small packages import nothing but the standard library, and not each other."""
    (copy / package / "planted.py").write_text(f"{line}\n", encoding="utf-8")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in " ".join(result.stdout.split())
