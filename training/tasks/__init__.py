"""Tasks that a model is fine-tuned for: their official metrics and the files that their servers take."""
