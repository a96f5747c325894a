"""One batch, from a store of sentences and a store of images."""
