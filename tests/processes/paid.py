"""Paid annotation under kills: four ``datalake annotate --shared`` on one lake, and a model service full of trouble.

The service keeps the books: who asked what, what it answered, what it charged. Each worker is known by its key.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalake_service.chunks import writer
from datalake_service.storage.folder import FolderStore
from tests.cli.commands import environment
from tests.support import warm
from tests.support.annotations import FINISHED, chunk_rows, merged_rows
from tests.support.lake import put_rows
from tests.support.llm_server import Asked, Reply, scripted_model

DATASET, ANNOTATOR = "posts", "judge"
WORKERS, CONCURRENCY, FLUSH_ROWS = 4, 4, 4
PRICE = 10.0
"""What a call costs that is answered: ten tokens at one each."""
AT_RISK = CONCURRENCY + FLUSH_ROWS * (writer._UPLOADS + 2)
"""Rows of one worker that are asked and not stored: calls in flight, the chunk being filled, chunks on their way."""
_STUBBORN = 30
"""Each row of so many is refused by the service until it is healed."""
_FULL = {"label": "good"}


@dataclass(frozen=True)
class Figures:
    """What happened."""

    rows: int
    calls: int
    troubles: int
    """Calls that the service did not answer as it should."""
    kills: int
    lost: int
    """Rows that were asked by a worker that was killed before it had stored them."""
    failed: int
    """Times that a worker gave a row up."""
    spent_of_budget: float
    """What was charged in the first part, as a share of its budget."""


@dataclass
class Service:
    """Answers, delays and refuses by a seeded dice; keeps the books."""

    seed: int
    seconds: float
    calls: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    by_worker: dict[str, set[str]] = field(default_factory=dict)
    charged: float = 0.0
    healed: bool = False

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.lock = threading.Lock()
        self.overloaded_until = 0.0

    def answer(self, asked: Asked) -> Reply:
        """One request."""
        row = asked.prompt
        with self.lock:
            reply = self._reply(row, asked.moment)
            self.calls[row] += 1
            self.by_worker.setdefault(asked.headers["authorization"], set()).add(row)
            if reply.status != 200 or reply.cut is not None or reply.reset or reply.content != _FULL:
                self.troubles[row] += 1
            if reply.status == 200 and reply.cut is None and not reply.reset:
                self.charged += PRICE
        return reply

    def _reply(self, row: str, now: float) -> Reply:
        seconds = self.seconds * self.dice.random() * 2
        if self.healed:
            return Reply(_FULL)
        if int(row.removeprefix("r")) % _STUBBORN == 0:
            return Reply(status=400)
        if now < self.overloaded_until:  # a storm: everybody is told to wait, half of them for how long
            return Reply(status=429, headers={"Retry-After": "0.2"} if self.dice.random() < 0.5 else {})
        fate = self.dice.random()
        if fate < 0.01:
            self.overloaded_until = now + 0.3
            return Reply(status=429)
        troubles = {
            0.02: Reply(status=500),
            0.03: Reply(reset=True),
            0.04: Reply(_FULL, cut=30),
            0.05: Reply({"label": "neither"}),
            0.06: Reply("Sure! It is"),
            0.063: Reply(_FULL, seconds=30.0),  # hangs: longer than a row may take
        }
        for limit, reply in troubles.items():
            if fate < limit:
                return reply
        return Reply(_FULL, seconds=seconds)


class Place:
    """Where a worker runs; when it is killed, the next one starts here."""

    def __init__(self, storm: Storm, number: int) -> None:
        self.storm, self.number = storm, number
        self.starts = 0
        self.process: warm.Running | subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str:
        """Of this start."""
        return f"worker-{self.number}-{self.starts}"

    def start(self) -> None:
        """Another process."""
        self.starts += 1
        self.process = warm.popen(
            ("annotate", "--configFile", "dataset.json", "--shared"),
            cwd=self.storm.folder,
            env=environment(MODEL_KEY=self.key, DATALAKE_LOG="json"),
            out=self.log,
            err=self.log,
        )

    @property
    def log(self) -> Path:
        """What this start says."""
        return self.storm.folder / f"{self.key}.log"

    @property
    def asked(self) -> set[str]:
        """Rows that this start has asked about."""
        return self.storm.service.by_worker.get(f"Bearer {self.key}", set())

    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL; what it had asked and not stored is lost."""
        process = self.process
        assert process is not None
        process.kill()
        process.wait()
        time.sleep(0.1)  # requests that it had sent arrive
        lost = self.asked - self.storm.finished() - self.storm.gave_up(self)
        assert len(lost) <= AT_RISK, f"{len(lost)} rows of one worker were not stored"
        self.storm.lost.update(lost)
        self.storm.kills += 1


class Storm:
    """A lake, the service, and some places."""

    def __init__(self, folder: Path, *, seed: int, batches: int, rows: int, workers: int) -> None:
        self.folder = folder
        self.dice = random.Random(seed)
        self.service = Service(seed, seconds=0.25)
        self.store = FolderStore(folder / "lake", durable=False)
        self.batches = [f"b{number:02}" for number in range(batches)]
        self.ids = [f"r{number}" for number in range(batches * rows)]
        for number, batch in enumerate(self.batches):
            ids = self.ids[number * rows : (number + 1) * rows]
            put_rows(self.store, DATASET, batch, [{"id": name, "text": name} for name in ids])
        self.lost: Counter[str] = Counter()
        self.kills = 0
        self.places = [Place(self, number) for number in range(workers)]

    def finished(self) -> set[str]:
        """Rows whose answer is stored, wherever."""
        return {row["id"] for row in self.stored() if row["_status"] in FINISHED}

    def stored(self) -> list[dict[str, Any]]:
        """Every row of an annotation that there is; nobody merges meanwhile but at the end of a run."""
        for _ in range(20):
            try:
                chunks = chunk_rows(self.store, DATASET, ANNOTATOR)
                return [*chunks, *self.merged()]
            except (OSError, KeyError):  # taken away by a merge between the listing and the reading
                continue
        raise AssertionError("the chunks change all the time")

    def merged(self) -> list[dict[str, Any]]:
        """Those of merged objects."""
        return [row for batch in self.batches for row in merged_rows(self.store, batch, DATASET, ANNOTATOR)]

    def gave_up(self, *places: Place) -> set[str]:
        """Rows that these said had failed."""
        return set(self.failures(*places))

    def failures(self, *places: Place) -> Counter[str]:
        """How often each row failed in the processes that these started last (default: in all there were)."""
        logs = [place.log for place in places] or list(self.folder.glob("worker-*.log"))
        found: Counter[str] = Counter()
        for log in logs:
            for line in log.read_bytes().splitlines():
                try:
                    said = json.loads(line)
                except ValueError:  # the last line of one that was killed, or the report
                    continue
                if isinstance(said, dict) and said.get("event") == "annotation.row_failed":
                    found[said["id"]] += 1
        return found

    def configure(self, endpoint: str, budget: float) -> None:
        """Write the dataset file."""
        calls = {"requestsPerMinute": 6_000, "tokensPerMinute": 1_000_000, "maxAttempts": 8, "budget": {"cost": budget}}
        llm = {
            "endpoint": endpoint,
            "model": "m",
            "apiKeyVariable": "MODEL_KEY",
            "prompt": "{{text}}",
            "response": {"label": {"type": "string", "values": ["good", "bad"]}},
            "price": {"inputPerMillion": 1_000_000 * PRICE / 10, "outputPerMillion": 0},
            "repairs": 3,
        }
        annotator = {
            "annotatorName": ANNOTATOR,
            "llm": llm,
            "maxConcurrency": CONCURRENCY,
            "timeoutInSeconds": 6,
            "flush": {"rows": FLUSH_ROWS, "seconds": 0.5},
            "calls": calls,
        }
        document = {
            "datasetName": DATASET,
            "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"},
            "writeConnector": {"connectorDestination": "DATALAKE", "uri": "./lake", "batch": "b00"},
            "annotators": [annotator],
        }
        (self.folder / "dataset.json").write_text(json.dumps(document), encoding="utf-8")

    def run(self, *, workers: int, kills: int, calls: int, seconds: float) -> list[int]:
        """Start some, kill some while they ask, until each ended by itself; answers how.

        Kills come at random moments between now and ``calls`` calls later, each to one that has asked something.
        """
        for place in (places := self.places[:workers]):
            place.start()
        before = self.service.calls.total()
        moments = sorted(before + self.dice.randint(8, calls) for _ in range(kills))
        until = time.monotonic() + seconds
        while any(not place.ended() for place in places):
            assert time.monotonic() < until, [place.log.read_text() for place in places if not place.ended()]
            time.sleep(0.005)
            if moments and self.service.calls.total() >= moments[0]:
                at_work = [place for place in places if place.asked and not place.ended()]
                if at_work:
                    del moments[0]
                    place = self.dice.choice(at_work)
                    place.kill()
                    place.start()
        return [place.process.wait() for place in places if place.process is not None]

    def stop(self) -> None:
        """Nothing of it stays."""
        for place in self.places:
            if place.process is not None and place.process.poll() is None:
                place.process.kill()
                place.process.wait()


@contextmanager
def _stopped(storm: Storm) -> Iterator[None]:
    try:
        yield
    finally:
        storm.stop()


def paid_storm(
    folder: Path,
    *,
    seed: int,
    batches: int = 12,
    rows: int = 20,
    kills: int = 4,
    workers: int = WORKERS,
    finishers: int = 2,
) -> Figures:
    """Half of the rows' money, then enough of it, then only what had failed; checks what must hold, answers figures."""
    storm = Storm(folder, seed=seed, batches=batches, rows=rows, workers=workers)
    service, patience = storm.service, 240.0 + 20 * kills
    with scripted_model(service.answer) as model, _stopped(storm):
        budget = PRICE * len(storm.ids) / 2
        storm.configure(model.endpoint, budget)
        statuses = storm.run(workers=workers, kills=kills // 2, calls=len(storm.ids) // 3, seconds=patience)
        assert set(statuses) == {1}, "the budget ends each of them"
        assert all(b"the budget of" in place.log.read_bytes() for place in storm.places)
        spent = service.charged
        in_flight = PRICE * CONCURRENCY * (storm.kills + workers)
        assert spent <= budget + in_flight, f"{spent} of {budget}"

        storm.configure(model.endpoint, budget * 100)
        statuses = storm.run(workers=finishers, kills=kills - kills // 2, calls=len(storm.ids) // 4, seconds=patience)
        assert set(statuses) == {0}, [place.log.read_text() for place in storm.places]
        check_calls(storm)
        failed = set(storm.ids) - storm.finished()
        assert {name for name in storm.ids if int(name[1:]) % _STUBBORN == 0} <= failed

        service.healed = True
        before = service.calls.copy()
        storm.places[0].start()
        assert storm.places[0].process is not None
        assert storm.places[0].process.wait(patience) == 0
        assert set(service.calls - before) == failed, "failed rows are asked again, and only those"
        assert chunk_rows(storm.store, DATASET, ANNOTATOR) == []
        found = Counter(row["id"] for row in storm.merged() if row["_status"] == "done")
        assert found == Counter(storm.ids), "each row once in a reading"
        check_calls(storm)
    return Figures(
        rows=len(storm.ids),
        calls=service.calls.total(),
        troubles=service.troubles.total(),
        kills=storm.kills,
        lost=storm.lost.total(),
        failed=storm.failures().total(),
        spent_of_budget=spent / budget,
    )


def check_calls(storm: Storm) -> None:
    """No row was asked more often than once, for each time the service failed, a worker gave up, or died with it."""
    service, failures = storm.service, storm.failures()
    for row, calls in service.calls.items():
        most = 1 + service.troubles[row] + failures[row] + storm.lost[row]
        assert calls <= most, f"{row} was asked {calls} times, {most} at most were called for"
