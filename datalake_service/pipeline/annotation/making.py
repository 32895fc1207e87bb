"""Who makes the annotations of a run, in which generation, and which older ones count: versions of annotators.

See ``docs/design/018-annotation-versions.md``.
"""

from __future__ import annotations

from dataclasses import replace
from logging import WARNING

from datalake_service.annotating.code_hash import code_hash, name_of
from datalake_service.catalog.annotations import DoneRule
from datalake_service.catalog.generations import Begun, Campaign, Company, begin, complete
from datalake_service.catalog.makers import MAX_BASES, Maker, RunMaker, software_version
from datalake_service.catalog.manifests import format_time
from datalake_service.errors import UsageError
from datalake_service.events import ANNOTATION_CAMPAIGN_JOINED, emit
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions
from datalake_service.storage.base import ObjectStore
from datalake_utils.clock import Clock


class Making:
    """What one run has to do with versions. ``begin`` it when the lease is held."""

    def __init__(
        self, store: ObjectStore, job: AnnotationJob, options: AnnotationOptions, function: object, *, clock: Clock
    ) -> None:
        """Find out who makes the annotations; asks nothing of the store.

        Raises:
            UsageError: The options cannot be used with this annotator.
        """
        self._store = store
        self._job = job
        self._options = options
        self._clock = clock
        self.maker = _maker(job.maker, function)
        self._begun: Begun | None = None
        if options.reuse == "label" and self.maker.version is None:
            raise UsageError(f"reuse='label' needs a version for the annotator {job.annotator}: give it one")
        if options.reuse == "code" and self.maker.code is None:
            raise UsageError(
                f"reuse='code' cannot tell versions of the annotator {job.annotator} apart, because its source cannot "
                "be read: use a function or class of a module, or a version and reuse='label'"
            )

    @property
    def only_failed(self) -> bool:
        """Whether only rows that failed are asked."""
        return self._options.retry == "failed"

    def begin(self, company: Company | None = None) -> DoneRule:
        """Find the run's place among the generations; says which annotations count.

        ``company``: the worker, if it shares the annotator.

        Raises:
            StoreError: The store failed.
        """
        options, job = self._options, self._job
        self._begun = begin(
            self._store,
            job.dataset,
            job.annotator,
            self.maker,
            now=self._clock.now(),
            again=options.retry,
            name=options.campaign,
            company=company,
        )
        campaign = self._begun.campaign
        if campaign is not None and campaign.name is None and self._begun.joined and company is None:
            self._tell_joined(campaign)
        generation = 0 if campaign is None else campaign.generation
        once = campaign is not None and (campaign.name is not None or company is not None)
        return DoneRule(
            by_label=options.reuse == "label",
            label=self.maker.version,
            by_code=options.reuse == "code",
            code=self.maker.code,
            since=generation if options.retry == "all" else 0,
            skipped_since=generation if options.retry == "skipped" else 0,
            failed_since=generation if once else None,
        )

    def _tell_joined(self, campaign: Campaign) -> None:
        fields = {"dataset": self._job.dataset, "annotator": self._job.annotator, "retry": campaign.again}
        emit(ANNOTATION_CAMPAIGN_JOINED, level=WARNING, **fields, began=format_time(campaign.began_at))

    @property
    def run_maker(self) -> RunMaker:
        """For the manifest of the run; once it has begun."""
        assert self._begun is not None  # it begins before rows are read, and rows before their run
        bases = self._job.bases if len(self._job.bases) <= MAX_BASES else {}
        return RunMaker(self.maker, self._begun.generation, dict(bases), software_version())

    def complete(self) -> None:
        """Note that the run went through all of its batches.

        Raises:
            StoreError: The store failed.
        """
        campaign = None if self._begun is None else self._begun.campaign
        if campaign is not None and not campaign.completed:
            complete(self._store, self._job.dataset, self._job.annotator, campaign, now=self._clock.now())


def _maker(given: Maker | None, function: object) -> Maker:
    """What was said of the annotator, and what its code says."""
    maker = given or Maker()
    return replace(
        maker,
        code=code_hash(function, maker.parameters) if maker.code is None else maker.code,
        annotator=name_of(function) if maker.annotator is None else maker.annotator,
    )
