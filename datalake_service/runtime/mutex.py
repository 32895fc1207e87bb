"""The process of the mutex server: its token, its signals, its two log lines."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta

from datalake_service.config.settings import MUTEX_TOKEN, read_variables
from datalake_service.errors import ConfigError
from datalake_service.events import MUTEX_STARTED, MUTEX_STOPPED, emit
from datalake_service.mutex.server import MutexServer
from datalake_utils.clock import SystemClock

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve_mutex(
    host: str,
    port: int,
    *,
    quiet: timedelta | None = None,
    on_ready: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
) -> None:
    """Run the server until this process is interrupted or asked to terminate; call it from the main thread.

    Args:
        host: The address to listen to; anything but a loopback address needs a token in the environment.
        port: 0 for any that is free.
        quiet: How long nothing is granted, if not as long as a grant of an earlier server may last.
        on_ready: Called with the base URL once clients can connect.
        environ: Variables; default: those of this process.

    Raises:
        ConfigError: The address needs a token, and there is none.
        UsageError: The address cannot be listened to.
    """
    token = read_variables(os.environ if environ is None else environ).get(MUTEX_TOKEN)
    if token is None and not _is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines: set {MUTEX_TOKEN} to a long random text, here and for all"
            " clients, or listen to 127.0.0.1"
        )
    asyncio.run(_serve(MutexServer(host=host, port=port, token=token, quiet=quiet), on_ready))


async def _serve(server: MutexServer, on_ready: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopped.set)
    clock = SystemClock()
    started = clock.monotonic()
    try:
        async with server.listening() as url:
            emit(MUTEX_STARTED, url=url)
            on_ready(url)
            await stopped.wait()
        emit(MUTEX_STOPPED, url=url, seconds=round(clock.monotonic() - started, 3))
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
