"""Encoders, and the heads that objectives and tasks put on them."""
