"""Configuration and listings to tasks."""
