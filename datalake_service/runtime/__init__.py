"""The process: environment, logging, signals."""
