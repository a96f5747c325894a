"""The commands of `vinculum-train`, one file each."""
