"""Handlers that were written for other frameworks. Nothing here is imported unless such a handler is used."""
