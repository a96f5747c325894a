"""Shards on disk: Arrow IPC and LMDB files with a manifest; pyarrow and lmdb live here and nowhere else."""
