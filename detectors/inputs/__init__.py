"""Images decoded and prepared for networks, one by one and as batches."""
