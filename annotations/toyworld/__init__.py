"""A seeded, rendered world written in the official layouts of the public data sets."""
