from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PYTEST = "pytest --numprocesses logical --maxprocesses 4 --dist worksteal"
FAKE = """#!/bin/sh
# A Python that is real, except that environments cost nothing and need no package index.
case "$*" in
    "-m venv "*)
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
        echo "$*" >>"{log}" ;;
    "-m pip "*)
        echo "$*" >>"{log}"
        [ ! -e "{broken}" ] ;;
    "-m pytest"*)
        shift 2
        echo "pytest $*" ;;
    *) exec "{python}" "$@" ;;
esac
"""


class Machine:
    """An interpreter to start from, and a place for the environment."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.broken = folder / "broken"
        self.environment = folder / "environment"
        self.python = folder / "python"
        self.elsewhere = folder
        self.python.write_text(FAKE.format(log=self.log, broken=self.broken, python=sys.executable), encoding="utf-8")
        self.python.chmod(0o755)

    def build(self, *arguments: str, python: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run build.sh from another directory than its own."""
        settings = {"PYTHON": str(python or self.python), "VENV": str(self.environment), "ENGINES": ""}
        return subprocess.run(
            [str(ROOT / "build.sh"), *arguments],
            cwd=self.elsewhere,
            env=os.environ | settings,
            check=False,
            capture_output=True,
            text=True,
        )

    def steps(self) -> list[str]:
        """What was asked of venv and pip so far."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which nothing was made yet."""
    return Machine(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("tset",)])
def test_a_wrong_command_is_answered_with_the_usage(machine: Machine, arguments: tuple[str, ...]) -> None:
    """Status 2, and all commands are named."""
    done = machine.build(*arguments)
    assert done.returncode == 2
    commands = "quickstart test check fix bench soak conformance image smoke push lock"
    for command in commands.split():
        assert f"\n  {command} " in done.stderr


def test_help_is_no_mistake(machine: Machine) -> None:
    """Asked for, the usage goes to the output."""
    done = machine.build("--help")
    assert (done.returncode, done.stdout[:6]) == (0, "usage:")


def test_an_environment_is_made_once_from_the_lock_file(machine: Machine) -> None:
    """Hashes are required, the project itself brings nothing along, and the next run starts at once."""
    assert machine.build("test", "-k", "a b").stdout == PYTEST + " -k a b\n"
    made, locked, project = machine.steps()
    assert made.startswith("-m venv")
    assert f"--require-hashes --no-deps -r {ROOT}/requirements-dev.lock" in locked
    assert f"--no-deps --no-build-isolation -e {ROOT}" in project
    assert machine.build("test").stdout == PYTEST + "\n"
    assert len(machine.steps()) == 3


def test_an_interrupted_environment_is_started_over(machine: Machine) -> None:
    """The stamp is written last: half an environment is never taken for a whole one."""
    machine.broken.touch()
    assert machine.build("test").returncode != 0
    assert len(machine.steps()) == 2
    machine.broken.unlink()
    assert machine.build("test").returncode == 0
    assert len(machine.steps()) == 5


def test_a_stale_environment_is_made_again(machine: Machine) -> None:
    """A stamp that tells of another lock file, project file or interpreter does not count."""
    machine.build("test")
    (machine.environment / "stamp").write_text("of another time\n", encoding="utf-8")
    machine.build("test")
    assert len(machine.steps()) == 6


def test_a_folder_of_somebody_else_is_left_alone(machine: Machine) -> None:
    """People keep environments of their own under the same names."""
    machine.environment.mkdir()
    (machine.environment / "precious").touch()
    done = machine.build("test")
    assert done.returncode == 1
    assert "was not made by build.sh" in done.stderr
    assert (machine.environment / "precious").exists()


def test_an_old_interpreter_is_refused(machine: Machine) -> None:
    """The message names what was found and what is needed."""
    old = machine.elsewhere / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.13\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    done = machine.build("test", python=old)
    assert done.returncode == 1
    assert "Python 3.10.13; Python 3.11 or newer is needed" in done.stderr


def test_a_missing_interpreter_is_named(machine: Machine) -> None:
    """PYTHON may hold a typo."""
    done = machine.build("check", python=machine.elsewhere / "none")
    assert done.returncode == 1
    assert "no such program" in done.stderr


def test_an_image_without_an_engine_says_what_is_missing(machine: Machine) -> None:
    """The engines that were looked for are named."""
    done = subprocess.run(
        [str(ROOT / "build.sh"), "image"],
        env={"PATH": os.defpath, "ENGINE": "no-engine"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "none of these is installed and running here: no-engine" in done.stderr


def test_an_unknown_benchmark_is_answered_with_those_that_exist(machine: Machine) -> None:
    """Names are those of the modules in benchmarks/ that can be run."""
    done = machine.build("bench", "nothing-of-the-kind")
    assert done.returncode == 1
    assert "no benchmark nothing-of-the-kind; there are:" in done.stderr
