"""What a task reads from, as outcomes of the user's handler: files, queues, shards, tables, generators."""
