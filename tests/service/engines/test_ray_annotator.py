from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datalake_interfaces import HandlerContext
from datalake_service.config.compute import ActorResources
from datalake_service.engines.ray_annotator import Actors
from datalake_service.engines.ray_annotator_actor import Answer, Facts
from datalake_service.pipeline.runs.annotators import AnnotatorWork
from datalake_service.storage import FolderStore
from tests.engines.lakes import annotator, project


class LostError(Exception):
    """What Ray raises for an actor that is gone."""


class Method:
    """A method of an actor."""

    def __init__(self, answer: Callable[[object], Awaitable[Answer]]) -> None:
        self._answer = answer

    def remote(self, argument: object = None) -> Awaitable[Answer]:
        """Call it."""
        return self._answer(argument)


class Actor:
    """Answers, until it is lost; one that has no machine yet answers nothing."""

    def __init__(self, name: str, *, has_machine: bool = True) -> None:
        self.name = name
        self.lost = False
        self._machine = asyncio.Event()
        if has_machine:
            self._machine.set()
        self.open = self.close = self.annotate = Method(self._do)
        self.facts = SimpleNamespace(remote=Facts)

    async def _do(self, _argument: object) -> Answer:
        await self._machine.wait()
        if self.lost:
            raise LostError
        return Answer(self.name)


class Cluster:
    """Two machines, and no third one."""

    def __init__(self) -> None:
        self.actors: list[Actor] = []

    def connect(self) -> object:
        """The library, as far as it is used."""
        return SimpleNamespace(
            exceptions=SimpleNamespace(RayError=LostError), get=lambda found: found, kill=lambda _: None
        )

    def actor(self, *_arguments: object, **_options: object) -> Actor:
        """The third one waits for a machine."""
        self.actors.append(Actor(str(len(self.actors)), has_machine=len(self.actors) < 2))
        return self.actors[-1]


@pytest.fixture
def work(tmp_path: Path) -> AnnotatorWork:
    """An annotator in two actors."""
    config = project(tmp_path / "code", annotators=[annotator()])
    return AnnotatorWork(FolderStore(tmp_path / "lake", durable=False), config, config.annotators[0])


def test_who_waits_for_a_machine_keeps_nobody(work: AnnotatorWork) -> None:
    """One of two actors is lost, and there is no machine for another one: the one that is left does the rest."""

    async def asked() -> list[object]:
        cluster: Any = Cluster()
        actors = Actors(cluster, work, ActorResources(actors=2), code=None)
        actors.start()
        await actors.open(HandlerContext())
        cluster.actors[0].lost = True
        answers = await asyncio.gather(*(actors.call("annotate", None) for _ in range(20)))
        await actors.close()
        return [answer.result() for answer in answers]

    assert asyncio.run(asyncio.wait_for(asked(), 30)) == ["1"] * 20
