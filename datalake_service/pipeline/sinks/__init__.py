"""Where the rows of a task go: a port, and its implementations."""
