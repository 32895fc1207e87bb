"""The operations, the only place that joins parts: ingest, merge, annotate, export; and what runs and shows them.

Its rooms stand on one another, as ``pyproject.toml`` says: ``jobs`` (what tasks are told) below ``sinks`` and ``feeds``
(where rows go, what is read), then ``tasks``, then ``runs`` of a dataset file, which ``workers`` share. ``merging``,
``views``, ``annotation``, ``exports`` and ``upkeep`` know nothing of runs. ``live`` and ``reports``: what people see.
"""
