from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT, dotted, modules

LOADED = "import json, sys; sys.path.insert(0, {root!r}); {statements}; print(json.dumps(sorted(sys.modules)))"
HEAVY = {"boto3", "botocore", "duckdb", "numpy", "pandas", "polars", "pyarrow"}


def loaded(names: list[str], *flags: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after importing some modules."""
    statements = "; ".join(f"import {name}" for name in names)
    program = LOADED.format(root=str(ROOT), statements=statements)
    done = subprocess.run([sys.executable, *flags, "-c", program], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


@pytest.mark.parametrize("package", ["datalake_interfaces", "datalake_utils"])
def test_the_small_packages_need_no_installed_package(package: str) -> None:
    """All their modules load without site-packages (-S), and load nothing of ours but themselves."""
    names = [dotted(path) for path in modules(package)]
    assert names
    foreign = loaded(names, "-I", "-S") - sys.stdlib_module_names
    assert foreign == {package, "__main__"} - sys.stdlib_module_names


def test_asking_for_help_does_not_wait_for_the_heavy_libraries() -> None:
    """The command line loads no database, no Arrow and no AWS client before it knows what to do."""
    assert not loaded(["datalake_service.cli.main"]) & HEAVY


def test_a_list_is_there_before_the_libraries_of_others_would_be(tmp_path: Path) -> None:
    """Whoever reads no dataset file needs no pydantic, and without a loop there is no asyncio."""
    command = f"from datalake_service.cli.main import run; run(['datasets', 'list', '--uri', {str(tmp_path)!r}])"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", command], check=True, capture_output=True, text=True, cwd=ROOT
    )
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in found
    assert not found & (HEAVY | {"pydantic", "asyncio", "importlib.metadata", "multiprocessing"})


def test_no_command_loads_pandas(tmp_path: Path) -> None:
    """Not even where it is installed: merging, annotating and checking do without."""
    command = f"from datalake_service.cli.main import run; os.environ['DATALAKE_URI'] = {str(tmp_path / 'lake')!r}"
    dataset = ["--datasetName", "docstrings"]
    create = ["datasets", "create", "--configFile", str(ROOT / "example_configs/quickstart/dataset.json")]
    output = str(tmp_path / "rows.parquet")
    runs = [create, create, ["export", *dataset, "--output", output], ["fsck", *dataset], ["clean-up", *dataset]]
    program = f"import json, os, sys; {command}; ended = [run(one) for one in {runs!r}]; print()"
    program += "; print(json.dumps([ended, importlib.util.find_spec('pandas') is None, 'pandas' in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"import importlib.util; {program}"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0, 0, 0, 0], False, False]
