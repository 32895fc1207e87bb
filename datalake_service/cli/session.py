"""What every command shares: its common options, where the lake is, how it answers, when it is interrupted."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from datalake_service import events
from datalake_service.cli.output import Output

if TYPE_CHECKING:
    from datalake_service.config.settings import Settings
    from datalake_service.storage.base import ObjectStore

LEVELS: Final = ("debug", "info", "warning", "error")
"""Levels of log events, from chatty to quiet."""


class InterruptedCommandError(Exception):
    """A command was interrupted. ``main.py`` says so; click would print an empty line and forget what it was."""


class NobodyReadsError(Exception):
    """The reader of the answer went away. ``main.py`` ends quietly; click would end with a status of its own."""


@dataclass(slots=True)
class Session:
    """One run of one command."""

    uri: str | None = None
    """The lake, if the command line names it."""
    endpoint_url: str | None = None
    """The server of an S3-compatible store, if the command line names it."""
    output: Output = field(default_factory=Output)
    """Where the answer goes."""

    def settings(self, *, file_uri: str | None = None) -> Settings:
        """Where the lake is: the command line, else ``file_uri`` (of a dataset file), else the environment.

        Raises:
            ConfigError: What they say cannot work.
        """
        from datalake_service.config.settings import Settings

        return Settings.load(uri=self.uri or file_uri, endpoint_url=self.endpoint_url)

    def open_lake(self, *, file_uri: str | None = None, region: str | None = None) -> ObjectStore:
        """Open the lake.

        Raises:
            ConfigError: The settings or the address cannot work.
        """
        from datalake_service.runtime.lake import open_lake

        return open_lake(self.settings(file_uri=file_uri), region=region)

    def open_store(self, uri: str) -> ObjectStore:
        """Open another store, with the credentials of the lake.

        Raises:
            ConfigError: The settings or the address cannot work.
        """
        from datalake_service.storage.open import open_store

        return open_store(uri, **self.settings().store_options())


def common_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and a ``Session`` made of them as its first argument."""

    @functools.wraps(function)
    def run(
        *,
        uri: str | None,
        endpoint_url: str | None,
        pretty_print: bool,
        log_json: bool,
        log_level: str | None,
        debug: bool,
        **arguments: object,
    ) -> None:
        del debug  # main.py looks for it, because much can go wrong before options are read
        _prepare_process(log_json=log_json, log_level=log_level)
        events.emit(events.COMMAND_STARTED, command=click.get_current_context().command_path)
        output = Output(pretty=pretty_print, to_terminal=sys.stdout.isatty(), errors_to_terminal=sys.stderr.isatty())
        try:
            function(Session(uri, endpoint_url, output), **arguments)
        except KeyboardInterrupt as error:
            raise InterruptedCommandError from error
        except BrokenPipeError as error:
            raise NobodyReadsError from error

    command: Callable[..., None] = run
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def config_file_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The dataset file."""
    return click.option(
        "--configFile", "--config-file", "config_file", required=True, metavar="FILE", help="The dataset file (JSON)."
    )(function)


def dataset_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The name of an existing dataset."""
    return click.option(
        "--datasetName", "--dataset-name", "dataset", required=True, metavar="NAME", help="Name of the dataset."
    )(function)


_OPTIONS: Final = (
    click.option(
        "--uri",
        metavar="URI",
        help="The lake: s3://bucket/prefix, or a folder. Default: the dataset file's, the environment's, or ./lake.",
    ),
    click.option(
        "--endpointUrl", "--endpoint-url", "endpoint_url", metavar="URL", help="Server of an S3-compatible store."
    ),
    click.option("--prettyPrint", "--pretty-print", "pretty_print", is_flag=True, help="Answer with indented JSON."),
    click.option("--log-json", "log_json", is_flag=True, help="Log events to standard error as JSON, one a line."),
    click.option(
        "--log-level",
        "log_level",
        type=click.Choice(LEVELS, case_sensitive=False),
        help="Log events of this level and above. Default: warning.",
    ),
    click.option("--debug", is_flag=True, help="Show tracebacks."),
)


def _prepare_process(*, log_json: bool, log_level: str | None) -> None:
    from datalake_service.runtime.environment import add_env_file
    from datalake_service.runtime.logs import log_settings, set_up_logging
    from datalake_service.runtime.telemetry import set_up_telemetry

    add_env_file()
    set_up_logging(log_settings(json=log_json, level=log_level))
    set_up_telemetry()
