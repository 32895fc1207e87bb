"""The worker of the RAY engine as it is on its machine: an actor that runs tasks, one after the other."""

from __future__ import annotations

import threading
from functools import partial
from queue import Empty, SimpleQueue

from datalake_service.engines.code import Code
from datalake_service.engines.loop import TaskLoop
from datalake_service.engines.messages import FromParent, FromWorker
from datalake_service.engines.parcels import Origin, check_origin, open_parcel
from datalake_service.pipeline.tasks.task import worker_name

RECEIVE_SECONDS = 30.0
"""After so long without news ``receive`` answers that there are none: a call that never ends cannot be told from a
lost one."""


class TaskActor:
    """Takes messages by one method and gives them by another. The class knows nothing of Ray."""

    def __init__(self, sender: Origin, code: Code) -> None:
        """Start to wait for tasks.

        Raises:
            UsageError: This worker cannot run them.
        """
        check_origin(sender)
        self._guard = threading.Lock()
        self._early: dict[int, FromParent] = {}
        self._next = 0
        self._news: SimpleQueue[FromWorker] = SimpleQueue()
        self._loop = TaskLoop(self._news.put, unpack=partial(open_parcel, code=code))
        threading.Thread(target=self._loop.run, daemon=True, name="tasks").start()

    def name(self) -> str:
        """How it calls itself in the tasks that it has."""
        return worker_name()

    def send(self, number: int, message: FromParent) -> None:
        """Take a message. Calls may overtake each other; messages are heard in the order of their numbers, from 0."""
        with self._guard:
            self._early[number] = message
            while self._next in self._early:
                self._loop.hear(self._early.pop(self._next))
                self._next += 1

    def receive(self) -> list[FromWorker]:
        """What has happened since the last call; waits until there is something."""
        found: list[FromWorker] = []
        try:
            found.append(self._news.get(timeout=RECEIVE_SECONDS))
            while True:
                found.append(self._news.get_nowait())
        except Empty:
            return found
