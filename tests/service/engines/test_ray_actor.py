from __future__ import annotations

from pathlib import Path

from datalake_service.catalog.tasks import TaskStatus
from datalake_service.engines.messages import Ended, Leave, Run
from datalake_service.engines.parcels import code_of, origin, pack
from datalake_service.engines.ray_actor import TaskActor
from datalake_service.storage import FolderStore
from tests.support.tasks import generator_job, write_module

ROWS = """
class Rows(Generator):
    def generate(self):
        yield {"n": 1}
"""


def test_messages_that_overtake_each_other(tmp_path: Path) -> None:
    """They are heard in the order in which they were sent: a worker that left before would run nothing."""
    job = generator_job(FolderStore(tmp_path / "lake", durable=False), write_module(tmp_path / "code", ROWS))
    actor = TaskActor(origin(), code_of([job]))
    actor.send(1, Leave())
    actor.send(0, Run(pack(job)))
    heard = actor.receive()
    assert [news.result.status for news in heard if isinstance(news, Ended)] == [TaskStatus.COMPLETED]
