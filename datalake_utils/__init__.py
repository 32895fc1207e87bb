"""Small helpers without a word of the product in them: clock, ids, backoff, units. Standard library only."""
