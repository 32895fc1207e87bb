"""The object store port, its implementations and wrappers."""
