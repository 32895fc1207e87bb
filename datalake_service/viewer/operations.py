"""What works, what is held, what went wrong. Read from records; nothing is written, not even to ask for the time."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.leases import LeaseRecord, grace
from datalake_service.catalog.manifests import RunManifest, format_time
from datalake_service.catalog.rejections import Rejection
from datalake_service.chunks.reader import read_lines
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.pipeline.live.look import DatasetLook
from datalake_service.pipeline.live.overview import tasks_of
from datalake_service.storage.base import ObjectMeta
from datalake_service.viewer.cells import CellWriter, text
from datalake_service.viewer.problems import QueryError
from datalake_service.viewer.queries import RejectionsQuery

MAX_SHOWN_BYTES: Final = 64 << 10
"""Of the bytes of a rejection."""
MAX_COUNTED_BYTES: Final = 64 << 20
"""Of rejection files that are read to count reasons; the answer says if there are more."""
_MAX_REASON: Final = 120
_MAX_TASKS: Final = 5_000


def leases(lake: LiveLake, look: DatasetLook, now: datetime) -> list[dict[str, Any]]:
    """The leases of a dataset that were not given back."""
    found = []
    for annotator in look.annotators.values():
        if not annotator.locked:
            continue
        keys: list[tuple[str, str | None]] = [(layout.annotator_lease_key(look.name, annotator.name), None)]
        prefix = layout.worker_leases_prefix(look.name, annotator.name)
        for meta in lake.store.list(prefix):
            worker = layout.parse_worker_lease(meta.key.removeprefix(prefix))
            if worker is not None:
                keys.append((meta.key, worker))
        for key, worker in keys:
            entry = _lease(lake, key, now)
            if entry is not None:
                what = "annotator" if worker is None else "shared worker"
                found.append(
                    {
                        "key": key,
                        "what": what,
                        "dataset": look.name,
                        "annotator": annotator.name,
                        "batch": None,
                        **entry,
                    }
                )
    return found


def _lease(lake: LiveLake, key: str, now: datetime) -> dict[str, Any] | None:
    try:
        body, meta = lake.store.get(key)
        record = LeaseRecord.from_json(body, key=key)
    except ObjectNotFoundError:
        return None
    except StoreError as error:
        return {"host": None, "pid": None, "until": None, "state": "unreadable", "error": text(str(error))}
    if record.released:
        return None
    until = meta.last_modified + record.ttl + grace(record.ttl)
    state = "held" if until >= now else "expired"
    return {"host": text(record.host), "pid": record.pid, "until": format_time(until), "state": state, "error": None}


def runs(lake: LiveLake, look: DatasetLook) -> list[dict[str, Any]]:
    """Runs whose manifests are there: those that write, and those that wait for a merge."""
    found = []
    groups: list[tuple[str, str | None, list[ObjectMeta]]] = [
        (batch.name, None, batch.manifests) for batch in look.batches.values()
    ]
    groups += [("", one.name, one.manifests) for one in look.annotators.values()]
    for batch, annotator, metas in groups:
        for meta in metas:
            body = lake.read_small(meta)
            if body is None:
                continue
            try:
                manifest = RunManifest.from_json(body, key=meta.key)
            except StoreError:
                continue
            found.append(
                {
                    "dataset": look.name,
                    "run": manifest.run,
                    "batch": batch or None,
                    "annotator": annotator,
                    "kind": manifest.kind,
                    "state": "completed" if manifest.completed else "live",
                    "rows": manifest.rows,
                    "started": format_time(manifest.created_at),
                    "lastActivity": format_time(meta.last_modified),
                    "host": None,
                }
            )
    return sorted(found, key=lambda run: str(run["lastActivity"]), reverse=True)


def tasks(lake: LiveLake, look: DatasetLook) -> list[dict[str, Any]]:
    """The tasks of a dataset, those that failed or run first."""
    rank = {"FAILED": 0, "RUNNING": 1, "STOPPED": 2, "CREATED": 3, "COMPLETED": 4}
    states = sorted(tasks_of(lake, look), key=lambda task: (rank.get(str(task.status), 9), task.id))
    return [
        {
            "dataset": look.name,
            "task": text(task.id),
            "item": text(task.item),
            "batch": task.batch,
            "state": str(task.status).lower(),
            "counts": task.counts.to_dict(),
            "lastError": None if task.error is None else text(task.error),
            "seconds": None
            if task.started_at is None or task.finished_at is None
            else (task.finished_at - task.started_at).total_seconds(),
        }
        for task in states[:_MAX_TASKS]
    ]


def stops(lake: LiveLake, look: DatasetLook) -> list[dict[str, Any]]:
    """The last request to stop a dataset, and those for its tasks."""
    body = None if look.stops is None else lake.read_small(look.stops)
    if body is None or look.stops is None:
        return []
    at = format_time(look.stops.last_modified)
    try:
        document = json.loads(body)
        asked = document.get("dataset")
        found = [{"dataset": look.name, "task": None, "at": at}] if asked else []
        return found + [{"dataset": look.name, "task": text(task), "at": at} for task in document.get("tasks") or {}]
    except (AttributeError, TypeError, ValueError):
        return []


# Rejections ------------------------------------------------------------------------------------------


def rejections(lake: LiveLake, look: DatasetLook, query: RejectionsQuery) -> dict[str, Any]:
    """What could not be used: by reason, and one page of it, newest files first."""
    files = _rejection_files(look, query.batch)
    start = None if query.cursor is None else _from_cursor(query.cursor)
    reasons: Counter[str] = Counter()
    items: list[dict[str, Any]] = []
    following: list[Any] | None = None
    read = 0
    begun = start is None
    for batch, meta in files:
        partial = read > MAX_COUNTED_BYTES
        if partial and following is not None:
            break
        read += meta.size
        here = not begun and start is not None and [meta.key] == start[:1]
        for line, rejection in _rejections(lake, meta):
            reason = reason_of(rejection)
            reasons[reason] += 1
            behind = begun or (here and start is not None and line >= start[1])
            if not behind or (query.reason is not None and reason != query.reason):
                continue
            if len(items) < query.limit:
                items.append(_item(batch, meta, reason, rejection))
            elif following is None:
                following = [meta.key, line]
        begun = begun or here
    return {
        "reasons": [{"reason": reason, "rows": count} for reason, count in reasons.most_common(200)],
        "partial": read > MAX_COUNTED_BYTES,
        "items": items,
        "next": None if following is None else _to_cursor(following),
    }


def _rejection_files(look: DatasetLook, batch: str | None) -> list[tuple[str, ObjectMeta]]:
    files = [(one.name, meta) for one in look.batches.values() for meta in one.rejected]
    if batch is not None:
        files = [(name, meta) for name, meta in files if name == batch]
    else:
        files += [(f"annotator {one.name}", meta) for one in look.annotators.values() for meta in one.rejected]
    return sorted(files, key=lambda pair: (pair[1].last_modified, pair[1].key), reverse=True)


def _rejections(lake: LiveLake, meta: ObjectMeta) -> Iterator[tuple[int, Rejection]]:
    """The rejections of one file that can be read, with the number of their line."""
    try:
        with closing(lake.store.open(meta.key, etag=meta.etag)) as stream:
            for lines in read_lines(stream):
                for number, line in enumerate(lines.text(), lines.first):
                    try:
                        yield number, Rejection.from_json_line(line)
                    except (ValueError, RecursionError):
                        continue
    except (ObjectNotFoundError, PreconditionFailedError):  # written again since the listing
        return


def reason_of(rejection: Rejection) -> str:
    """What rejections of one sort have in common: their kind and message, without numbers."""
    words = ["…" if any(map(str.isdigit, word)) else word for word in text(rejection.message).split()]
    reason = f"{rejection.kind}: {' '.join(words)}"
    return reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"


def _item(batch: str, meta: ObjectMeta, reason: str, rejection: Rejection) -> dict[str, Any]:
    data = b"" if rejection.data is None else rejection.data
    offsets = {"start": rejection.start_offset, "end": rejection.end_offset}
    return {
        "batch": batch,
        "source": text(rejection.source),
        "offsets": {name: text(str(value)) for name, value in offsets.items() if value is not None} or None,
        "reason": reason,
        "kind": str(rejection.kind),
        "message": text(rejection.message),
        "documentId": None if rejection.document_id is None else text(str(rejection.document_id)),
        "document": None if rejection.document is None else CellWriter().safe(rejection.document),
        "at": format_time(meta.last_modified),
        "bytes": base64.b64encode(data[:MAX_SHOWN_BYTES]).decode(),
        "size": len(data),
    }


def _to_cursor(place: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _from_cursor(text_given: str) -> list[Any]:
    try:
        place = json.loads(base64.urlsafe_b64decode(text_given.encode("ascii")))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        place = None
    match place:
        case [str(key), int(line)]:
            return [key, line]
        case _:
            raise QueryError("this is no cursor of this viewer; begin at the first page", "cursor")
