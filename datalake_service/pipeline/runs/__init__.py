"""A dataset file, run on an engine: plan, tasks, merge, annotators, report."""
