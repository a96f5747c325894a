"""Images to region shards: `vinculum extract`."""
