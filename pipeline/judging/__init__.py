"""Detectors and machines measured: parity with published features, speed."""
