"""Vectors of texts by a model: an endpoint, or a class of the user's. Knows no document and no task."""
