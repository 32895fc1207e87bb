"""``datalake schema``: the JSON Schema of the dataset file."""

from __future__ import annotations

import click

from datalake_service.cli.output import print_line
from datalake_service.cli.session import Session, common_options


@click.command("schema")
@common_options
def schema_command(_session: Session) -> None:
    """Print the JSON Schema of the dataset file, for editors."""
    from datalake_service.config.schema import schema_text

    print_line(schema_text())
