"""The image side of a batch: stored regions, stored grids, or files of images, each read by an image's position."""
