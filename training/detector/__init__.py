"""A detector's training: recipe, batches, worker, gold images."""
