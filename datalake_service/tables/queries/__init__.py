"""Merged batches as queries, which read no more of the objects than they need."""
