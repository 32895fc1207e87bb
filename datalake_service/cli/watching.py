"""``datalake tasks list --watch``: the tasks of a dataset as they change, until none is left to be run."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from datalake_service.cli.output import Output, print_line
from datalake_utils.clock import Clock
from datalake_utils.printable import printable

if TYPE_CHECKING:
    from datalake_service.catalog.task_changes import TaskChanges
    from datalake_service.catalog.tasks import TaskState

LOOK_SECONDS: Final = 2.0
"""How often the lake is looked at: a listing, and a request for each task that changed."""
_REDRAW: Final = "\x1b[H\x1b[2J"
"""Upper left corner, and an empty screen."""
_HEAD: Final = 4
"""Lines that are no tasks."""

ToDict = Callable[["TaskState", datetime], dict[str, Any]]
ToLines = Callable[[Sequence["TaskState"], datetime], Sequence[str]]


def watch_tasks(
    changes: TaskChanges, dataset: str, output: Output, *, to_dict: ToDict, to_lines: ToLines, clock: Clock
) -> bool:
    """Show tasks until none is created or running; returns whether none has failed.

    On a terminal the screen is drawn anew after each look; in a pipe each change is a line of JSON, and the last line
    sums up.
    """
    while True:
        news = changes.look()
        now = clock.now()
        by_status = Counter(str(state.status) for state in changes.states.values())
        ended = not (by_status["CREATED"] or by_status["RUNNING"])
        if output.for_people:
            print_line("\n".join(_screen(dataset, changes, by_status, now, to_lines)))
        else:
            for state in news.values():
                print_line(output.json({"datasetName": dataset, **to_dict(state, now)}))
        if ended:
            if not output.for_people:
                print_line(
                    output.json({"datasetName": dataset, "ended": True, "tasks": dict(sorted(by_status.items()))})
                )
            return not by_status["FAILED"]
        clock.sleep(LOOK_SECONDS)


def _screen(dataset: str, changes: TaskChanges, by_status: Counter[str], now: datetime, to_lines: ToLines) -> list[str]:
    """What is going on, as much of it as the terminal shows: what runs and what failed before the rest."""
    order = {"RUNNING": 0, "FAILED": 1, "STOPPED": 2, "CREATED": 3, "COMPLETED": 4}
    states = sorted(changes.states.values(), key=lambda state: (order[str(state.status)], state.id))
    size = shutil.get_terminal_size()
    room = max(size.lines - _HEAD, 1)
    words = ", ".join(f"{count:,} {status.lower()}" for status, count in sorted(by_status.items()))
    records = sum(state.counts.records for state in states)
    head = f"{dataset}  {words or 'no tasks'}  {records:,} records  {now:%H:%M:%S} UTC"
    lines = [printable(head), "", *to_lines(states[: room - 1], now)]
    if len(states) > room - 1:
        lines.append(f"... and {len(states) - room + 1:,} more")
    shown = [line[: size.columns] for line in lines]
    return [_REDRAW + shown[0], *shown[1:]]
