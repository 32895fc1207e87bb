"""Who annotates, as a dataset file says it: label, code hash, model, parameters, and which rows. No secrets."""

from __future__ import annotations

from typing import Any, cast

from datalake_interfaces import Annotator
from datalake_service.annotating.code_hash import code_hash, json_hash
from datalake_service.catalog.makers import Maker
from datalake_service.config.annotator import AnnotatorConfig
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.problems import redacted
from datalake_service.config.section import Section
from datalake_service.handling.load import load_class
from datalake_service.pipeline.annotation.job import AnnotationJob, Retry, Reuse
from datalake_service.pipeline.views.views import DatasetView

_INSTEAD_OF_CODE = ("vectors", "llm", "embedding", "classifier")
"""What may stand in the place of a class."""
_NOT_CODE = frozenset({"endpoint", "apiKeyVariable", "price", "batchSize", "maxConcurrency", "timeoutInSeconds"})
"""What a section says that changes no answer."""


def annotation_job(config: DatasetConfig, annotator: AnnotatorConfig, view: DatasetView) -> AnnotationJob:
    """What an annotator of a dataset file annotates, and who does that.

    Raises:
        HandlerLoadError: Its class cannot be loaded.
    """
    return AnnotationJob(
        config.dataset_name,
        annotator.annotator_name,
        view.batches,
        maker=_maker(config, annotator, view),
        bases=view.bases,
    )


def retry_of(annotator: AnnotatorConfig) -> Retry | None:
    """What is asked again."""
    return None if annotator.retry is None else cast("Retry", annotator.retry.value)


def reuse_of(annotator: AnnotatorConfig) -> Reuse | None:
    """Whose annotations count."""
    return None if annotator.reuse is None else cast("Reuse", annotator.reuse.value)


def _maker(config: DatasetConfig, annotator: AnnotatorConfig, view: DatasetView) -> Maker:
    name = annotator.annotator_implementation_class_name
    sections = {
        key: _json(section)
        for key, section in ((key, getattr(annotator, key, None)) for key in _INSTEAD_OF_CODE)
        if isinstance(section, Section)
    }
    if name is not None:
        code = code_hash(load_class(name, folder=config.folder, interface=Annotator), annotator.parameters)
    else:
        code = json_hash(
            {key: {field: said[field] for field in said if field not in _NOT_CODE} for key, said in sections.items()}
        )
    models = [said["model"] for said in sections.values() if isinstance(said.get("model"), str)]
    return Maker(
        version=annotator.version,
        code=code,
        annotator=name or "+".join(sections),
        model=models[0] if models else None,
        parameters=cast("dict[str, Any]", redacted({**annotator.parameters, **sections})),
        filter=None if annotator.filter is None else annotator.filter.model_dump(mode="json"),
        fraction=annotator.fraction,
        columns=view.columns,
    )


def _json(section: object) -> dict[str, Any]:
    assert isinstance(section, Section)  # as the caller has seen
    return section.model_dump(mode="json", by_alias=True, exclude_none=True)
