"""Weights of runs and of published models, recognized by their keys."""
