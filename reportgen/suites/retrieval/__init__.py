"""Copying an answer out of a long text: which heads point to it, read it and write it."""
