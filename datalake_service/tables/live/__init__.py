"""Questions about many batches as they stand now, for people who look: pages, counts, charts."""
