"""The web viewer: an edge over ``pipeline``. Only ``datalake viewer`` imports it."""
