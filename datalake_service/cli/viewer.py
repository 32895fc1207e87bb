"""``datalake viewer``: look at a lake in the browser."""

from __future__ import annotations

import click

from datalake_service.cli.session import Session, common_options


@click.command("viewer")
@click.option("--root", metavar="URI", help="The lake; the same as --uri.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, help="0: any that is free.")
@click.option("--token", metavar="TEXT", help="What visitors must show. Default: DATALAKE_VIEWER_TOKEN.")
@click.option("--open/--no-open", "open_browser", default=None, help="Open a browser. Default: on a terminal.")
@common_options
def viewer_command(
    session: Session, *, root: str | None, host: str, port: int, token: str | None, open_browser: bool | None
) -> None:
    """Look at a lake in the browser, while it grows."""
    from datalake_service.viewer.serving import serve

    if root is not None:
        session.uri = root
    serve(session.open_lake(), host=host, port=port, token=token, open_browser=bool(open_browser), say=click.echo)
