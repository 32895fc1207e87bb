"""What keeps a lake in order: clean-up, check, and the end of a dataset."""
