"""What a dataset file says about calls and language models, as what ``annotate`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from datalake_service.annotating.limits import Limit
from datalake_service.annotating.llm_annotator import LlmAnnotator
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Budget, Per
from datalake_service.config.annotator import AnnotatorConfig
from datalake_service.config.calls import BudgetConfig, CallsConfig
from datalake_service.config.llm import LlmConfig
from datalake_service.config.settings import read_secret
from datalake_service.errors import ConfigError
from datalake_service.pipeline.views.views import DatasetView

_SECONDS_AN_HOUR: Final = 3_600


def make_llm_annotator(config: LlmConfig) -> LlmAnnotator:
    """The annotator, with the key that the environment holds.

    Raises:
        ConfigError: The environment holds none.
    """
    name = config.api_key_variable
    return LlmAnnotator(config, api_key=None if name is None else read_secret(name))


def columns_to_read(annotator: AnnotatorConfig) -> Sequence[str] | None:
    """The base columns that an annotator sees: a model only those that it is asked about. ``None``: all."""
    asked = annotator.columns_asked
    if asked is None or annotator.base_columns is not None:
        return annotator.base_columns
    others = {f"{name}.{column}" for name, columns in annotator.annotator_columns.items() for column in columns}
    return tuple(column for column in asked if column not in others)


def check_columns(annotator: AnnotatorConfig, view: DatasetView) -> None:
    """Refuse a prompt about nothing before anything is paid.

    Raises:
        ConfigError: A column of the prompt, or the text of a model, exists nowhere.
    """
    missing = [name for name in annotator.columns_asked or () if name in view.unknown_columns]
    if missing:
        what = (
            "prompt" if annotator.llm is not None else "embedding" if annotator.embedding is not None else "classifier"
        )
        raise ConfigError(
            f"annotator {annotator.annotator_name}: the {what} names {', '.join(map(repr, missing))}, "
            f"which dataset {view.dataset} has not; columns of other annotators are listed in annotatorColumns"
        )


def call_policy(annotator: AnnotatorConfig) -> CallPolicy | None:
    """Attempts, limits and budget; ``None``: one attempt, and no limits."""
    calls = annotator.calls
    if calls is None:
        if annotator.llm is None:
            return None
        calls = CallsConfig.model_validate({})
    return CallPolicy(
        max_attempts=calls.max_attempts,
        requests=None if calls.requests_per_minute is None else Limit(calls.requests_per_minute),
        tokens=None if calls.tokens_per_minute is None else Limit(calls.tokens_per_minute),
        at_once=calls.calls_at_once,
        adaptive=calls.adaptive,
        budget=None if calls.budget is None else _budget(calls.budget),
    )


def _budget(budget: BudgetConfig) -> Budget:
    seconds = None if budget.hours is None else budget.hours * _SECONDS_AN_HOUR
    per = cast("Per", budget.per.value)  # the same words
    return Budget(cost=budget.cost, tokens=budget.tokens, calls=budget.calls, seconds=seconds, per=per)
