"""Writers for destinations other than the lake. They see no source, no handler and no task."""
