"""``datalake mutex``: the server of the short lock."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Final

import click

from datalake_service.cli.session import Session, common_options

DEFAULT_PORT: Final = 8790
"""Where the server listens unless told otherwise."""


@click.group("mutex")
def mutex_group() -> None:
    """Serve short locks, for stores that ignore conditional writes."""


@mutex_group.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen to.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0: any that is free."
)
@click.option(
    "--noWait",
    "--no-wait",
    "no_wait",
    is_flag=True,
    help="Grant locks at once; only safe if no server for the same clients stopped within the last minute.",
)
@common_options
def serve_command(session: Session, host: str, port: int, *, no_wait: bool) -> None:
    """Serve locks until interrupted. The address is printed; WSS_MUTEX_TOKEN is what clients have to show."""
    from datalake_service.mutex.protocol import LONGEST_TTL
    from datalake_service.runtime.mutex import serve_mutex

    quiet = timedelta(0) if no_wait else None
    wait = 0.0 if no_wait else LONGEST_TTL.total_seconds()

    def on_ready(url: str) -> None:
        session.output.show({"url": url, "grantsInSeconds": wait}, lambda: _lines(url, wait))
        sys.stdout.flush()

    serve_mutex(host, port, quiet=quiet, on_ready=on_ready)


def _lines(url: str, wait: float) -> list[str]:
    lines = [f"serving locks at {url}"]
    if wait:
        lines.append(f"nothing is granted for {wait:.0f} s: locks of an earlier server may still be held (--noWait)")
    return lines
