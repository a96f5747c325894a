"""Experiments: arms that differ in one thing, over the same seeds, in equal steps; one file each."""
