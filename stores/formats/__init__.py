"""Bytes on disk: Arrow IPC and LMDB shards, their columns and checksums."""
