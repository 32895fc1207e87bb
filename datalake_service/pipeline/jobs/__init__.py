"""What tasks are told, and the port to the place where they run. Values that can be pickled."""
