"""Sources to records."""
