"""What stays of a run: recipe, folder, checkpoints."""
