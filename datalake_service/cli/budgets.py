"""``datalake budgets``: what annotators have spent of their budgets, and letting one begin anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from datalake_service.cli.asking import confirm
from datalake_service.cli.output import table
from datalake_service.cli.session import Session, common_options, dataset_option
from datalake_utils.printable import printable

if TYPE_CHECKING:
    from datalake_service.catalog.budgets import BudgetState


@click.group("budgets")
def budgets_group() -> None:
    """Look at what was spent of the budgets of annotators, and let one begin anew."""


@budgets_group.command("list")
@click.option("--datasetName", "--dataset-name", "dataset", metavar="NAME", help="Only this dataset.")
@common_options
def list_command(session: Session, dataset: str | None) -> None:
    """List the budgets: how much, what for, what was spent of it since when, and who spends."""
    from datalake_service.catalog.budgets import list_budgets
    from datalake_service.pipeline.upkeep.lifecycle import named_datasets

    store = session.open_lake()
    found = [budget for name in named_datasets(store, dataset) for budget in list_budgets(store, name)]
    session.output.show({"uri": store.uri, "budgets": [one.to_dict() for one in found]}, lambda: _lines(found))


@budgets_group.command("reset")
@dataset_option
@click.option("--annotator", required=True, metavar="NAME", help="Whose budget.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def reset_command(session: Session, dataset: str, annotator: str, *, yes: bool) -> None:
    """Let a budget begin anew: what was spent so far does not count any more. To go on with more, raise it instead."""
    from datalake_service.catalog.budgets import find_budget, reset_budget
    from datalake_service.config.names import check_name
    from datalake_service.errors import UsageError
    from datalake_service.pipeline.upkeep.lifecycle import require_dataset
    from datalake_utils.clock import SystemClock

    store = session.open_lake()
    require_dataset(store, dataset)
    check_name(annotator, what="annotator")
    found = find_budget(store, dataset, annotator)
    if found is not None and not yes:
        question = f"{printable(_in_words(found))}\nLet this budget begin anew?"
        confirm(question, before="lets a budget begin anew", refused="the budget is as it was")
    was = None if found is None else reset_budget(store, dataset, annotator, now=SystemClock().now())
    if was is None:
        raise UsageError(f"annotator {annotator!r} of {dataset} has no budget; see: datalake budgets list")
    told = [printable(f"begins anew: {_in_words(was)}")]
    session.output.show({**was.to_dict(), "reset": True}, lambda: told)


def _lines(budgets: Sequence[BudgetState]) -> Iterable[str]:
    if not budgets:
        return ["no budgets"]
    return table(
        ("DATASET", "ANNOTATOR", "BUDGET", "FOR EACH", "SPENT", "SINCE", "VERSION", "WORKERS"),
        [
            (
                one.dataset,
                one.annotator,
                _amounts(one.ledger.terms.budget),
                one.ledger.terms.per,
                _amounts(one.spent),
                f"{_since(one)}{', ended' if one.ended else ''}",
                one.ledger.account.label or None,
                str(one.workers),
            )
            for one in budgets
        ],
    )


def _in_words(one: BudgetState) -> str:
    budget, spent = _amounts(one.ledger.terms.budget), _amounts(one.spent)
    return f"{one.dataset}/{one.annotator}: {spent} of {budget} for each {one.ledger.terms.per}, since {_since(one)}"


def _since(one: BudgetState) -> str:
    return one.ledger.account.since[:16].replace("T", " ")


def _amounts(amounts: Mapping[str, float]) -> str:
    from datalake_service.catalog.budgets import in_words_of_the_file

    return ", ".join(f"{kind} {amount:,.6g}" for kind, amount in in_words_of_the_file(amounts).items())
