"""The `vinculum-train` commands: what consumes annotations and shards."""
