"""The commands of `vinculum`, one file each."""
