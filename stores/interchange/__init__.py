"""Published features: one module per foreign format, a table of them in `catalog.py`."""
