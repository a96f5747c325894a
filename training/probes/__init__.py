"""Measurements on a frozen model: what its attention and its states know of the regions that words mean."""
