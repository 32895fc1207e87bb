"""The tasks of a dataset, looked at again and again: one listing, then those that changed. Reads only."""

from __future__ import annotations

from collections.abc import Mapping

from datalake_service.catalog import layout
from datalake_service.catalog.tasks import TaskState, load_tasks
from datalake_service.storage.base import ObjectStore


class TaskChanges:
    """Remembers the tasks as they were seen last. One thread uses it."""

    def __init__(self, store: ObjectStore, dataset: str) -> None:
        """Know none yet."""
        self._store = store
        self._dataset = dataset
        self._versions: dict[str, str] = {}
        self.states: dict[str, TaskState] = {}
        """All tasks, by id, as they were at the last look."""

    def pass_over(self) -> None:
        """Take what stands there now for seen, without reading it: the next look finds what changes from here on.

        Raises:
            StoreError: The store failed.
        """
        self._versions = self._listed()

    def look(self) -> Mapping[str, TaskState]:
        """The tasks that are new or have changed since the last look, by id.

        Raises:
            StoreError: The store failed; the next look finds what this one did not.
        """
        listed = self._listed()
        changed = {task for task, etag in listed.items() if self._versions.get(task) != etag}
        found = load_tasks(self._store, self._dataset, among=changed) if changed else []
        news = {stored.state.id: stored.state for stored in found}
        self._versions = {task: etag for task, etag in self._versions.items() if task in listed and task not in changed}
        self._versions |= {stored.state.id: stored.etag for stored in found}
        self.states = {task: state for task, state in self.states.items() if task in self._versions} | news
        return news

    def _listed(self) -> dict[str, str]:
        prefix = layout.tasks_prefix(self._dataset)
        return {meta.key.removeprefix(prefix).removesuffix(".json"): meta.etag for meta in self._store.list(prefix)}
