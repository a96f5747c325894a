"""Words of sentences and regions of images: criteria between them, and the targets that follow."""
