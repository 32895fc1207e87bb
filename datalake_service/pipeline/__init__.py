"""The operations, the only place that joins parts: ingest, merge, annotate, export."""
