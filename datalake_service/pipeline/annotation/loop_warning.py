"""The warning that a function blocks the event loop of an annotation run."""

from __future__ import annotations

import dataclasses
import logging

from datalake_service.annotating.blocked_loop import Blocked, LoopWatch
from datalake_service.events import ANNOTATION_LOOP_BLOCKED, emit
from datalake_service.pipeline.annotation.job import AnnotationJob
from datalake_utils.clock import Clock


def watch_loop(job: AnnotationJob, clock: Clock) -> LoopWatch:
    """A watch over the event loop of this thread, which tells an event for each function that blocks it."""

    def tell(blocked: Blocked) -> None:
        names = {"dataset": job.dataset, "annotator": job.annotator}
        emit(ANNOTATION_LOOP_BLOCKED, level=logging.WARNING, **names, **dataclasses.asdict(blocked))

    return LoopWatch(tell, monotonic=clock.monotonic)
