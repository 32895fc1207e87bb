"""OpenTelemetry, if the environment asks for it: a span for what took time, counters of what was done.

Set up once, by the process entry; the standard ``OTEL_`` variables say what is sent, and where to. Spans are made of
the events that everything else logs (``events.py``), counters of the progress that commands show: so nothing is done,
and no library is loaded, where nobody asks. Names and attributes: ``docs/guide/observability.md``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from datalake_service import events
from datalake_service.events import FIELDS
from datalake_utils.clock import Clock, SystemClock

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from datalake_service.pipeline.runs.progress import Observer, RunProgress

_ASKS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)
"""Variables that turn it on."""
_SPANS: Final = {
    events.ANNOTATION_COMPLETED: "annotate",
    events.ANNOTATION_FAILED: "annotate",
    events.BATCH_FAILED: "merge",
    events.BATCH_MERGED: "merge",
    events.RUN_COMPLETED: "run",
    events.TASK_COMPLETED: "task",
    events.TASK_FAILED: "task",
    events.TASK_STOPPED: "task",
}
"""Events that say how long something took, and what that is called."""
_TASKS_STEP: Final = "tasks"
"""``RunStep.TASKS``; its module is loaded by commands that run something."""
_LIBRARY: Final = "opentelemetry.exporter.otlp.proto.http"
_NANOS: Final = 1_000_000_000

_telemetry: Telemetry | None = None
"""That of this process."""


def set_up_telemetry(environ: Mapping[str, str] | None = None) -> None:
    """Begin to send, if the environment asks for it."""
    global _telemetry  # noqa: PLW0603 - one for each process, as logging has it
    found = os.environ if environ is None else environ
    if _telemetry is not None or not any(found.get(name) for name in _ASKS):
        return
    if found.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    if importlib.util.find_spec("opentelemetry") is None or importlib.util.find_spec(_LIBRARY) is None:
        logging.getLogger("datalake").warning(
            "OTEL_ variables are set, and nothing is sent: pip install 'datalake[otel]'"
        )
        return
    _telemetry = Telemetry(_tracers(found), _meters(found))
    logger = logging.getLogger("datalake")
    logger.addHandler(_telemetry)
    for handler in logging.getLogger().handlers:  # what people see stays as it was
        handler.setLevel(max(handler.level, logger.level))
    logger.setLevel(min(logger.level, logging.INFO))


def observed(observer: Observer) -> Observer:
    """The observer of a run, which tells the counters as well, if somebody asks for them."""
    telemetry = _telemetry
    if telemetry is None:
        return observer

    def both(progress: RunProgress) -> None:
        telemetry.progress(progress)
        observer(progress)

    return both


class Telemetry(logging.Handler):
    """Makes spans of events and counters of progress."""

    def __init__(
        self, traces: TracerProvider | None, metrics: MeterProvider | None, *, clock: Clock | None = None
    ) -> None:
        """Send to these; ``None``: not asked for."""
        super().__init__(logging.INFO)
        self._traces, self._metrics = traces, metrics
        self._clock = clock or SystemClock()
        self._tracer: Tracer | None = None if traces is None else traces.get_tracer("datalake")
        self._root: Span | None = None
        self._tasks: RunProgress | None = None
        self._annotators: dict[str, RunProgress] = {}
        if metrics is not None:
            _count(metrics.get_meter("datalake"), lambda: self._tasks, self._annotators)

    def progress(self, progress: RunProgress) -> None:
        """Note how far a run is."""
        if progress.step == _TASKS_STEP:
            self._tasks = progress
        elif progress.annotation is not None and progress.name is not None:
            self._annotators[progress.name] = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Make a span of an event that took time; the command's own holds the others."""
        event, fields = record.getMessage(), getattr(record, FIELDS, {})
        if event == events.COMMAND_STARTED:
            self._root = self._begin("command", 0.0, fields)
        elif event in {events.COMMAND_COMPLETED, events.COMMAND_FAILED}:
            if self._root is not None:
                self._finish(self._root, fields, failed=event == events.COMMAND_FAILED)
            self.close()
        elif event in _SPANS and isinstance(seconds := fields.get("seconds"), int | float):
            span = self._begin(_SPANS[event], seconds, fields)
            if span is not None:
                self._finish(span, {}, failed=record.levelno >= logging.WARNING)

    def close(self) -> None:
        """Send what is left."""
        for provider in (self._traces, self._metrics):
            if provider is not None:
                provider.shutdown()
        self._traces = self._metrics = self._tracer = None
        super().close()

    def _begin(self, name: str, seconds: float, fields: Mapping[str, object]) -> Span | None:
        if self._tracer is None:
            return None
        from opentelemetry.trace import set_span_in_context

        context = None if self._root is None else set_span_in_context(self._root)
        start = self._clock.now_ns() - int(seconds * _NANOS)
        return self._tracer.start_span(
            f"datalake.{name}", context=context, start_time=start, attributes=_attributes(fields)
        )

    def _finish(self, span: Span, fields: Mapping[str, object], *, failed: bool) -> None:
        from opentelemetry.trace import StatusCode

        span.set_attributes(_attributes(fields))
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(self._clock.now_ns())


def _attributes(fields: Mapping[str, object]) -> dict[str, str | bool | int | float]:
    """Fields as attributes; texts of errors may quote a row, and stay in the lake."""
    plain = {name: value for name, value in fields.items() if isinstance(value, str | bool | int | float)}
    return {f"datalake.{name}": value for name, value in plain.items() if name != "error"}


def _count(meter: Meter, tasks: Callable[[], RunProgress | None], annotators: Mapping[str, RunProgress]) -> None:
    """Counters that are read when they are sent, so that counting costs nothing."""
    from opentelemetry.metrics import Observation

    def of_tasks(value: Callable[[RunProgress], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def look(_options: CallbackOptions) -> Iterable[Observation]:
            found = tasks()
            return [] if found is None else [Observation(value(found))]

        return look

    def of_annotators(
        values: Callable[[RunProgress], Mapping[str, float]], key: str
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def look(_options: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, {"datalake.annotator": name, f"datalake.{key}": what})
                for name, found in list(annotators.items())
                for what, value in values(found).items()
            ]

        return look

    for name, unit, value in _TASK_COUNTERS:
        meter.create_observable_counter(f"datalake.{name}", [of_tasks(value)], unit=unit)
    for name, unit, key, values in _ANNOTATOR_COUNTERS:
        meter.create_observable_counter(f"datalake.{name}", [of_annotators(values, key)], unit=unit)


_TASK_COUNTERS: Final[tuple[tuple[str, str, Callable[[RunProgress], float]], ...]] = (
    ("tasks", "{task}", lambda found: found.tasks_done),
    ("records", "{record}", lambda found: found.counts.records),
    ("documents", "{document}", lambda found: found.counts.documents),
    ("skips", "{record}", lambda found: found.counts.skips),
    ("rejections", "{record}", lambda found: found.counts.rejections),
    ("input", "By", lambda found: found.counts.size),
)


def _rows(found: RunProgress) -> Mapping[str, float]:
    report = found.annotation
    if report is None:
        return {}
    return {"done": report.annotated, "skipped": report.skipped, "failed": report.failed}


def _tokens(found: RunProgress) -> Mapping[str, float]:
    spent = None if found.annotation is None else found.annotation.spent
    return {} if spent is None else {"input": spent.usage.input_tokens, "output": spent.usage.output_tokens}


def _calls(found: RunProgress) -> Mapping[str, float]:
    spent = None if found.annotation is None else found.annotation.spent
    return {} if spent is None else {"first": spent.calls - spent.repeated, "repeated": spent.repeated}


def _cost(found: RunProgress) -> Mapping[str, float]:
    spent = None if found.annotation is None else found.annotation.spent
    return {} if spent is None else {"calls": spent.usage.cost}


_ANNOTATOR_COUNTERS: Final = (
    ("annotations", "{row}", "status", _rows),
    ("calls", "{call}", "kind", _calls),
    ("tokens", "{token}", "direction", _tokens),
    ("cost", "1", "of", _cost),
)


def _tracers(environ: Mapping[str, str]) -> TracerProvider | None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    kind = environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    if kind == "none":
        return None
    provider = TracerProvider(resource=_resource(environ), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter() if kind == "console" else OTLPSpanExporter()))
    return provider


def _meters(environ: Mapping[str, str]) -> MeterProvider | None:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

    kind = environ.get("OTEL_METRICS_EXPORTER", "otlp").strip().lower()
    if kind == "none":
        return None
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter() if kind == "console" else OTLPMetricExporter())
    return MeterProvider([reader], resource=_resource(environ), shutdown_on_exit=False)


def _resource(environ: Mapping[str, str]) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "datalake"})
