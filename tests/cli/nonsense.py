"""A careless person, as a process: gives every option of every command nonsense, and prints what was not told in words.

Commands run one after the other in this process, in its folder: a process for each would take minutes.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator

import click

from datalake_service.cli.main import datalake, run

NONSENSE = ("", "-1", "../x", "{", "NaN", "x" * 300, "~nobody-of-this-name/x", "9" * 20, "s3://a b", "\x1b[2J")
"""Neither names, numbers, sizes, files nor addresses, or more than there can be."""
WITHOUT_END, REFUSED = ("viewer", "serve", "dev-aws"), ("--port", "--seed")
"""Commands that run until they are stopped, and the options with which nonsense keeps them from starting."""
OF_ALL = ("--uri", "--endpointUrl", "--log-level")
"""Options that every command has from one place: one command stands for all."""
GIVEN = {"--configFile": "dataset.json", "--output": "rows.jsonl"}
"""What is given for an option that has to be there, while another one gets nonsense; a name otherwise."""


def lines(found: click.Command, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Command lines with one mistake each, for a command and those below it."""
    if isinstance(found, click.Group):
        yield list(path)
        yield [*path, "nonsense"]
        for name, below in found.commands.items():
            yield from lines(below, (*path, name))
        return
    options = [option for option in found.params if isinstance(option, click.Option) and not option.is_flag]
    for option in options:
        name = option.opts[0]
        if (name in OF_ALL and path != ("datasets", "list")) or (found.name in WITHOUT_END and name not in REFUSED):
            continue
        others = [
            word
            for other in options
            if other.required and other is not option
            for word in (other.opts[0], GIVEN.get(other.opts[0], "posts"))
        ]
        yield from ([*path, *others, name, value] for value in NONSENSE)


def main() -> None:
    """Print, for each command line that ended in a surprise, what it was and what was said; and how many were tried."""
    tried, surprises = 0, []
    for arguments in lines(datalake):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = run(arguments)
        tried += 1
        told = said.getvalue()
        surprising = "internal error" in told or "Traceback" in told or "\x1b" in told or "to convert to C" in told
        if status not in {0, 1, 2} or (status and not told.strip()) or surprising:
            surprises.append([arguments, status, told])
    json.dump({"tried": tried, "surprises": surprises}, sys.stdout)


if __name__ == "__main__":
    main()
