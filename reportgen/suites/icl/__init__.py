"""In-context learning: which heads carry what the examples of a prompt have in common."""
