"""One actor that runs tasks, as the scheduler of this machine sees it."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any, Final

from datalake_service.engines.code import Code
from datalake_service.engines.messages import FromParent, FromWorker
from datalake_service.engines.parcels import origin
from datalake_service.engines.ray_actor import TaskActor
from datalake_service.engines.ray_cluster import RayCluster, missing_project, told
from datalake_service.engines.scheduler import WorkerDiedError
from datalake_service.errors import UsageError

_THREADS: Final = 4
"""Of the actor: nobody who waits for news keeps out what is sent. (Groups of threads are unknown to ``ray://``.)"""


class RayWorker:
    """An actor of its own; see ``scheduler.Worker``."""

    def __init__(self, cluster: RayCluster, *, code: object, needs: dict[str, Any]) -> None:
        """Ask for one; ``code`` is a reference to a ``Code``. Messages wait until it is there."""
        self._ray = cluster.connect()
        self._actor = cluster.actor(TaskActor, origin(), code, needs=needs | {"max_concurrency": _THREADS})
        self._sent = count()
        self._hello: Any = self._actor.name.remote()
        self._news: deque[FromWorker] = deque()
        self._name = ""

    @property
    def name(self) -> str:
        """How it calls itself in the tasks that it has; empty before it has said so."""
        return self._name

    def send(self, message: FromParent) -> None:
        """Send a message. That the actor is dead shows in ``receive``."""
        self._actor.send.remote(next(self._sent), message)

    def receive(self) -> FromWorker:
        """Block for the next message.

        Raises:
            WorkerDiedError: There will be none.
            UsageError: There cannot be such an actor.
        """
        if self._hello is not None:
            self._name = self._get(self._hello)
            self._hello = None
        while not self._news:
            self._news.extend(self._get(self._actor.receive.remote()))
        return self._news.popleft()

    def kill(self) -> None:
        """End the actor's process at once."""
        self._ray.kill(self._actor)

    def close(self) -> None:
        """End the actor: it has no task any more, or it is dead."""
        self._ray.kill(self._actor)

    def _get(self, reference: object) -> Any:  # noqa: ANN401 - whatever the actor's method returns
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            raise WorkerDiedError(f"the actor failed: {told(error)}") from error
        except RayError as error:
            text = str(error)
            if "UsageError" in text:  # raised by the actor's constructor
                raise UsageError(text.partition("UsageError:")[2].splitlines()[0].strip()) from error
            if (missing := missing_project(text)) is not None:
                raise missing from error
            raise WorkerDiedError(f"the actor died: {told(error)}", lost=_is_lost(error)) from error


def _is_lost(error: BaseException) -> bool:
    """Whether the machine is gone, or was taken away, rather than the process: no task is to blame."""
    text = str(error).lower()
    return bool(getattr(error, "preempted", False)) or "node died" in text or "node was terminated" in text


def put_code(cluster: RayCluster, code: Code) -> object:
    """Put the user's code where all actors can fetch it, once."""
    return cluster.connect().put(code)
