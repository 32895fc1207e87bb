"""Create and annotate text-heavy datasets on object storage."""
