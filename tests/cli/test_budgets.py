"""``datalake budgets`` as a command."""

from __future__ import annotations

from pathlib import Path

from datalake_service.catalog.ledger import LedgerBook, Statement
from datalake_service.catalog.ledger_record import Terms
from datalake_service.storage.open import open_store
from tests.cli.commands import datalake, datalake_on_terminal


def test_budgets_are_listed_and_begin_anew_when_somebody_says_so(tmp_path: Path) -> None:
    """In the words of the dataset file, with what a worker has set aside; an annotator without one is named."""
    store = open_store(tmp_path / "lake")
    terms = Terms(budget={"cost": 50.0, "seconds": 7_200.0})
    spent = {"cost": 3.5, "seconds": 1_800.0}
    said = Statement(have={}, wants={}, least={}, spent=spent, needs={"cost": 1.5}, floor={})
    LedgerBook(store, "posts", "judge", worker="w", terms=terms, label="v2").exchange(said, seconds=15)
    shown = datalake_on_terminal("budgets", "list", cwd=tmp_path).out
    assert "posts    judge      cost 50, hours 2  run       cost 5, hours 0.5  20" in shown
    reset = ("budgets", "reset", "--datasetName", "posts", "--annotator")
    told = datalake(*reset, "judge", "--yes", cwd=tmp_path).json
    assert (told["spent"], told["version"], told["workers"]) == ({"cost": 5.0, "hours": 0.5}, "v2", 1)
    (left,) = datalake("budgets", "list", cwd=tmp_path).json["budgets"]
    assert left["spent"] == {"cost": 1.5, "hours": 0.0}, "what a worker has set aside is spent from the new one"
    refused = datalake(*reset, "lang", "--yes", cwd=tmp_path)
    assert (refused.status, "annotator 'lang' of posts has no budget" in refused.err) == (2, True)
