"""AWS services besides the object store: clients, bounded repetition, errors that say what to change."""
