"""Which rows of a merge stay: keys as digests, compared in bounded memory. Knows neither columns nor objects."""
