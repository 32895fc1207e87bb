"""What people ask of rows, as SQL conditions."""
