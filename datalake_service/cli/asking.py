"""A question before something that cannot simply be done again."""

from __future__ import annotations

import sys

import click


def confirm(question: str, *, before: str, refused: str) -> None:
    """Ask a person; without one, ask for ``--yes``. ``before`` and ``refused`` complete the messages.

    Raises:
        click.UsageError: Nobody can answer, or the answer was no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError(f"this asks before it {before}, and nobody can answer here; give --yes")
    if not click.confirm(question, default=False, err=True):
        raise click.UsageError(refused)
