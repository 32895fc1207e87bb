"""JSONL chunks, both directions."""
