"""``datalake worker``: run a dataset file together with everybody else who was started the same way."""

from __future__ import annotations

import click

from datalake_service.cli.create import end_with, lake_of, load_available
from datalake_service.cli.progress import RunLine
from datalake_service.cli.session import Session, common_options, config_file_option


@click.command("worker")
@config_file_option
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
    from datalake_service.engines.local import LocalEngine
    from datalake_service.pipeline.workers.worker import work_on_dataset
    from datalake_service.runtime.telemetry import observed

    config = load_available(config_file)
    settings = session.settings(file_uri=lake_of(config))
    engine = LocalEngine(concurrency=concurrency or getattr(config.compute_engine, "concurrency", None))
    with RunLine(shown=session.output.errors_to_terminal) as line:
        report = work_on_dataset(
            config, settings=settings, engine=engine, lease_seconds=lease_seconds, observer=observed(line.show)
        )
    end_with(session, config, report)
