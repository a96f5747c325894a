"""Annotations to sentence shards: `vinculum align`."""
