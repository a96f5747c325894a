"""Pages that show stores: `vinculum inspect`."""
