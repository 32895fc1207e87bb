"""``datalake viewer``: look at a lake in the browser."""

from __future__ import annotations

import sys

import click

from datalake_service.cli.session import Session, common_options


@click.command("viewer")
@click.option("--root", metavar="URI", help="The lake; the same as --uri.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen. Elsewhere: with a token only.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8765, show_default=True, help="0: any that is free.")
@click.option(
    "--token", metavar="TEXT", help="What visitors must show. Default: DATALAKE_VIEWER_TOKEN, else one is made."
)
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="Another name of this machine; repeat.")
@click.option("--open/--no-open", "open_browser", default=None, help="Open a browser. Default: on a terminal.")
@common_options
def viewer_command(
    session: Session,
    *,
    root: str | None,
    host: str,
    port: int,
    token: str | None,
    names: tuple[str, ...],
    open_browser: bool | None,
) -> None:
    """Look at a lake in the browser, while it grows. It only reads."""
    from datalake_service.runtime.viewer import open_file_limit, viewer_token
    from datalake_service.viewer.serving import Listening, serve

    if root is not None:
        session.uri = root
    open_file_limit()
    opens = session.output.to_terminal if open_browser is None else open_browser

    def ready(address: str) -> None:
        session.output.show({"address": address}, lambda: [f"the viewer is at {address}", "end it with Ctrl+C"])
        sys.stdout.flush()
        if opens:
            import webbrowser

            webbrowser.open(address)

    serve(
        session.open_lake(),
        Listening(host=host, port=port, token=viewer_token() if token is None else token, names=names),
        ready=ready,
    )
