from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.leases import Lease
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.storage.base import Overwrite
from datalake_service.storage.folder import FolderStore
from tests.support.live import DATASET, Written, looking


def pages(ask: Any, query: dict[str, list[str]]) -> list[dict[str, Any]]:
    """All items of all pages."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = ask(DATASET, {**query, **({} if cursor is None else {"cursor": [cursor]})})
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


def test_rejections_are_shown_by_reason_with_their_bytes(tmp_path: Path) -> None:
    """Whatever the bytes are: no UTF-8, markup, very many; page after page, each once."""
    lake = Written(FolderStore(tmp_path, durable=False))
    lake.write("b1", [{"n": 1}])
    bodies = [b"\xff\xfe<script>", b"\x1b[31m", b"x" * 200_000, b"", "\u202e".encode()]
    for number, body in enumerate(bodies):
        lines = b"".join(
            Rejection(
                source=f"s3://bucket/{number}",
                start_offset=str(line),
                kind=RejectionKind.PARSE if number % 2 else RejectionKind.LINE,
                message=f"not JSON (character {line} of the line)",
                data=body,
            ).to_json_line()
            for line in range(3)
        )
        key = f"{layout.rejected_prefix(DATASET, 'b1')}{number}.jsonl"
        lake.store.put(key, lines + b"this is no rejection\n", mode=Overwrite())
    with looking(lake.store) as answers:
        told = answers.rejections(DATASET, {"limit": ["4"]})
        reasons = {one["reason"]: one["rows"] for one in told["reasons"]}
        assert reasons == {
            "line: not JSON (character … of the line)": 9,
            "parse: not JSON (character … of the line)": 6,
        }
        items = pages(answers.rejections, {"limit": ["4"]})
        assert len(items) == len({(item["source"], str(item["offsets"])) for item in items}) == 15
        large = next(item for item in items if item["source"].endswith("/2"))
        assert (len(base64.b64decode(large["bytes"])), large["size"]) == (64 << 10, 200_000)
        odd = next(item for item in items if item["source"].endswith("/0"))
        assert base64.b64decode(odd["bytes"]) == bodies[0]
        some = pages(answers.rejections, {"limit": ["4"], "reason": ["parse: not JSON (character … of the line)"]})
        assert {item["kind"] for item in some} == {"parse"}
        assert len(some) == 6
        assert json.dumps(items)


def test_failures_are_shown_by_kind(tmp_path: Path) -> None:
    """Those that still count: what succeeded later is none; page after page, each once."""
    lake = Written(FolderStore(tmp_path, durable=False))
    lake.write("b1", [{"n": number} for number in range(20)])
    lake.merge("b1")
    rows = sorted(lake.merged)
    lake.annotate("lang", dict.fromkeys(rows[:10], "failed"))
    lake.annotate("zeal", dict.fromkeys(rows[:3], "failed"))
    lake.merge_annotations("lang")
    lake.annotate("lang", {key: {"label": "en"} for key in rows[:4]})
    with looking(lake.store) as answers:
        told = answers.failures(DATASET, {})
        assert told["kinds"] == [
            {"annotator": "lang", "kind": "timeout", "rows": 6},
            {"annotator": "zeal", "kind": "timeout", "rows": 3},
        ]
        for limit in ("1", "3", "6", "50"):
            items = pages(answers.failures, {"limit": [limit]})
            found = [(item["annotator"], item["batch"], item["id"]) for item in items]
            wanted = [("lang", *key) for key in rows[4:10]] + [("zeal", *key) for key in rows[:3]]
            assert sorted(found) == sorted(wanted)
            assert {item["message"] for item in items} == {"it broke"}
        assert len(pages(answers.failures, {"annotator": ["zeal"], "kind": ["timeout"]})) == 3
        assert pages(answers.failures, {"kind": ["nope"]}) == []


def test_leases_and_runs_are_shown(tmp_path: Path) -> None:
    """Who holds what until when; a lease that was given back is none. Nothing is written to find out."""
    lake = Written(FolderStore(tmp_path, durable=False))
    lake.write("b1", [{"n": 1}])
    lake.merge("b1")
    lake.annotate("lang", dict.fromkeys(lake.merged, "failed"))
    lease = Lease(lake.store, layout.annotator_lease_key(DATASET, "lang"), ttl=timedelta(minutes=5))
    lease.acquire()
    with looking(lake.store) as answers:
        (held,) = answers.operations()["leases"]
        assert (held["annotator"], held["state"]) == ("lang", "held")
        assert answers.lake()["leases"] == [held]
        lease.release()
        assert answers.operations()["leases"] == []
        lake.write("b2", [{"n": 2}])
        (run,) = answers.operations()["runs"]
        assert (run["batch"], run["rows"], run["state"]) == ("b2", 1, "completed")


def test_any_name_of_a_column_is_answered(tmp_path: Path) -> None:
    """Empty, no UTF-8, with dots, quotes and colons: shown, searched, charted."""
    lake = Written(FolderStore(tmp_path, durable=False))
    names = ["", "a.b", 'q"q', "x:y", "\ud800", "lang", "lang.label", "_batch2", "Text", "text"]
    lake.write("b1", [{name: f"value of {index}" for index, name in enumerate(names)}])
    lake.merge("b1")
    lake.annotate("lang", {key: {"label": "en"} for key in lake.merged})
    with looking(lake.store) as answers:
        assert len(answers.dataset(DATASET)["columns"]) >= len(names)
        assert answers.rows(DATASET, {})["rows"][0]["cells"]
        for index, name in enumerate(names):
            if name not in ("\ud800", "lang.label"):
                assert answers.rows(DATASET, {"columns": [name]})["rows"][0]["cells"] == [f"value of {index}"]
                assert answers.count(DATASET, {"search": [f"{name}:VALUE"]})["rows"] == 1
                assert answers.profile(DATASET, {"column": [name]})["top"][0]["rows"] == 1
                assert answers.rows(DATASET, {"sort": [name]})["rows"]
