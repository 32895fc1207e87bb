"""``datalake dev-aws``: an emulator of AWS, with what the examples need."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path

import click

from datalake_service.cli.session import Session, common_options
from datalake_service.errors import UsageError

_EXAMPLES = Path("example_configs")
"""Where examples are looked for when none is named: in a checkout of the project."""


@click.command("dev-aws")
@click.option("--port", type=click.IntRange(0, 65_535), default=4566, show_default=True, help="0: any that is free.")
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="An example whose seed.py is run. May be repeated. Default: every folder of ./example_configs that has one.",
)
@common_options
def dev_aws_command(session: Session, port: int, seeds: tuple[Path, ...]) -> None:
    """Run an emulator of AWS on this machine until interrupted, with the data of the examples.

    S3, SQS, Kinesis, DynamoDB and its streams, and a stand-in for a SageMaker endpoint. Nothing is kept. What is
    printed are the variables that other commands need: export them in another terminal.
    """
    from datalake_service.runtime.dev_aws import dev_aws

    scripts = [_script(folder) for folder in seeds] or sorted(_EXAMPLES.glob("*/seed.py"))
    with dev_aws(port) as aws:
        for script in scripts:
            aws.seed(script.resolve())
        answer = {"variables": aws.variables, "seeded": [str(script.parent) for script in scripts]}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in aws.variables.items()]
        session.output.show(answer, lambda: [*lines, *(f"# seeded: {script.parent}" for script in scripts)])
        sys.stdout.flush()
        threading.Event().wait()  # an interrupt, or a request to terminate, ends it


def _script(folder: Path) -> Path:
    script = folder / "seed.py"
    if not script.is_file():
        raise UsageError(f"--seed: there is no {script}")
    return script
