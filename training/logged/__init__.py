"""Figures of training steps that a run logs, one concern a file."""
