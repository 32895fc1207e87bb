"""``datalake locks``: what is held by whom, and taking a lock away from a dead owner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from datalake_service import events
from datalake_service.cli.asking import confirm
from datalake_service.cli.output import table
from datalake_service.cli.session import Session, common_options, dataset_option
from datalake_utils.printable import printable

if TYPE_CHECKING:
    from datalake_service.catalog.locks import Lock

_SHOWN = 3
"""Batches or tasks that are named; the others are counted."""
_SHORT = 8
"""Characters of a worker's name that are shown."""


@click.group("locks")
def locks_group() -> None:
    """Look at the locks of annotators and of tasks, and break one."""


@locks_group.command("list")
@click.option("--datasetName", "--dataset-name", "dataset", metavar="NAME", help="Only this dataset.")
@common_options
def list_command(session: Session, dataset: str | None) -> None:
    """List the locks that are held, or were not given back: owner, host, process, age, expiry."""
    from datalake_service.catalog.locks import find_locks
    from datalake_service.pipeline.upkeep.lifecycle import named_datasets

    store = session.open_lake()
    found = [lock for name in named_datasets(store, dataset) for lock in find_locks(store, name)]
    session.output.show({"uri": store.uri, "locks": [lock.to_dict() for lock in found]}, lambda: _lines(found))


@locks_group.command("break")
@dataset_option
@click.option("--annotator", metavar="NAME", help="The annotator whose lock it is. Default: a lock of the tasks.")
@click.option("--worker", metavar="NAME", help="Of the workers that share them, the one whose name begins so.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def break_command(session: Session, dataset: str, annotator: str | None, worker: str | None, *, yes: bool) -> None:
    """Give a lock back in its owner's place. Its owner, if it is alive, stops at its next renewal."""
    from datalake_service.catalog.locks import break_lock, find_locks_of, find_task_locks
    from datalake_service.config.names import check_name
    from datalake_service.pipeline.upkeep.lifecycle import require_dataset

    store = session.open_lake()
    require_dataset(store, dataset)
    if annotator is None:
        lock = _chosen(find_task_locks(store, dataset), f"tasks of {dataset}", worker)
    else:
        check_name(annotator, what="annotator")
        lock = _chosen(find_locks_of(store, dataset, annotator), f"annotator {annotator!r} of {dataset}", worker)
    if not yes:
        question = f"{printable(_in_words(lock))}\n{printable(_consequence(lock))}\nBreak this lock?"
        confirm(question, before="breaks a lock", refused="the lock was not broken")
    break_lock(store, lock)
    events.emit(events.ANNOTATION_LEASE_BROKEN, **lock.to_dict())
    whose = f"{dataset}, {lock.locked_for}" if annotator is None else f"{dataset}/{annotator}"
    told = [f"broke the lock of {whose}: {_in_words(lock)}", _consequence(lock)]
    session.output.show({**lock.to_dict(), "broken": True}, lambda: told)


def _chosen(locks: Sequence[Lock], what: str, worker: str | None) -> Lock:
    from datalake_service.errors import UsageError

    found = [lock for lock in locks if worker is None or (lock.worker or "").startswith(worker)]
    if not locks:
        raise UsageError(f"{what}: nothing is locked; see: datalake locks list")
    if len(found) != 1:
        names = ", ".join(_short(lock) for lock in locks)
        raise UsageError(f"{what}: worked on by {names}; say with --worker whose lock, by the beginning of its name")
    return found[0]


def _lines(locks: Sequence[Lock]) -> Iterable[str]:
    if not locks:
        return ["no locks"]
    lines = table(
        ("DATASET", "FOR", "WORKER", "HAS", "STATUS", "OWNER", "HOST", "PROCESS", "RENEWED", "EXPIRES"),
        [
            (
                lock.dataset,
                str(lock.locked_for) if lock.annotator is None else f"{lock.locked_for} {lock.annotator}",
                _short(lock),
                "all" if lock.worker is None else _few(lock.claims),
                str(lock.status),
                None if lock.record is None else lock.record.owner,
                None if lock.record is None else lock.record.host,
                None if lock.record is None else str(lock.record.pid),
                f"{_duration((lock.store_now - lock.written_at).total_seconds())} ago",
                _expiry(lock),
            )
            for lock in locks
        ],
    )
    return [*lines, *(lock.error for lock in locks if lock.error is not None)]


def _short(lock: Lock) -> str:
    """Enough of a worker's name to tell it from others."""
    return "one alone" if lock.worker is None else lock.worker[:_SHORT]


def _what(lock: Lock) -> str:
    return "batches" if lock.annotator is not None else "tasks"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) or "none"
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _in_words(lock: Lock) -> str:
    if lock.record is None:
        return lock.error or ""
    age = _duration((lock.store_now - lock.written_at).total_seconds())
    has = "" if lock.worker is None else f", {_what(lock)}: {_few(lock.claims)}"
    return f"held by {lock.record.in_words()}, renewed {age} ago, expires {_expiry(lock)}{has}"


def _expiry(lock: Lock) -> str | None:
    if lock.record is None:
        return None
    seconds = lock.expires_in.total_seconds()
    return f"in {_duration(seconds)}" if seconds >= 0 else f"{_duration(-seconds)} ago"


def _consequence(lock: Lock) -> str:
    twice = "rows may be asked twice" if lock.annotator is not None else "the same may be read or merged twice"
    if lock.record is None:
        return f"if somebody works with it after all, {twice}; nothing that was stored is lost"
    if lock.expires_in.total_seconds() < 0:
        return "it had expired: the next worker would have taken it anyway"
    learns = _duration(lock.renewal_in.total_seconds())
    free = "" if lock.worker is None else f"its {_what(lock)} are free at once; "
    return (
        f"{free}if its owner is alive, it notices at its next renewal (within {learns}) and stops with LeaseLostError; "
        f"until then {twice}, and nothing that was stored is lost"
    )


def _duration(seconds: float) -> str:
    from datalake_utils.units import format_duration

    return format_duration(max(seconds, 0.0))
