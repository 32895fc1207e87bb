"""``./build.sh conformance [store...]``: what each store does, and what ``datalake`` makes of it, as a table.

Every server is started on a free port of 127.0.0.1, in a temporary folder, and stopped in the end, whatever happened.
"""

# What it prints is what it is for.

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.conformance.stores import STORES, Store
from tests.conformance.survey import DIFFERS, HONOURED, REFUSED, Observation, survey
from tests.support.repository import ROOT
from tests.support.servers import S3Server

CONTRACT = "tests/contracts"
CHECKS = [f"tests/conformance/test_{name}.py" for name in ("refused", "races", "kills")]
COMMANDS = "tests/cli/test_s3.py::test_every_command_works_on_a_bucket"
_OPTIONS = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", "-o", "timeout=900"]
_PREFIX = "refused: "
_OTHER_SIDE = "the server honours conditions"
"""Of checks that are for stores that do not."""


@dataclass(frozen=True)
class Outcome:
    """How the run ended for one store."""

    store: str
    version: str
    seconds: float
    rows: Sequence[Observation] = ()
    """What the server does, then what ``datalake`` does on it."""
    failures: Sequence[str] = ()
    """What failed that must not; each a line."""
    missing: str = ""
    """How to install it: it was not run."""


def main(names: Sequence[str]) -> int:
    """Run the stores that are named, or all that can be found; returns the exit status."""
    unknown = [name for name in names if name not in STORES]
    if unknown:
        print(f"no store {unknown[0]!r}; there are: {', '.join(STORES)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    outcomes = []
    for name in names or STORES:
        outcome = _outcome(STORES[name])
        outcomes.append(outcome)
        print("\n".join(_table(outcome)), flush=True)
    print("\n".join(_summary(outcomes)))
    failed = any(outcome.failures or (outcome.missing and outcome.store in names) for outcome in outcomes)
    return 1 if failed else 0


def _stop(number: int, _: object) -> None:
    raise SystemExit(128 + number)  # the servers are stopped on the way out


def _outcome(store: Store) -> Outcome:
    missing = store.missing()
    if missing:
        return Outcome(store.name, "", 0.0, missing=missing)
    print(f"\n{store.name}: starting {store.version()} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="datalake-conformance-") as folder, store.run(Path(folder)) as server:
        seen = survey(server)
        checked, failures = _check(server, Path(folder))
    return Outcome(store.name, store.version(), time.monotonic() - began, (*seen, *checked), failures)


def _check(server: S3Server, folder: Path) -> tuple[list[Observation], list[str]]:
    """Run the checks with pytest, and the contract suite; what fails on a store that is refused is no failure."""
    cases = [case for case in _pytest(server, folder, *CHECKS) if case.seen != _OTHER_SIDE]
    rows = [_row(case) for case in cases]
    refused = _is_refused(rows)
    if not refused:
        cases += list(_pytest(server, folder, COMMANDS))
        rows.append(_row(cases[-1]))
    contract = list(_pytest(server, folder, CONTRACT, "-k", "s3-mutexed" if refused else "s3"))
    passed = sum(case.verdict == HONOURED for case in contract)
    broken = [case.name for case in contract if case.verdict == DIFFERS]
    seen = f"{'with the mutex: ' if refused else ''}{passed} passed, {len(broken)} failed"
    if broken:
        seen += f": {', '.join(dict.fromkeys(name.partition('[')[0] for name in broken))}"
    rows.append(Observation("the contract of the object store", DIFFERS if broken else HONOURED, seen))
    failed = () if refused else (case for case in (*cases, *contract) if case.verdict == DIFFERS)
    return rows, [f"{case.name}: {case.seen}" for case in failed]


def _is_refused(rows: Sequence[Observation]) -> bool:
    """Whether the store ignores conditions, and is not used without a mutex."""
    return any(row.verdict == REFUSED and "the store ignores" in row.seen for row in rows)


def _row(case: Observation) -> Observation:
    words = case.name.removeprefix("test_").replace("_", " ")
    return Observation(words, case.verdict, case.seen)


def _pytest(server: S3Server, folder: Path, *arguments: str) -> Iterator[Observation]:
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *_OPTIONS, f"--junitxml={report}", *arguments]
    environment = {
        **os.environ,
        "TEST_S3_ENDPOINT": server.endpoint_url,
        "TEST_S3_ACCESS_KEY": server.access_key,
        "TEST_S3_SECRET_KEY": server.secret_key,
    }
    with _session(command, environment) as process:
        process.wait()
    if not report.exists():
        raise RuntimeError(f"pytest {' '.join(arguments)} did not come to its end")
    for case in ET.parse(report).getroot().iter("testcase"):
        yield _observation(case)


@contextmanager
def _session(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program whose children die with it, and with us."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sys.stderr, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _observation(case: ET.Element) -> Observation:
    name = case.get("name", "")
    noted = "; ".join(entry.get("value", "") for entry in case.iter("property"))
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return Observation(name, DIFFERS, noted or found.get("message", "").splitlines()[0])
    if (skipped := case.find("skipped")) is not None:
        reason = skipped.get("message", "").removeprefix(_PREFIX)
        return Observation(name, REFUSED, re.sub(r"^s3://\S+: |, so .*", "", reason))
    return Observation(name, HONOURED, noted)


# What is printed -------------------------------------------------------------------------------------


def _table(outcome: Outcome) -> Iterator[str]:
    yield ""
    if outcome.missing:
        yield f"=== {outcome.store}: NOT RUN. Install it: {outcome.missing}"
        return
    yield f"=== {outcome.store}: {outcome.version} ({outcome.seconds:.0f} s)"
    width = max(len(row.name) for row in outcome.rows)
    for row in outcome.rows:
        yield f"  {row.name:<{width}}  {row.verdict:<8}  {row.seen}".rstrip()
    for failure in outcome.failures:
        yield f"  FAILED {failure}"


def _summary(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield ""
    yield f"{'store':<10} {'version':<42} {HONOURED:>8} {REFUSED:>8} {DIFFERS:>8}  result"
    for outcome in outcomes:
        if outcome.missing:
            yield f"{outcome.store:<10} NOT RUN: install {outcome.missing}"
            continue
        counts = [sum(row.verdict == verdict for row in outcome.rows) for verdict in (HONOURED, REFUSED, DIFFERS)]
        result = f"FAILED: {len(outcome.failures)}" if outcome.failures else _result(outcome)
        yield f"{outcome.store:<10} {outcome.version:<42} {counts[0]:>8} {counts[1]:>8} {counts[2]:>8}  {result}"


def _result(outcome: Outcome) -> str:
    refused = [row for row in outcome.rows if row.verdict == REFUSED]
    if not refused:
        return "works"
    if _is_refused(refused):
        broken = [row.name for row in outcome.rows if row.verdict == DIFFERS and "with the mutex" in row.seen]
        told = f"differs: {'; '.join(broken)}" if broken else "works"
        return f"refused, as it has to be; with the mutex {told}"
    return "works; refused: " + "; ".join(dict.fromkeys(row.name for row in refused))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
