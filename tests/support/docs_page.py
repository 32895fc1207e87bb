"""Run the blocks of one documentation page from top to bottom, as its reader would; a program of its own.

``python docs_page.py PAGE`` in a copy of the project. The page's Python blocks share one namespace, may
``await``, and see what the commands before them wrote. Ends with status 1 and says which block failed, and how.

- ``python``: executed. ``pycon`` (``>>>``): executed, results compared as by doctest.
- ``console``, ``bash``, ``sh``, ``shell``: executed by bash. With ``$`` prompts, each command must succeed and the
  lines below it must be what it prints (``...`` stands for anything); without prompts the block is one script.
- ``json``, ``jsonl``, ``yaml``, ``toml``, ``env``: parsed; JSON with a ``datasetName`` must be a valid dataset file.
- ``text`` or no language: prose, drawings.
- Anything else, or what cannot run, needs ``<!-- not run: reason -->`` right before it.
- ``<!-- needs: module -->`` right before a block: where that is not installed the block is not run, which is said in a
  line of the output that begins with ``NOT_INSTALLED``.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import yaml
from dotenv import dotenv_values

from tests.support.markdown import Block, blocks

PROMPT = "$ "
NOT_INSTALLED = "not installed here: "
SENTINEL = "--- end of command, status"
AFTER = f"__status=$?; echo; echo '{SENTINEL}' $__status; (exit $__status)"
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class BlockError(AssertionError):
    """A block does not do what the page says."""


class Page:
    """What the blocks of one page share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.names: dict[str, object] = {"__name__": "__docs__"}

    def run(self, block: Block) -> None:
        """Do what a reader would do with a block, or raise."""
        if block.not_run is not None:
            if not block.not_run:
                raise BlockError("'not run' needs a reason: <!-- not run: reason -->")
            return
        missing = [name for name in block.needs if importlib.util.find_spec(name) is None]
        if missing:
            sys.stdout.write(f"{NOT_INSTALLED}{', '.join(missing)} ({self.name}:{block.line})\n")
            return
        action = ACTIONS.get(block.language)
        if action is None:
            known = ", ".join(sorted(filter(None, ACTIONS)))
            raise BlockError(f"nothing can be done with a block of {block.language!r}; known: {known}, or 'not run'")
        action(self, block)

    def python(self, block: Block) -> None:
        """Execute; a block that awaits gets an event loop of its own, as ``asyncio.run`` gives it."""
        source = "\n" * (block.line - 1) + block.text
        code = compile(source, self.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, self.names)
        if inspect.iscoroutine(result):
            asyncio.run(result)

    def session(self, block: Block) -> None:
        """Execute an interactive session and compare what it prints."""
        test = doctest.DocTestParser().get_doctest(block.text, self.names, self.name, self.name, block.line - 1)
        report = StringIO()
        runner = doctest.DocTestRunner(optionflags=LENIENT)
        failed = runner.run(test, out=report.write, clear_globs=False).failed
        self.names.update(test.globs)
        if failed:
            raise BlockError(report.getvalue())

    def shell(self, block: Block) -> None:
        """Run a script, or commands after prompts whose output the page shows."""
        if not block.text.startswith(PROMPT):
            done = bash("set -e -o pipefail\n" + block.text)
            if done.returncode:
                raise BlockError(f"status {done.returncode}\n{done.stdout}")
            return
        commands = list(prompts(block.text))
        printed = bash("".join(f"{command}\n{AFTER}\n" for command, _ in commands))
        outputs = re.split(rf"\n?{SENTINEL} (\d+)\n", printed.stdout)
        for index, (command, shown) in enumerate(commands):
            if 2 * index + 1 >= len(outputs):
                raise BlockError(f"$ {command}\nended the shell: {printed.stdout}")
            output, status = outputs[2 * index], int(outputs[2 * index + 1])
            expected_to_fail = index + 1 < len(commands) and commands[index + 1][0].strip() == "echo $?"
            if status and not expected_to_fail:
                raise BlockError(f"$ {command}\nstatus {status}\n{output}")
            if shown and not doctest.OutputChecker().check_output(shown, output, LENIENT):
                raise BlockError(f"$ {command}\nprints\n{output}\nbut the page shows\n{shown}")


def prompts(text: str) -> list[tuple[str, str]]:
    """Split a console block into commands (continued by a backslash at the end of a line) and the output shown."""
    found: list[tuple[str, str]] = []
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        if line.startswith(PROMPT):
            command = line.removeprefix(PROMPT)
            while command.endswith("\\\n"):
                command += next(lines, "").removeprefix("> ")
            found.append((command.rstrip("\n"), ""))
        else:
            command, shown = found[-1]
            found[-1] = (command, shown + line)
    return [(command, shown if shown.strip() else "") for command, shown in found]


def bash(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script; errors are printed among the output, as on a terminal."""
    return subprocess.run(
        ["bash", "-c", script],
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def parse_json(_page: Page, block: Block) -> None:
    """It is JSON; a dataset file is one that ``datalake datasets create`` would take."""
    value = json.loads(block.text)
    if isinstance(value, dict) and "datasetName" in value:
        from datalake_service.config.dataset import DatasetConfig

        DatasetConfig.from_document(value, folder=Path())


def parse_jsonl(_page: Page, block: Block) -> None:
    """Every line is a JSON value."""
    for line in block.text.splitlines():
        json.loads(line)


def parse_toml(_page: Page, block: Block) -> None:
    """It is TOML."""
    tomllib.loads(block.text)


def parse_env(_page: Page, block: Block) -> None:
    """Every line that is no comment sets a variable."""
    for name, value in dotenv_values(stream=StringIO(block.text)).items():
        if value is None:
            raise BlockError(f"{name} is set to nothing")


ACTIONS: dict[str, Callable[[Page, Block], None]] = {
    "": lambda _page, _block: None,
    "text": lambda _page, _block: None,
    "python": Page.python,
    "pycon": Page.session,
    "console": Page.shell,
    "bash": Page.shell,
    "sh": Page.shell,
    "shell": Page.shell,
    "json": parse_json,
    "jsonl": parse_jsonl,
    "yaml": lambda _page, block: yaml.safe_load(block.text),
    "toml": parse_toml,
    "env": parse_env,
}


def main(path: Path) -> None:
    """Run a page; the first block that fails ends it."""
    page = Page(str(path))
    for block in blocks(path.read_text(encoding="utf-8")):
        try:
            page.run(block)
        except BaseException:
            sys.stderr.write(f"{path}:{block.line}: this {block.language} block failed\n")
            raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
