from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import PACKAGES, ROOT

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"
PLANTS = {
    "datalake_service.plan": ("datalake_service.tables", "Imports point one way"),
    "datalake_service.handling": ("datalake_service.pipeline", "Imports point one way"),
    "datalake_service.storage": ("datalake_service.catalog", "Imports point one way"),
    "datalake_service.errors": ("datalake_service.events", "Imports point one way"),
    "datalake_service.config": ("botocore", "AWS lives behind the storage port and in aws"),
    "datalake_service.catalog": ("boto3", "Clients are made by aws.session"),
    "datalake_service.chunks": ("duckdb", "SQL, Parquet and Arrow live in tables"),
    "datalake_service.runtime": ("pyarrow", "SQL, Parquet and Arrow live in tables"),
    "datalake_interfaces": (
        "pydantic",
        "What handler authors import, and the small helpers, need the standard library only",
    ),
    "datalake_utils": ("orjson", "What handler authors import, and the small helpers, need the standard library only"),
    "datalake_interfaces.readers": ("datalake_utils.units", "The service depends on the other two, which know nobody"),
    "datalake_utils.units": ("datalake_service.errors", "The service depends on the other two, which know nobody"),
}
"""Who imports what, and the contract that forbids it."""


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


def test_every_planted_import_is_found(copy: Path) -> None:
    """Each kind of forbidden import breaks the contract that forbids it."""
    lines: dict[str, str] = {}
    for place, (imported, _) in PLANTS.items():
        path = copy.joinpath(*place.split("."))
        path = path / "planted.py" if path.is_dir() else path.with_suffix(".py")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
        module = ".".join(path.relative_to(copy).with_suffix("").parts)
        lines[place] = f"{module} -> {imported} (l."
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    told = " ".join(result.stdout.split()).partition("Broken contracts")[2]
    for place, (_, contract) in PLANTS.items():
        _, _, rest = told.partition(f"{contract} ---")
        under_its_name = rest.lstrip("- ").partition(" ---")[0]
        assert lines[place] in under_its_name, result.stdout


def test_a_package_with_no_place_is_found(copy: Path) -> None:
    """A new one must be placed among the layers."""
    newcomer = copy / "datalake_service" / "newcomer"
    newcomer.mkdir()
    (newcomer / "__init__.py").touch()
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Imports point one way BROKEN" in " ".join(result.stdout.split())
