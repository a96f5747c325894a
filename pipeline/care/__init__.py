"""Stores looked after: verify, repair, doctor."""
