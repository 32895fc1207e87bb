from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from datalake_service.config.version import VERSION
from tests.support.repository import PACKAGES, ROOT, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED = {canonicalize_name(Requirement(line).name): Requirement(line) for line in PROJECT["dependencies"]}
OPTIONAL = {
    canonicalize_name(Requirement(line).name)
    for extra in ("llm", "otel", "pandas", "polars", "ray", "spark", "vectors")
    for line in PROJECT["optional-dependencies"][extra]
}
COMPANIONS = {"botocore": "boto3", "urllib3": "boto3", "pydantic-core": "pydantic"}
"""Parts of the surface of a declared package that are distributions of their own: their exceptions, mostly."""
SHARED = {"opentelemetry": "opentelemetry-sdk"}
"""Packages that many distributions put modules into; the one that brings the others along."""


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports anywhere, type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    names = {name for name in names if not name.startswith("_")}  # _typeshed and the like exist for type checkers only
    return names - sys.stdlib_module_names - set(PACKAGES)


def distributions(names: set[str]) -> set[str]:
    """The distributions that provide some packages, as this environment knows them."""
    known = {**packages_distributions(), **{package: [name] for package, name in SHARED.items()}}
    found = {canonicalize_name(name) for package in names for name in known.get(package, [package])}
    return {COMPANIONS.get(name, name) for name in found}


def pins(lock: str) -> dict[str, set[str]]:
    """Name to the versions (one per Python version at most) that a lock file pins."""
    found: dict[str, set[str]] = {}
    for match in re.finditer(
        r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE
    ):
        found.setdefault(canonicalize_name(match["name"]), set()).add(match["version"])
    return found


@pytest.fixture(scope="module")
def used() -> set[str]:
    """The distributions that the product imports from."""
    return distributions({name for package in PACKAGES for path in modules(package) for name in imported(path)})


def test_what_is_imported_is_declared(used: set[str]) -> None:
    """A package that comes along only because another needs it may go away with it."""
    assert used - DECLARED.keys() - OPTIONAL == set()


def test_what_is_declared_is_imported(used: set[str]) -> None:
    """Nobody downloads a package that nothing uses."""
    assert DECLARED.keys() - used == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_pins_what_is_declared(lock: str) -> None:
    """After a change of the dependencies ./build.sh lock was run."""
    pinned = pins(lock)
    for name, requirement in DECLARED.items():
        assert pinned.get(name), name
        assert all(requirement.specifier.contains(version) for version in pinned[name]), name


def test_the_version_is_one() -> None:
    """What the command prints is what is installed."""
    assert PROJECT["version"] == VERSION


def test_both_lock_files_agree() -> None:
    """What is tested is what is shipped."""
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: versions for name, versions in runtime.items() if dev.get(name) != versions} == {}
