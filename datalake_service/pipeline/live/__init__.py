"""Rows as they stand now, merged or not, asked again and again: what the viewer shows."""
