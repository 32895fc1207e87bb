"""One task, from its input to its checkpoint: read, handle, store, until something ends it."""
