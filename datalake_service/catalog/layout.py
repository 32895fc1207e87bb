"""Every object key of the lake, built and parsed here only. Pure: no store, no clock.

Keys are relative to the root of the lake. See ``docs/design/001-lake-format.md`` for what each object holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

ANNOTATIONS = "annotations"
"""The folder beside the batches that holds the annotators; therefore not a batch name."""
STATE = ".state"
"""The folder of a dataset that holds its configuration and its tasks; no name starts with a dot."""
SHARED = ".shared"
"""The folder of an annotator that says who of many workers does what."""

OLDER_SUFFIX = ".parquet"
"""What the names of older versions of annotations end in."""

_CHUNK = re.compile(r"(?P<run>[0-9a-f]{6})_chunk_(?P<number>[0-9]{5,})\.jsonl")
_MANIFEST = re.compile(r"(?P<run>[0-9a-f]{6})\.manifest\.json")
_TASK_REJECTIONS = re.compile(r"task_(?P<task>.+)_(?P<number>[0-9]{5,})\.jsonl")


def dataset_prefix(dataset: str) -> str:
    """Everything of a dataset."""
    return f"{dataset}/"


def batch_prefix(dataset: str, batch: str) -> str:
    """Everything of a batch except its annotations."""
    return f"{dataset}/{batch}/"


def merged_key(prefix: str) -> str:
    """The merged rows of a batch, or of an annotated batch (``prefix`` from one of the functions here)."""
    return f"{prefix}merged.parquet"


def summary_key(prefix: str) -> str:
    """What a person wants to know about a merged object."""
    return f"{prefix}manifest.yaml"


def run_manifest_key(prefix: str, run: str) -> str:
    """The manifest of one run."""
    return f"{prefix}{run}.manifest.json"


def chunk_key(prefix: str, run: str, number: int) -> str:
    """One chunk of a run; ``number`` counts from 0 and has at least five digits."""
    return f"{prefix}{run}_chunk_{number:05d}.jsonl"


def rejected_prefix(dataset: str, batch: str) -> str:
    """Rejections of a batch: lines and records that could not be used."""
    return f"{dataset}/{batch}/rejected/"


def task_rejections_key(prefix: str, task: str, number: int) -> str:
    """One file of a task's rejections; ``prefix`` from ``rejected_prefix``, ``number`` counts from 0."""
    return f"{prefix}task_{task}_{number:05d}.jsonl"


def merge_rejections_key(prefix: str, name: str, etag: str) -> str:
    """What a merge rejected of one version of the file ``name``: the same key whoever merges it, and how often."""
    return f"{prefix}{name.removesuffix('.jsonl')}.{blake2b(etag.encode(), digest_size=6).hexdigest()}.jsonl"


def duplicates_prefix(dataset: str, batch: str) -> str:
    """Rows of a batch that were taken out as duplicates."""
    return f"{dataset}/{batch}/duplicates/"


def duplicates_key(dataset: str, batch: str, attempt: str) -> str:
    """Rows that one merge attempt took out as duplicates (named by the merged object that counts)."""
    return f"{duplicates_prefix(dataset, batch)}{attempt}.jsonl"


def annotators_prefix(dataset: str) -> str:
    """All annotators of a dataset."""
    return f"{dataset}/{ANNOTATIONS}/"


def annotator_prefix(dataset: str, annotator: str) -> str:
    """Everything of an annotator."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/"


def annotator_temp_prefix(dataset: str, annotator: str) -> str:
    """Chunks of an annotator that are not merged yet, and its lease."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/.temp/"


def annotator_rejected_prefix(dataset: str, annotator: str) -> str:
    """Lines of an annotator's chunks that could not be used. No batch is named like it."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/.rejected/"


def annotator_lease_key(dataset: str, annotator: str) -> str:
    """The lease that one worker holds while it annotates."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/.temp/.lock"


def generations_key(dataset: str, annotator: str) -> str:
    """How often the maker of an annotator's rows has changed, and what is asked again."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{STATE}/generations.json"


def shared_prefix(dataset: str, annotator: str) -> str:
    """What the workers that share an annotator say to each other."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{SHARED}/"


def worker_leases_prefix(dataset: str, annotator: str) -> str:
    """The leases of the workers that share an annotator."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{SHARED}/workers/"


def worker_lease_key(dataset: str, annotator: str, worker: str) -> str:
    """The lease that one of the workers that share an annotator holds as long as it lives."""
    return f"{worker_leases_prefix(dataset, annotator)}{worker}.lock"


def parse_worker_lease(name: str) -> str | None:
    """The worker of a lease's file name; ``None`` if it is something else."""
    return name.removesuffix(".lock") if name.endswith(".lock") else None


def claims_prefix(dataset: str, annotator: str) -> str:
    """Which worker has which batch, or part of a batch, of a shared annotator."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{SHARED}/batches/"


def claim_key(dataset: str, annotator: str, batch: str) -> str:
    """Which worker has one batch of a shared annotator, or a part of it (``batch/3``)."""
    return claim_below(claims_prefix(dataset, annotator), batch)


def claim_below(prefix: str, name: str) -> str:
    """Which worker has a batch, a part of one or a task; ``prefix`` from one of the functions here."""
    return f"{prefix}{name}.json"


def parse_claim(name: str) -> str | None:
    """What is claimed, by the rest of the key; ``None`` if it is something else."""
    return name.removesuffix(".json") if name.endswith(".json") else None


def ledger_key(dataset: str, annotator: str) -> str:
    """Which worker holds which part of an annotator's limits, and what was spent."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{SHARED}/ledger.json"


def tallies_prefix(dataset: str, annotator: str) -> str:
    """What each of the workers that share an annotator did."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{SHARED}/tallies/"


def tally_key(dataset: str, annotator: str, worker: str) -> str:
    """What one of the workers that share an annotator did."""
    return f"{tallies_prefix(dataset, annotator)}{worker}.json"


def parse_tally(name: str) -> str | None:
    """The worker of a tally's file name; ``None`` if it is something else."""
    return name.removesuffix(".json") if name.endswith(".json") else None


def whole_key(dataset: str, annotator: str) -> str:
    """What all workers of an annotator did together, when the last of them had ended."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{SHARED}/whole.json"


def annotation_prefix(dataset: str, annotator: str, batch: str) -> str:
    """The merged annotations of one batch."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{batch}/"


def older_prefix(dataset: str, annotator: str, batch: str) -> str:
    """Annotations of a batch that newer versions have replaced."""
    return f"{dataset}/{ANNOTATIONS}/{annotator}/{batch}/older/"


def older_key(dataset: str, annotator: str, batch: str, attempt: str) -> str:
    """Older versions that one merge attempt kept (named by the merged object that counts)."""
    return f"{older_prefix(dataset, annotator, batch)}{attempt}{OLDER_SUFFIX}"


def dataset_state_key(dataset: str) -> str:
    """The dataset file as it was created, and the state of the dataset."""
    return f"{dataset}/{STATE}/dataset.json"


def deletion_key(dataset: str) -> str:
    """Whether the dataset is deleted, restored or being purged."""
    return f"{dataset}/{STATE}/deleted.json"


def stop_key(dataset: str) -> str:
    """Requests to stop the dataset, or one of its tasks."""
    return f"{dataset}/{STATE}/stop.json"


def tasks_prefix(dataset: str) -> str:
    """The states of all tasks of a dataset."""
    return f"{dataset}/{STATE}/tasks/"


def task_key(dataset: str, task: str) -> str:
    """The state of one task: status, checkpoint, counts."""
    return f"{dataset}/{STATE}/tasks/{task}.json"


def task_workers_prefix(dataset: str) -> str:
    """The leases of the workers that share the tasks of a dataset."""
    return f"{dataset}/{STATE}/workers/"


def task_worker_key(dataset: str, worker: str) -> str:
    """The lease that one of the workers that share the tasks holds as long as it lives."""
    return f"{task_workers_prefix(dataset)}{worker}.lock"


def task_claims_prefix(dataset: str) -> str:
    """Which worker has which task."""
    return f"{dataset}/{STATE}/claims/"


def planning_lease_key(dataset: str) -> str:
    """The lease of the worker that plans the tasks for all of them."""
    return f"{dataset}/{STATE}/planning.lock"


def merging_lease_key(dataset: str) -> str:
    """The lease of the worker that merges for all of them."""
    return f"{dataset}/{STATE}/merging.lock"


def task_logs_prefix(dataset: str) -> str:
    """What the handlers of a dataset's tasks logged."""
    return f"{dataset}/{STATE}/logs/"


def task_log_key(dataset: str, task: str) -> str:
    """What the handler of one task logged: the last lines."""
    return f"{task_logs_prefix(dataset)}{task}.jsonl"


@dataclass(frozen=True, slots=True)
class ChunkName:
    """The parsed last segment of a chunk key."""

    run: str
    number: int


def parse_chunk(name: str) -> ChunkName | None:
    """Parse the last segment of a key; ``None`` if it does not name a chunk of ours."""
    match = _CHUNK.fullmatch(name)
    return ChunkName(match["run"], int(match["number"])) if match else None


def parse_run_manifest(name: str) -> str | None:
    """The run of a run manifest's file name; ``None`` if it is something else."""
    match = _MANIFEST.fullmatch(name)
    return match["run"] if match else None


@dataclass(frozen=True, slots=True)
class TaskRejectionsName:
    """The parsed last segment of the key of a task's rejections."""

    task: str
    number: int


def parse_task_rejections(name: str) -> TaskRejectionsName | None:
    """Parse the last segment of a key; ``None`` if it does not name rejections of a task."""
    match = _TASK_REJECTIONS.fullmatch(name)
    return TaskRejectionsName(match["task"], int(match["number"])) if match else None


@dataclass(frozen=True, slots=True)
class Unmerged:
    """Where something lies that a merge would take or tidy up: in a batch, or with an annotator."""

    batch: str | None
    annotator: str | None
    file: str
    """Last segment of the key."""


def parse_unmerged(dataset: str, key: str) -> Unmerged | None:
    """Parse the key of a chunk, a foreign file or a run manifest; ``None`` if it is anything else."""
    parts = key.removeprefix(dataset_prefix(dataset)).split("/")
    file = parts[-1]
    if not file.endswith(".jsonl") and parse_run_manifest(file) is None:
        return None
    if len(parts) == 2 and is_batch_folder(parts[0]):  # noqa: PLR2004 - batch, file
        return Unmerged(parts[0], None, file)
    if len(parts) == 4 and parts[0] == ANNOTATIONS and parts[2] == ".temp":  # noqa: PLR2004 - as built above
        return Unmerged(None, parts[1], file)
    return None


def is_batch_folder(name: str) -> bool:
    """Whether a folder of a dataset holds a batch (and not annotations or state)."""
    return name != ANNOTATIONS and not name.startswith(".")
