"""Published features to region shards and back: `vinculum convert`."""
