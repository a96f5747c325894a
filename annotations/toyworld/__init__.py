"""A seeded, rendered world written in the official layouts of Visual Genome and COCO."""
