"""One row and one call at a time: what a call answered, when it is late, where the rows come from."""
