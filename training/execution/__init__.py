"""A run executed: launched on Ray, stepped, measured."""
