"""One connection to Ray: found or started at first use, and what it raises in our words."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from datalake_service.config.compute import RayEngine as Settings
from datalake_service.engines.cluster import require_answer, require_installed
from datalake_service.engines.local import cores
from datalake_service.errors import UsageError

if TYPE_CHECKING:
    from ray.actor import ActorHandle

_MEGABYTE: Final = 1 << 20
_OBJECTS: Final = 200 * _MEGABYTE
"""What a Ray that we start keeps for objects; results of tasks are small."""
_NAMESPACE: Final = "datalake"


class RayCluster:
    """The Ray of one engine. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._lock = threading.Lock()
        self._ours = False

    def connect(self) -> ModuleType:
        """Return the module ``ray``, connected.

        Raises:
            UsageError: It is not installed, nobody answers, or versions do not fit.
        """
        require_installed("ray", engine="RAY", extra="ray")
        import ray

        with self._lock:
            if not ray.is_initialized():
                self._start(ray)
                self._ours = True
        module: ModuleType = ray
        return module

    def close(self) -> None:
        """Part with the cluster, and end it if it was started for us."""
        with self._lock:
            if self._ours:
                import ray

                ray.shutdown()
                self._ours = False

    def actor(self, of: type, *arguments: object, needs: dict[str, Any]) -> ActorHandle:
        """Ask for an actor; it is made when there is room for it."""
        return self.connect().remote(max_restarts=0, **needs)(of).remote(*arguments)

    def slots(self, needs: dict[str, Any]) -> int:
        """How many actors there is room for, now."""
        ray = self.connect()
        have = ray.cluster_resources()
        wanted = {"CPU": needs.get("num_cpus"), "GPU": needs.get("num_gpus"), "memory": needs.get("memory")}
        room = [int(have.get(name, 0) // amount) for name, amount in wanted.items() if amount]
        return max(1, min(room, default=1))

    def _start(self, ray: ModuleType) -> None:
        address = self._settings.address
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": _NAMESPACE}
        if address is None:
            processors = self._settings.concurrency or cores()
            options |= {"num_cpus": processors, "include_dashboard": False, "object_store_memory": _OBJECTS}
            options |= {"address": "local", "_node_ip_address": "127.0.0.1"}
        else:
            if address != "auto":
                port, seconds = (10_001 if "://" in address else 6_379), self._settings.connect_timeout_in_seconds
                require_answer(address, engine="Ray", key="address", default_port=port, seconds=seconds)
            options["address"] = address
        try:
            with _our_signals(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                ray.init(**options)
        except Exception as error:  # Ray raises that very class, too
            raise _not_reached(error, address) from error


def _not_reached(error: BaseException, address: str | None) -> UsageError:
    reason = told(error)
    if address is None:
        return UsageError(f"computeEngine: Ray cannot be started on this machine: {reason}")
    if "timeout" in reason or "Failed to connect" in reason:  # it does not tell that a token is missing
        reason += "; a Ray that asks for a token needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here, too"
    return UsageError(f"computeEngine.address: Ray at {address}: {reason}")


def needs_of(*, cpus: float, gpus: float, megabytes: int | None) -> dict[str, Any]:
    """Resources as Ray calls them."""
    needs: dict[str, Any] = {"num_cpus": cpus}
    if gpus:
        needs["num_gpus"] = gpus
    if megabytes:
        needs["memory"] = megabytes * _MEGABYTE
    return needs


def told(error: BaseException) -> str:
    """An error of Ray on one line, without what only its developers need."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("class_name:", "actor_id:", "namespace:", "pid:"))]
    return " ".join(" ".join(kept).split())[:500] or type(error).__name__


def missing_project(text: str) -> UsageError | None:
    """What to tell if workers lack this project."""
    for name in ("datalake_service", "datalake_interfaces", "datalake_utils"):
        if f"No module named '{name}" in text:
            return UsageError("the workers do not have datalake: install it on every machine of the cluster")
    return None


@contextmanager
def _our_signals() -> Iterator[None]:
    """Keep our reaction to a request to terminate: Ray sets one of its own, which ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: dict[int, Callable[..., Any] | int | None] = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            with contextlib.suppress(TypeError, ValueError):
                signal.signal(number, handler)
