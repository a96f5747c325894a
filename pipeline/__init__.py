"""The `vinculum` commands: plan, extract on Ray, verify, repair, inspect."""
