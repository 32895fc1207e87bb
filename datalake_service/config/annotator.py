"""``annotators``: columns that classes of yours add to the rows after the merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from datalake_service.config.calls import CallsConfig
from datalake_service.config.choice import Choice
from datalake_service.config.faults import Location, absent, both, untagged, wrong, wrong_at
from datalake_service.config.filters import FilterNode
from datalake_service.config.flush import FlushConfig
from datalake_service.config.llm import LlmConfig
from datalake_service.config.local_models import ClassifierConfig, EmbeddingConfig
from datalake_service.config.section import (
    AsTuple,
    ClassName,
    JsonObject,
    LakeName,
    PositiveInt,
    Section,
    Share,
    Text,
)
from datalake_service.config.vectors import VectorsConfig

DEFAULT_CONCURRENCY = 16
"""Rows that an annotator works on at once, as in the Python surface."""


def _filter(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError as error:
        raise untagged(error, key="type", tags=("all", "any", "boolean", "raw_duck")) from None


class Reuse(Choice):
    """Whose annotations make a row done."""

    LABEL = "label"
    """Those with the same version label."""
    CODE = "code"
    """Those of the same code and parameters."""


class Retry(Choice):
    """What is asked although, or because, it was asked before."""

    FAILED = "failed"
    """Only rows that failed; no new ones."""
    SKIPPED = "skipped"
    """Also rows that the annotator had skipped."""
    ALL = "all"
    """Every row."""


class Executor(Choice):
    """Where the calls of plain functions run."""

    THREADS = "threads"
    """In threads of one process."""
    PROCESSES = "processes"
    """In a process for each call at once, as many as there are processors."""


_WITHOUT_CODE = ("vectors", "llm", "embedding", "classifier")
"""What may stand in the place of an `Annotator`."""
_FREE = ("vectors", "embedding", "classifier")
"""Those of them that report neither tokens nor money."""


class AnnotatorConfig(Section):
    """One annotator."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("annotatorImplementationClassName", *_WITHOUT_CODE)]
        }
    )

    annotator_name: LakeName
    """Its name; its columns are called `name.column`."""
    vectors: VectorsConfig | None = None
    """Vectors of texts in the place of an `Annotator`: what `construct_vector_doc` makes of a row are its columns."""
    llm: LlmConfig | None = None
    """A language model in the place of an `Annotator`: a prompt over columns, and the columns of its answer."""
    embedding: EmbeddingConfig | None = None
    """Vectors of a column of texts, in the place of an `Annotator`, by a model in this process."""
    classifier: ClassifierConfig | None = None
    """Labels for a column of texts, in the place of an `Annotator`, by a model in this process."""
    annotator_implementation_class_name: ClassName | None = Field(None, validate_default=True)
    """The `Annotator`."""
    parameters: JsonObject = Field(default_factory=dict)
    """Passed to its constructor as keywords. No secrets: the dataset file is stored in the lake."""
    base_columns: Annotated[tuple[Text, ...], AsTuple] | None = None
    """Columns that it sees; default: all."""
    annotator_columns: dict[LakeName, Annotated[tuple[Text, ...], AsTuple]] = Field(default_factory=dict)
    """Columns of other annotators that it sees, as `{"lang": ["label"]}`."""
    filter: Annotated[FilterNode, WrapValidator(_filter)] | None = None
    """Only rows for which it holds: the JSON of the filter classes, such as
    `{"type": "boolean", "field": "lang.is_english", "value": true}`."""
    fraction: Share = 1.0
    """The share of rows to annotate; a larger share contains the rows of a smaller one."""
    max_concurrency: PositiveInt = DEFAULT_CONCURRENCY
    """How many rows it works on at once; of a `BatchAnnotator`: how many batches."""
    executor: Executor = Executor.THREADS
    """Where it runs, if it is not async: threads, or processes, for code that computes a lot or may crash."""
    timeout_in_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long one row may take; default: as long as it likes."""
    calls: CallsConfig | None = None
    """Attempts, limits and budget; default: one attempt for each row, five of an `llm`, and no limits."""
    flush: FlushConfig = FlushConfig()
    """When answers are stored: what a kill can lose."""
    shared: bool = False
    """Whether runs of this file on many machines share the annotator, each working on batches of its own. If not, one
    of them annotates at a time, and another one waits a minute for it."""
    version: Text | None = None
    """A label of yours for this version of the annotator, kept with what it made."""
    reuse: Reuse | None = None
    """Whose annotations make a row done: those with the same `version`, or of the same code and parameters; others
    are made anew, and can be read until then. Default: anybody's."""
    retry: Retry | None = None
    """What is asked besides new rows: default, those that failed. A run that was killed goes on where it was."""
    campaign: LakeName | None = None
    """A name: runs and workers that are given the same one ask each row once, whatever comes of it. Needed for
    `retry: skipped` and `retry: all` if it is shared."""

    @field_validator("annotator_implementation_class_name")
    @classmethod
    def _one_of_both(cls, value: str | None, info: ValidationInfo) -> str | None:
        given = [name for name in _WITHOUT_CODE if info.data.get(name, ...) is not None]
        if value is None and not given:
            raise absent("the `Annotator`")
        given = [name for name in given if name in info.data]  # the others are wrong
        if value is not None and given:
            raise wrong(f"{given[0]} says another way to annotate; keep one of them")
        if len(given) > 1:
            raise wrong(f"{given[0]} and {given[1]} are two ways to annotate; keep one of them")
        return value

    @field_validator("executor")
    @classmethod
    def _of_plain_code(cls, value: Executor, info: ValidationInfo) -> Executor:
        given = [name for name in ("llm", "vectors") if info.data.get(name) is not None]
        if value is Executor.PROCESSES and given:
            raise wrong(f"{given[0]} is async; allowed: threads")
        return value

    @property
    def columns_asked(self) -> tuple[str, ...] | None:
        """The columns that it is about, where the file says so; ``None``: it sees what it sees."""
        if self.llm is not None:
            return self.llm.columns
        model = self.embedding or self.classifier
        return None if model is None else (model.column,)

    @field_validator("reuse")
    @classmethod
    def _has_a_label(cls, value: Reuse | None, info: ValidationInfo) -> Reuse | None:
        if value is Reuse.LABEL and info.data.get("version", ...) is None:
            raise wrong("needs a version")
        return value

    @model_validator(mode="after")
    def _campaign_fits(self) -> AnnotatorConfig:
        if self.retry in {Retry.SKIPPED, Retry.ALL} and self.shared and self.campaign is None:
            raise wrong_at("", [(("campaign",), None, f"retry: {self.retry} of a shared annotator needs a name here")])
        return self

    @field_validator("calls")
    @classmethod
    def _known_what_it_costs(cls, value: CallsConfig | None, info: ValidationInfo) -> CallsConfig | None:
        budget = None if value is None else value.budget
        if budget is None:
            return value
        llm = info.data.get("llm")
        if llm is not None and budget.cost and not (llm.price and llm.price.is_any):
            raise wrong_at("calls", [(("budget", "cost"), budget.cost, "needs llm.price, or nobody knows the cost")])
        free = next((name for name in _FREE if info.data.get(name) is not None), None)
        kinds = {"cost": budget.cost, "tokens": budget.tokens}
        if free and (asked := [(kind, most) for kind, most in kinds.items() if most is not None]):
            fault = f"{free} reports none; allowed: calls and hours"
            raise wrong_at("calls", [(("budget", kind), most, fault) for kind, most in asked])
        return value

    @property
    def costs_nothing(self) -> bool:
        """Whether it is known that it reports neither tokens nor money."""
        return any(getattr(self, name) is not None for name in _FREE)

    @model_validator(mode="after")
    def _sees_what_it_asks(self) -> AnnotatorConfig:
        asked = self.columns_asked
        if asked is None or self.base_columns is None:
            return self
        seen = {
            *self.base_columns,
            *(f"{name}.{column}" for name, all_ in self.annotator_columns.items() for column in all_),
        }
        missing = [column for column in asked if column not in seen]
        if missing:
            section = next(name for name in _WITHOUT_CODE if getattr(self, name) is not None)
            where = (section, "prompt" if section == "llm" else "column")
            fault = "a column that is neither in baseColumns nor in annotatorColumns"
            raise wrong_at(section, [(where, column, fault) for column in missing])
        return self

    @field_validator("annotator_columns")
    @classmethod
    def _not_its_own(cls, value: dict[str, tuple[str, ...]], info: ValidationInfo) -> dict[str, tuple[str, ...]]:
        own = info.data.get("annotator_name")
        if own in value:
            raise wrong_at("annotatorColumns", [((own,), own, "an annotator does not see its own columns")])
        return value


def read_in_order(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """Read the list; names must be unique, and no annotator may need one that runs later.

    Raises:
        ValidationError: What is wrong with the order and with every entry.
    """
    disorder = _disorder(value) if isinstance(value, (list, tuple)) else []
    try:
        annotators = handler(value)
    except ValidationError as error:
        raise (both(error, wrong_at("annotators", disorder)) if disorder else error) from None
    if disorder:
        raise wrong_at("annotators", disorder)
    return annotators


def _disorder(entries: Sequence[object]) -> list[tuple[Location, object, str]]:
    """What is wrong between entries, as far as they are what they should be."""
    sections = [entry if isinstance(entry, dict) else {} for entry in entries]
    names = [section.get("annotatorName") for section in sections]
    faults: list[tuple[Location, object, str]] = []
    for number, section in enumerate(sections):
        name, columns = names[number], section.get("annotatorColumns")
        if name is not None and (first := names.index(name)) < number:
            faults.append(((number, "annotatorName"), name, f"annotators[{first}] has that name; allowed: its own"))
        faults.extend(
            ((number, "annotatorColumns", other), other, f"annotators[{names.index(other)}] runs later; move it up")
            for other in (columns if isinstance(columns, dict) else ())
            if other in names[number + 1 :] and other not in names[: number + 1]
        )
    return faults
