"""``datalake worker``: run a dataset file together with everybody else who was started the same way."""

from __future__ import annotations

from pathlib import Path

import click

from datalake_service.cli.create import ended_as_meant, lake_of
from datalake_service.cli.progress import RunLine
from datalake_service.cli.session import Session, common_options


@click.command("worker")
@click.option(
    "--configFile", "--config-file", "config_file", required=True, metavar="FILE", help="The dataset file (JSON)."
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks worked on at once, each in a process. Default: the file's, or one for each core.",
)
@click.option(
    "--leaseSeconds",
    "--lease-seconds",
    "lease_seconds",
    type=click.IntRange(min=5, max=3600),
    default=60,
    show_default=True,
    metavar="N",
    help="When others take over the tasks of a worker whose machine is gone.",
)
@common_options
def worker_command(session: Session, config_file: str, *, concurrency: int | None, lease_seconds: int) -> None:
    """Run a dataset file as one of any number of workers: start it as often as you like, on as many machines.

    They share its tasks and its annotators, and take over what one of them leaves that died. Each answers with the
    report of the whole when there is nothing left to do.
    """
    from datalake_service.catalog.datasets import RunStatus
    from datalake_service.config.available import check_available
    from datalake_service.config.load import load_dataset_file
    from datalake_service.engines.local import LocalEngine
    from datalake_service.pipeline.worker import work_on_dataset
    from datalake_service.runtime.telemetry import observed

    config = load_dataset_file(Path(config_file))
    check_available(config, name=config_file)
    settings = session.settings(file_uri=lake_of(config))
    engine = LocalEngine(concurrency=concurrency or getattr(config.compute_engine, "concurrency", None))
    with RunLine(shown=session.output.errors_to_terminal) as line:
        report = work_on_dataset(
            config, settings=settings, engine=engine, lease_seconds=lease_seconds, observer=observed(line.show)
        )
    session.output.show(report.to_dict(), report.lines)
    if report.status is RunStatus.STOPPED and not report.stop_requested:
        raise KeyboardInterrupt
    if not (report.succeeded or ended_as_meant(config, report)):
        click.get_current_context().exit(1)
