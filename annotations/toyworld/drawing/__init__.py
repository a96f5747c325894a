"""The toy world's scenes as images."""
