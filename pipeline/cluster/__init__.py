"""Ray: joined or started, and the crew of actors that makes shards."""
