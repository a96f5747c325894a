"""Losses of pre-training, one file each; what they need of a batch is in `training/batch.py`."""
