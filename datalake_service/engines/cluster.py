"""What engines on clusters have in common: is the library there, does somebody answer at the address."""

from __future__ import annotations

import importlib.util
import socket

from datalake_service.errors import UsageError


def require_installed(module: str, *, engine: str, extra: str) -> None:
    """Refuse to go on without a library.

    Raises:
        UsageError: It is not installed; the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise UsageError(f"computeEngineType {engine} needs {module}: pip install 'datalake[{extra}]'")


def require_answer(address: str, *, engine: str, key: str, default_port: int, seconds: float) -> None:
    """Refuse an address at which nobody listens; ``address`` is ``host``, ``host:port`` or ``scheme://host:port/...``.

    The libraries themselves try again for minutes.

    Raises:
        UsageError: Nobody answers in time.
    """
    rest = address.partition("://")[2] or address
    failures = []
    for place in rest.split("/")[0].split(";")[0].split(","):  # a standby master may be named after a comma
        host, _, port = place.partition(":")
        try:
            with socket.create_connection((host, int(port or default_port)), timeout=seconds):
                return
        except (OSError, ValueError) as error:
            failures.append(f"{place}: {error}")
    raise UsageError(
        f"computeEngine.{key}: no {engine} answers at {address} within {seconds:g} s ({'; '.join(failures)});"
        " start it, or correct the address"
    )
