"""What a store was made from, and whether it is still the same."""
