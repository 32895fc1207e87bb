"""``datalake datasets create``: run a dataset file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from datalake_service.cli.progress import RunLine
from datalake_service.cli.session import Session, common_options, config_file_option

if TYPE_CHECKING:
    from datalake_service.config.dataset import DatasetConfig
    from datalake_service.pipeline.runs.choice import TaskChoice
    from datalake_service.pipeline.runs.report import RunReport


@click.command("create")
@config_file_option
@common_options
def create_command(session: Session, config_file: str) -> None:
    """Run a dataset file: read, merge, annotate, report. Running it again does what is not done yet."""
    run_dataset_file(session, config_file)


def run_dataset_file(session: Session, config_file: str, *, choice: TaskChoice | None = None) -> None:
    """Run a dataset file, or the chosen ones of its tasks; shows the report, and ends with its exit status."""
    from datalake_service.engines.choose import engine_of
    from datalake_service.pipeline.runs.run import create_dataset
    from datalake_service.runtime.telemetry import observed

    config = load_available(config_file)
    settings = session.settings(file_uri=lake_of(config))
    with RunLine(shown=session.output.errors_to_terminal) as line:
        observer = observed(line.show)
        report = create_dataset(config, settings=settings, engine=engine_of(config), choice=choice, observer=observer)
    end_with(session, config, report)


def load_available(config_file: str) -> DatasetConfig:
    """Read a dataset file, all of which can be done here.

    Raises:
        ConfigError: What is wrong with it.
    """
    from datalake_service.config.available import check_available
    from datalake_service.config.load import load_dataset_file

    config = load_dataset_file(Path(config_file))
    check_available(config, name=config_file)
    return config


def end_with(session: Session, config: DatasetConfig, report: RunReport) -> None:
    """Show the report of a run, and end the command with its exit status."""
    from datalake_service.catalog.datasets import RunStatus

    session.output.show(report.to_dict(), report.lines)
    if report.status is RunStatus.STOPPED and not report.stop_requested:
        raise KeyboardInterrupt
    if not (report.succeeded or _ended_as_meant(config, report)):
        click.get_current_context().exit(1)


def _ended_as_meant(config: DatasetConfig, report: RunReport) -> bool:
    """Whether the run was stopped on request, and there is no other way for it to end."""
    from datalake_service.pipeline.runs.outputs import is_continuous

    return report.stop_requested and not report.failures and is_continuous(config)


def lake_of(config: DatasetConfig) -> str | None:
    """The lake, if the dataset file names it."""
    from datalake_service.config.write import DatalakeWriteConnector

    connector = config.write_connector
    return connector.uri if isinstance(connector, DatalakeWriteConnector) else None
